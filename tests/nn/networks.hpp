/// What the tests of the executors share: a small network of every kind, and random images for it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <resnext/model/family.hpp>
#include <resnext/nn/parameters.hpp>
#include <resnext/tensor/images.hpp>

namespace resnext::test {

using SmallImageNet = Network<Template<ImageNetStem<8>, Bottleneck<4, 2>, Planes<8>, Stage<1>, Stage<2>, Classes<7>>>;
using SmallCifar = Network<Template<CifarStem<8>, Bottleneck<2, 3>, Planes<4>, Stage<2>, Stage<1>, Classes<5>>>;
using SmallBasic = Network<Template<CifarStem<6, 1>, Basic<1, 6>, Planes<6>, Stage<1>, Stage<1>, Classes<4>>>;

/// A batch that owns its images, uniform in [-1, 1), and its labels.
struct RandomBatch {
  std::vector<float> values;
  std::vector<std::int32_t> labels;
  int n, h, w, c;

  RandomBatch(std::string_view name, int count, int height, int width, int channels, int classes)
      : n(count), h(height), w(width), c(channels) {
    const RandomStream random(11, name);
    values.resize(static_cast<std::size_t>(n * h * w * c));
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = 2 * random.uniform(i) - 1;
    for (int i = 0; i < n; ++i) {
      labels.push_back(static_cast<std::int32_t>(
          random[1].below(static_cast<std::uint64_t>(i), static_cast<std::uint32_t>(classes))));
    }
  }
  Images images() const { return {values, n, h, w, c}; }
  /// Images first to first + count, as a batch of their own.
  Images slice(int first, int count) const {
    const auto each = static_cast<std::size_t>(h * w * c);
    return {std::span(values).subspan(static_cast<std::size_t>(first) * each, static_cast<std::size_t>(count) * each),
            count, h, w, c};
  }
};

/// Parameters in which no tensor is trivial: BN's too are random.
template <class Net>
Parameters<Net> random_parameters(std::uint64_t seed) {
  Parameters<Net> parameters = initialized<Net>(seed, Initializer::torchvision);
  for (const StateDict::Slot& slot : parameters.tensors()) {
    if (slot.entry.rank != 1 || slot.entry.prefix.view() == "fc") continue;
    const RandomStream random(seed, slot.entry.name());
    const bool positive = slot.entry.role == TensorRole::weight || slot.entry.role == TensorRole::running_var;
    for (std::size_t i = 0; i < slot.size; ++i) {
      parameters[slot][i] = positive ? 0.75f + 0.5f * random.uniform(i) : 0.2f * random.uniform(i) - 0.1f;
    }
  }
  return parameters;
}

}  // namespace resnext::test
