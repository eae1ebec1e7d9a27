/// @file
/// A network as a type: its layer table and all that is counted from it, known while compiling.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>

#include <resnext/model/layer.hpp>
#include <resnext/model/template.hpp>

namespace resnext {

/// The network of a `Template`. It holds no data: parameters live in `Parameters<Net>`, memory in the executors.
template <class T>
struct Network {
  /// One row an operator, in the order of execution; state-dict names and their order are torchvision's.
  static constexpr auto layers = detail::make_layers<T>();
  /// The values that go out: the logits, or the maps of `Features`.
  static constexpr auto outputs = detail::make_outputs<T>();
  /// True for a network without a stem, which begins at the maps of another one.
  static constexpr bool begins_at_map = detail::begins_at_map<T>;
  /// Channels of an image, or of the map that the network begins at.
  static constexpr int inputs = layers.empty() ? 0 : layers[0].in;
  /// Logits of an image; 0 for a network without a classifier.
  static constexpr int classes =
      layers.empty() || layers[layers.size() - 1].op != LayerOp::linear ? 0 : layers[layers.size() - 1].out;

  /// Learned numbers: weights of convolutions, scale and shift of BN, weights and biases of the classifier.
  static constexpr std::int64_t parameters = [] {
    std::int64_t sum = 0;
    for_each_entry(layers, [&](const StateEntry& entry) { sum += entry.learned() ? entry.size() : 0; });
    return sum;
  }();

  /// Entries of the state dict, buffers of BN included.
  static constexpr int entry_count = [] {
    int count = 0;
    for_each_entry(layers, [&](const StateEntry&) { ++count; });
    return count;
  }();

  /// Names and shapes of the state dict, in torchvision's order.
  static constexpr auto entries = [] {
    std::array<StateEntry, static_cast<std::size_t>(entry_count)> all{};
    std::size_t count = 0;
    for_each_entry(layers, [&](const StateEntry& entry) { all[count++] = entry; });
    return all;
  }();

  /// The row of a name, for instance `layer2.0.conv2`, or nullptr when there is none. While compiling too, so that an
  /// assertion can look into the table: `Net::find("layer2.0.conv2")->groups == 32`.
  static constexpr const Layer* find(std::string_view name) {
    for (const Layer& layer : layers) {
      if (layer.name.view() == name) return &layer;
    }
    return nullptr;
  }

  /// Extents `[H, W, C]` of every value for an input of h x w.
  static constexpr auto extents(int h, int w) {
    std::array<Extent, layers.size() + 1> all{};
    compute_extents(layers, {h, w, inputs}, all);
    return all;
  }

  /// Multiply-adds of convolutions and classifier for one image of h x w: what the paper calls FLOPs.
  static constexpr std::int64_t macs(int h, int w) {
    const auto all = extents(h, w);
    std::int64_t sum = 0;
    for (const Layer& layer : layers) sum += layer_macs(layer, all[static_cast<std::size_t>(layer.output)]);
    return sum;
  }

  /// Numbers that convolutions and classifier put out for one image of h x w.
  static constexpr std::int64_t activations(int h, int w) {
    const auto all = extents(h, w);
    std::int64_t sum = 0;
    for (const Layer& layer : layers) {
      const bool counted = layer.op == LayerOp::convolution || layer.op == LayerOp::linear;
      sum += counted ? all[static_cast<std::size_t>(layer.output)].size() : 0;
    }
    return sum;
  }

 private:
  // What is wrong with the template, in one sentence. Its network is empty but has every member, so that nothing
  // cascades; that is why this stands last: clang leaves out the members behind a failed assertion.
  static constexpr auto found = detail::mistake_in<T>;
  static_assert(found != detail::Mistake::no_template,
                "Network<T>: T must be a Template<Stem, Block, [Planes<n>,] Stage<N>..., Head>");
  static_assert(found != detail::Mistake::no_stem,
                "Template: the first argument must be a stem, ImageNetStem<>, CifarStem<> or Input<channels>");
  static_assert(found != detail::Mistake::no_block,
                "Template: the second argument must be a block, Bottleneck<C, d> or Basic<C, d>");
  static_assert(found != detail::Mistake::no_head,
                "Template: the last argument must be a head, Classes<K> or Features<stages...>");
  static_assert(found != detail::Mistake::no_stage, "Template: at least one Stage<N> must stand before the head");
  static_assert(found != detail::Mistake::disorder,
                "Template: between the block and the head stand an optional Planes<n>, then only Stage<N>");
  static_assert(found != detail::Mistake::stem_channels, "Stem<Channels, Inputs>: both must be at least 1");
  static_assert(found != detail::Mistake::cardinality, "Block<C, d>: the cardinality C must be at least 1");
  static_assert(found != detail::Mistake::width, "Block<C, d>: the width d of a path must be at least 1");
  static_assert(found != detail::Mistake::planes, "Planes<n>: n must be at least 1");
  static_assert(found != detail::Mistake::empty_stage,
                "Stage<N>: a stage must have at least 1 block; those before an Input<channels> have 0");
  static_assert(found != detail::Mistake::zero_classes, "Classes<K>: there must be at least 1 class");
  static_assert(
      found != detail::Mistake::features,
      "Features<stages...>: stages count from 1, have blocks, increase, and the last one is the network's last");
  static_assert(found != detail::Mistake::too_deep, "Template: a network may have at most 400 blocks");
  static_assert(found != detail::Mistake::too_wide,
                "Template: the width doubles with each stage and may reach at most 2^20 channels");
};

namespace detail {

template <class T, int K>
struct ReplaceClasses {
  static_assert(sizeof(T) == 0, "WithClasses<Net, K>: Net must be a Network<Template<...>>");
  using type = T;  // so that nothing cascades
};
template <class... Parts, int K>
struct ReplaceClasses<Network<Template<Parts...>>, K> {
  template <class P>
  using Replaced = std::conditional_t<numbers_of<P>().part == TemplatePart::classes, Classes<K>, P>;
  using type = Network<Template<Replaced<Parts>...>>;
};

}  // namespace detail

/// The network `Net` with a classifier of K classes: `WithClasses<ResNet18, 10>`. Everything but the tensors of `fc`
/// keeps its name and shape.
template <class Net, int K>
using WithClasses = typename detail::ReplaceClasses<Net, K>::type;

}  // namespace resnext
