/// @file
/// `Template<Stem, Block, [Planes<n>,] Stage<N>..., Head>`: the two rules of Sec. 3.1 as structure.
///
/// Blocks of a stage share their hyper-parameters because a stage is one block type, N times. The width doubles where
/// the map is halved because a stage does not know its width: its position gives it.
#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

#include <resnext/model/block.hpp>

namespace resnext {

/// N blocks at one map size.
template <int N>
struct Stage {
  static constexpr TemplatePart part = TemplatePart::stage;  ///< its place in a `Template`
  static constexpr int value = N;                            ///< blocks
};

/// The output width n of stage one before the block's expansion; 64 where it is not given.
template <int n>
struct Planes {
  static constexpr TemplatePart part = TemplatePart::planes;  ///< its place in a `Template`
  static constexpr int value = n;                             ///< channels
};

/// A head: global average pool and a fully connected layer of K outputs.
template <int K>
struct Classes {
  static constexpr TemplatePart part = TemplatePart::classes;  ///< its place in a `Template`
  static constexpr int value = K;                              ///< logits
};

/// A head: the maps of these stages, counted from 1 as in their names, the last of which is the network's last. For
/// detection, activation maps and heads of one's own.
template <int... stages>
struct Features {
  static constexpr TemplatePart part = TemplatePart::features;               ///< its place in a `Template`
  static constexpr std::array<int, sizeof...(stages)> values = {stages...};  ///< stages
};

/// A network's description: `Template<Stem, Block, [Planes<n>,] Stage<N>..., Head>`, in that order; the stem may be an
/// `Input`, the head is `Classes<K>` or `Features<stages...>`.
template <class... Parts>
struct Template {};

namespace detail {

inline constexpr int most_blocks = 400;
inline constexpr int most_channels = 1 << 20;
inline constexpr int most_features = 20;

/// An argument of a `Template` as numbers.
struct PartNumbers {
  TemplatePart part = TemplatePart::unknown;
  int first = 1;      ///< Channels, C, n, N, K, or how many features
  int second = 1;     ///< Inputs or d
  int expansion = 1;  ///< of a block
  std::array<int, most_features> stages{};
};

template <class P>
concept IsPart = std::same_as<decltype(P::part), const TemplatePart>;

template <class P>
constexpr PartNumbers numbers_of() {
  if constexpr (!IsPart<P>) {
    return {};
  } else if constexpr (P::part == TemplatePart::stem || P::part == TemplatePart::input) {
    return {P::part, P::channels, P::inputs};
  } else if constexpr (P::part == TemplatePart::features) {
    PartNumbers numbers{P::part, static_cast<int>(P::values.size())};
    for (std::size_t i = 0; i < P::values.size() && i < most_features; ++i) numbers.stages[i] = P::values[i];
    return numbers;
  } else if constexpr (P::part == TemplatePart::block) {
    return {P::part, P::cardinality, P::width, P::expansion};
  } else {
    return {P::part, P::value};
  }
}

/// The first rule that a template breaks.
enum class Mistake {
  none,
  no_template,
  no_stem,
  no_block,
  no_head,
  no_stage,
  disorder,
  stem_channels,
  cardinality,
  width,
  planes,
  empty_stage,
  zero_classes,
  features,
  too_deep,
  too_wide
};

/// A template as numbers: its parts, and what follows from them.
class Outline {
 public:
  constexpr explicit Outline(std::span<const PartNumbers> parts) : parts_(parts) {}

  constexpr int planes() const { return is(2, TemplatePart::planes) ? parts_[2].first : 64; }
  constexpr int stages() const { return static_cast<int>(parts_.size() - first_stage()) - 1; }
  constexpr int blocks(int stage) const { return parts_[first_stage() + static_cast<std::size_t>(stage)].first; }
  constexpr bool has_features() const { return parts_.back().part == TemplatePart::features; }
  constexpr int classes() const { return has_features() ? 0 : parts_.back().first; }
  constexpr int outputs() const { return has_features() ? parts_.back().first : 1; }
  /// The stage, from 0, of an output.
  constexpr int stage_of(int output) const { return parts_.back().stages[static_cast<std::size_t>(output)] - 1; }

