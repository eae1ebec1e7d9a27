/// @file
/// The parameters of a network type, and how they start.
#pragma once

#include <cmath>
#include <cstdint>

#include <resnext/nn/state_dict.hpp>
#include <resnext/random.hpp>

namespace resnext {

/// The tensors of `Net` on the host: what files hold and executors are built from.
template <class Net>
class Parameters : public StateDict {
 public:
  using Network = Net;  ///< whose they are

  /// BN as the identity, everything else zero; `initialized()` has random weights.
  Parameters() : StateDict(Net::layers) {}
};

/// Who says how the weights start. Convolutions are normal with variance 2 / (k * k * out), `out` being all outputs and
/// not those of one group, and BN starts as the identity, in both.
enum class Initializer {
  paper,       ///< classifier: weights uniform in +-1 / sqrt(in), bias 0 (facebookresearch/ResNeXt, models/init)
  torchvision  ///< classifier: weights and bias uniform in +-1 / sqrt(in)
};

/// Fills the learned tensors from `seed`. A tensor's values depend on the seed and its name only.
inline void initialize(StateDict& state, std::uint64_t seed, Initializer initializer = Initializer::paper) {
  for (const StateDict::Slot& slot : state.slots()) {
    const Layer& layer = state.layers()[static_cast<std::size_t>(slot.entry.layer)];
    const Random random(seed, slot.entry.name());
    const std::span<float> values = state[slot];
    if (layer.op == Op::convolution) {
      const double deviation = std::sqrt(2.0 / (double(layer.kernel) * layer.kernel * layer.out));
      for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(deviation * random.normal(i));
    } else if (layer.op == Op::linear) {
      const bool zero = slot.entry.role == Role::bias && initializer == Initializer::paper;
      const float edge = zero ? 0.0f : static_cast<float>(1.0 / std::sqrt(double(layer.in)));
      for (std::size_t i = 0; i < values.size(); ++i) values[i] = edge * (2.0f * random.uniform(i) - 1.0f);
    }
  }
}

/// New parameters of `Net`, initialised from `seed`.
template <class Net>
Parameters<Net> initialized(std::uint64_t seed, Initializer initializer = Initializer::paper) {
  Parameters<Net> parameters;
  initialize(parameters, seed, initializer);
  return parameters;
}

}  // namespace resnext
