/// @file
/// `Template<Stem, Block, [Planes<n>,] Stage<N>..., Classes<K>>`: the two rules of Sec. 3.1 as structure.
///
/// Blocks of a stage share their hyper-parameters because a stage is one block type, N times. The width doubles where
/// the map is halved because a stage does not know its width: its position gives it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include <resnext/model/block.hpp>

namespace resnext {

/// N blocks at one map size.
template <int N>
struct Stage {
  static constexpr Part part = Part::stage;
  static constexpr int value = N;
};

/// The output width n of stage one before the block's expansion; 64 where it is not given.
template <int n>
struct Planes {
  static constexpr Part part = Part::planes;
  static constexpr int value = n;
};

/// Global average pool and a fully connected layer of K outputs.
template <int K>
struct Classes {
  static constexpr Part part = Part::classes;
  static constexpr int value = K;
};

/// A network's description: `Template<Stem, Block, [Planes<n>,] Stage<N>..., Classes<K>>`, in that order.
template <class... Parts>
struct Template {};

namespace detail {

template <class P>
constexpr Part part_of() {
  if constexpr (requires { P::part; }) {
    return P::part;
  } else {
    return Part::unknown;
  }
}

template <class P>
constexpr int value_of() {
  if constexpr (requires { P::value; }) {
    return P::value;
  } else {
    return 0;
  }
}

inline constexpr int most_blocks = 400;
inline constexpr int most_channels = 1 << 20;

/// What stands between block and classes, as numbers.
template <std::size_t count>
struct Outline {
  std::array<Part, count> parts{};
  std::array<int, count> values{};