  constexpr Mistake mistake() const {
    const bool map = is(0, TemplatePart::input);
    if (!is(0, TemplatePart::stem) && !map) return Mistake::no_stem;
    if (!is(1, TemplatePart::block)) return Mistake::no_block;
    if (!is(parts_.size() - 1, TemplatePart::classes) && !has_features()) return Mistake::no_head;
    if (stages() < 1) return Mistake::no_stage;
    for (std::size_t i = first_stage(); i + 1 < parts_.size(); ++i) {
      if (!is(i, TemplatePart::stage)) return Mistake::disorder;
    }
    const PartNumbers stem = parts_[0];
    const PartNumbers block = parts_[1];
    if (stem.first < 1 || stem.second < 1) return Mistake::stem_channels;
    if (block.first < 1) return Mistake::cardinality;
    if (block.second < 1) return Mistake::width;
    if (planes() < 1) return Mistake::planes;
    std::int64_t depth = 0;
    for (int stage = 0; stage < stages(); ++stage) {
      const bool before_input = map && depth == 0 && stage + 1 < stages() && blocks(stage) == 0;
      if (blocks(stage) < 1 && !before_input) return Mistake::empty_stage;
      depth += blocks(stage);
    }
    if (!has_features() && classes() < 1) return Mistake::zero_classes;
    if (has_features() && !features_in_order()) return Mistake::features;
    if (depth > most_blocks) return Mistake::too_deep;
    const std::int64_t inner = std::int64_t{block.first} * block.second;
    const std::int64_t outer = std::int64_t{block.expansion} * planes();
    const int most_in_stage_one = stages() <= 20 ? most_channels >> (stages() - 1) : 0;
    const bool narrow =
        std::max(stem.first, stem.second) <= most_channels && std::max(inner, outer) <= most_in_stage_one;
    return narrow ? Mistake::none : Mistake::too_wide;
  }

 private:
  constexpr bool features_in_order() const {
    if (outputs() < 1 || outputs() > most_features) return false;
    for (int i = 0; i < outputs(); ++i) {
      const int before = i == 0 ? -1 : stage_of(i - 1);
      if (stage_of(i) <= before || stage_of(i) >= stages() || blocks(stage_of(i)) == 0) return false;
    }
    return stage_of(outputs() - 1) == stages() - 1;
  }
  constexpr bool is(std::size_t i, TemplatePart part) const { return i < parts_.size() && parts_[i].part == part; }
  constexpr std::size_t first_stage() const { return is(2, TemplatePart::planes) ? 3 : 2; }

  std::span<const PartNumbers> parts_;
};

template <class... Parts>
inline constexpr std::array<PartNumbers, sizeof...(Parts)> numbers_in = {numbers_of<Parts>()...};

/// The first mistake in a template: `Network` says it in words.
template <class T>
inline constexpr Mistake mistake_in = Mistake::no_template;
template <class... Parts>
inline constexpr Mistake mistake_in<Template<Parts...>> = Outline(numbers_in<Parts...>).mistake();

/// How many values go out of a template without mistakes.
template <class... Parts>
constexpr int outputs_of(Template<Parts...>) {
  return Outline(numbers_in<Parts...>).outputs();
}

/// Writes the rows of a template without mistakes, and the values that go out; with `rows` null it only counts rows.
template <class Stem, class Block, class... Rest>
constexpr int write_rows(Template<Stem, Block, Rest...>, Layer* rows, int* outputs = nullptr) {
  constexpr Outline outline(numbers_in<Stem, Block, Rest...>);
  TableBuilder table(rows);
  int value = Stem::rows(table, 0);
  int output = 0;
  const auto put_out = [&](int out) {
    if (outputs != nullptr) outputs[output] = out;
    ++output;
  };
  BlockPlace at{0, 0, Stem::channels, outline.planes(), {}};
  for (at.stage = 0; at.stage < outline.stages(); ++at.stage) {
    for (at.block = 0; at.block < outline.blocks(at.stage); ++at.block) {
      at.prefix = LayerName("layer").append(at.stage + 1).append(".").append(at.block).append(".");
      value = Block::rows(table, at, value);
      at.in = Block::expansion * at.planes << at.stage;
    }
    if (outline.has_features() && outline.stage_of(output) == at.stage) put_out(value);
  }
  if (!outline.has_features()) {
    value = table.average_pool("avgpool", value, at.in);
    put_out(table.linear("fc", value, at.in, outline.classes()));
  }
  return table.count();
}

/// The layer table of a template, empty where there is a mistake in it.
template <class T>
constexpr auto make_layers() {
  if constexpr (mistake_in<T> == Mistake::none) {
    constexpr auto count = static_cast<std::size_t>(write_rows(T{}, nullptr));
    std::array<Layer, count> rows{};
    write_rows(T{}, rows.data());
    return rows;
  } else {
    return std::array<Layer, 0>{};
  }
}

/// True if the first part is an `Input`.
template <class T>
inline constexpr bool begins_at_map = false;
template <class First, class... Rest>
inline constexpr bool begins_at_map<Template<First, Rest...>> = numbers_of<First>().part == TemplatePart::input;

/// The values of a table that go out of the network.
template <class T>
constexpr auto make_outputs() {
  if constexpr (mistake_in<T> == Mistake::none) {
    std::array<int, static_cast<std::size_t>(outputs_of(T{}))> outputs{};
    std::array<Layer, make_layers<T>().size()> rows{};
    write_rows(T{}, rows.data(), outputs.data());
    return outputs;
  } else {
    return std::array<int, 0>{};
  }
}

}  // namespace detail

}  // namespace resnext
