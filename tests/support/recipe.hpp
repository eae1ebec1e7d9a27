// Weights, inputs and labels of any network from names alone, so that no test needs a file of them.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <resnext/nn/state_dict.hpp>
#include <resnext/random.hpp>

namespace support {

using namespace resnext;

/// Element i of the tensor NAME is made from `resnext::detail::mix(key + i * 0x9E3779B97F4A7C15)`, where the key is `detail::fnv1a(NAME)`, or
/// `resnext::detail::mix(seed) ^ detail::fnv1a(NAME)` with a seed. Indices are row-major in torchvision's shapes.
class Recipe {
 public:
  Recipe() = default;
  explicit Recipe(std::uint64_t seed) : key_(resnext::detail::mix(seed)) {}

  RandomStream operator()(std::string_view name) const { return RandomStream(key_ ^ detail::fnv1a(name)); }
  /// Uniform in [-1, 1), exact in float.
  float symmetric(std::string_view name, std::uint64_t i) const { return 2.0f * (*this)(name).uniform(i) - 1.0f; }

  /// Fills every tensor. Convolutions keep the size of what passes through them; the last batch norm of a residual
  /// branch is a quarter of the others, so that activations stay near 1 however deep the network is.
  void fill(StateDict& state) const {
    const bool bottleneck = has(state, ".bn3.weight");
    for (const StateDict::Slot& slot : state.tensors()) {
      const Layer& layer = state.layers()[std::size_t(slot.entry.layer)];
      const std::string name(slot.entry.name().view());
      const RandomStream random = (*this)(name);
      const bool positive =
          slot.entry.role == TensorRole::running_var || (layer.op == LayerOp::batch_norm && slot.entry.role == TensorRole::weight);
      const float last = name.ends_with(bottleneck ? ".bn3.weight" : ".bn2.weight") ? 0.25f : 1.0f;
      float reach = 0.1f;
      if (layer.op == LayerOp::convolution)
        reach = float(std::sqrt(6.0 / (layer.in / layer.groups * layer.kernel * layer.kernel)));
      if (layer.op == LayerOp::linear && slot.entry.role == TensorRole::weight) reach = float(std::sqrt(1.0 / layer.in));
      std::size_t i = 0;
      for (float& value : state[slot]) {
        const float r = random.uniform(i++);
        value = positive ? (0.75f + 0.5f * r) * last : (2.0f * r - 1.0f) * reach;
      }
    }
  }

  /// An input `[N, H, W, C]`. Its index counts `[N, C, H, W]`.
  std::vector<float> images(std::string_view name, int n, int h, int w, int c) const {
    std::vector<float> values;
    for (int image = 0; image < n; ++image) {
      for (int pixel = 0; pixel < h * w; ++pixel) {
        for (int channel = 0; channel < c; ++channel) {
          values.push_back(symmetric(name, std::uint64_t((image * c + channel) * h * w + pixel)));
        }
      }
    }
    return values;
  }

  std::vector<std::int32_t> labels(std::string_view name, int n, int classes) const {
    std::vector<std::int32_t> values;
    for (int i = 0; i < n; ++i)
      values.push_back(std::int32_t((*this)(name).bits(std::uint64_t(i)) % std::uint64_t(classes)));
    return values;
  }

  /// Element k to look at of a tensor of `size` elements.
  std::size_t probe(std::uint64_t k, std::size_t size) const { return (*this)("probe").bits(k) % size; }

 private:
  static bool has(const StateDict& state, std::string_view ending) {
    for (const auto& slot : state.tensors()) {
      if (slot.entry.name().view().ends_with(ending)) return true;
    }
    return false;
  }

  std::uint64_t key_ = 0;
};

}  // namespace support