  constexpr bool first_is_stem() const { return count > 0 && parts[0] == Part::stem; }
  constexpr bool second_is_block() const { return count > 1 && parts[1] == Part::block; }
  constexpr bool last_is_classes() const { return count > 2 && parts[count - 1] == Part::classes; }
  constexpr std::size_t first_stage() const { return count > 2 && parts[2] == Part::planes ? 3 : 2; }
  constexpr int planes() const { return first_stage() == 3 ? values[2] : 64; }
  constexpr int stages() const { return static_cast<int>(count) - 1 - static_cast<int>(first_stage()); }
  constexpr int blocks(int stage) const { return values[first_stage() + static_cast<std::size_t>(stage)]; }
  constexpr int classes() const { return values[count - 1]; }
  constexpr bool only_stages_between() const {
    for (std::size_t i = first_stage(); i + 1 < count; ++i) {
      if (parts[i] != Part::stage) return false;
    }
    return true;
  }
  constexpr bool every_stage_has_blocks() const {
    for (int stage = 0; stage < stages(); ++stage) {
      if (blocks(stage) < 1) return false;
    }
    return true;
  }
  constexpr bool few_enough_blocks() const {
    std::int64_t sum = 0;
    for (int stage = 0; stage < stages(); ++stage) sum += blocks(stage);
    return sum <= most_blocks;
  }
  constexpr bool narrow_enough(std::int64_t width_of_stage_one) const {
    return stages() <= 16 && (width_of_stage_one << (stages() - 1)) <= most_channels;
  }
};

/// Says what is wrong with a template, one sentence at most; `ok` is false after that.
template <class T>
struct Check {
  static constexpr bool ok = false;
  static_assert(sizeof(T) == 0, "Network<T>: T must be a Template<Stem, Block, [Planes<n>,] Stage<N>..., Classes<K>>");
};

template <class... Parts>
struct CheckOrder {
  static constexpr Outline<sizeof...(Parts)> outline{{part_of<Parts>()...}, {value_of<Parts>()...}};
  static constexpr bool stem = outline.first_is_stem();
  static constexpr bool block = stem && outline.second_is_block();
  static constexpr bool classes = block && outline.last_is_classes();
  static constexpr bool stages = classes && outline.stages() > 0;
  static constexpr bool between = stages && outline.only_stages_between();
  static_assert(stem, "Template: the first argument must be a stem, ImageNetStem<> or CifarStem<>");
  static_assert(!stem || block, "Template: the second argument must be a block, Bottleneck<C, d> or Basic<C, d>");
  static_assert(!block || classes, "Template: the last argument must be Classes<K>");
  static_assert(!classes || stages, "Template: at least one Stage<N> must stand before Classes<K>");
  static_assert(!stages || between,
                "Template: between the block and Classes<K> stand an optional Planes<n>, then only Stage<N>");
  static constexpr bool ok = between;
};

template <class Stem, class Block, class... Rest>
struct CheckNumbers {
  static constexpr auto& outline = CheckOrder<Stem, Block, Rest...>::outline;
  static constexpr bool stem = Stem::channels >= 1 && Stem::inputs >= 1;
  static constexpr bool cardinality = Block::cardinality >= 1;
  static constexpr bool width = Block::width >= 1;
  static constexpr bool planes = outline.planes() >= 1;
  static constexpr bool stages = outline.every_stage_has_blocks();
  static constexpr bool classes = outline.classes() >= 1;
  static_assert(Stem::channels >= 1 && Stem::inputs >= 1, "Stem<Channels, Inputs>: both must be at least 1");
  static_assert(Block::cardinality >= 1, "Block<C, d>: the cardinality C must be at least 1");
  static_assert(Block::width >= 1, "Block<C, d>: the width d of a path must be at least 1");
  static_assert(planes, "Planes<n>: n must be at least 1");
  static_assert(stages, "Stage<N>: a stage must have at least 1 block");
  static_assert(classes, "Classes<K>: there must be at least 1 class");
  static constexpr bool positive = stem && cardinality && width && planes && stages && classes;
  static constexpr bool short_enough = !positive || outline.few_enough_blocks();
  static constexpr bool narrow = !positive || (outline.narrow_enough(std::int64_t{Block::cardinality} * Block::width) &&
                                               outline.narrow_enough(std::int64_t{Block::expansion} * outline.planes()));
  static_assert(short_enough, "Template: a network may have at most 400 blocks");
  static_assert(narrow, "Template: the width doubles with each stage and must stay below 2^20 channels");
  static constexpr bool ok = positive && short_enough && narrow;
};

template <bool in_order, class... Parts>
constexpr bool check_parts() {
  if constexpr (in_order) {
    return CheckNumbers<Parts...>::ok;
  } else {
    return false;
  }
}

template <class... Parts>
struct Check<Template<Parts...>> {
  static constexpr bool ok = check_parts<CheckOrder<Parts...>::ok, Parts...>();
};

/// Writes the rows of a checked template; with `rows` null it only counts them.
template <class Stem, class Block, class... Rest>
constexpr int write_rows(Template<Stem, Block, Rest...>, Layer* rows) {
  constexpr auto& outline = CheckOrder<Stem, Block, Rest...>::outline;
  TableBuilder table(rows);
  int value = Stem::rows(table, 0);
  Place at{0, 0, Stem::channels, outline.planes(), {}};
  for (at.stage = 0; at.stage < outline.stages(); ++at.stage) {
    for (at.block = 0; at.block < outline.blocks(at.stage); ++at.block) {
      at.prefix = Name("layer").append(at.stage + 1).append(".").append(at.block).append(".");
      value = Block::rows(table, at, value);
      at.in = Block::expansion * at.planes << at.stage;
    }
  }
  value = table.average_pool("avgpool", value, at.in);
  table.linear("fc", value, at.in, outline.classes());
  return table.count();
}

/// The layer table of a checked template, or an empty one of a template that was refused.
template <class T>
constexpr auto make_layers() {
  if constexpr (Check<T>::ok) {
    constexpr auto count = static_cast<std::size_t>(write_rows(T{}, nullptr));
    std::array<Layer, count> rows{};
    write_rows(T{}, rows.data());
    return rows;
  } else {
    return std::array<Layer, 0>{};
  }
}

}  // namespace detail

}  // namespace resnext
