/// @file
/// The parameters of a network type, and how they start.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <string>
#include <vector>

#include <resnext/elementary.hpp>
#include <resnext/nn/state_dict.hpp>
#include <resnext/random.hpp>

namespace resnext {

/// The tensors of `Net` on the host: what files hold and executors are built from. Copies are cheap, see StateDict.
template <class Net>
class Parameters : public StateDict {
 public:
  using Network = Net;  ///< whose they are

  /// BN as the identity, everything else zero; `initialized()` has random weights.
  Parameters() : StateDict(Net::layers) {}
  /// The same tensors, shared, with the network's type.
  /// @throws ShapeError when they are another network's
  template <std::same_as<StateDict> S>
  explicit Parameters(const S& state) : StateDict(state) {
    if (layers().data() != Net::layers.data())
      throw_error<ShapeError>("expected the parameters of this network with ", Net::layers.size(),
                              " layers, found those of another with ", layers().size());
  }
};

/// Who says how the weights start. Convolutions are normal with variance 2 / (k * k * out), `out` being all outputs and
/// not those of one group, and BN starts as the identity, in both.
enum class Initializer {
  paper,       ///< classifier: weights uniform in +-1 / sqrt(in), bias 0 (facebookresearch/ResNeXt, models/init)
  torchvision  ///< classifier: weights and bias uniform in +-1 / sqrt(in)
};

/// Fills a tensor of a convolution or the classifier from `seed`; its values depend on the seed and its name only. BN's
/// are left as the identity.
inline void initialize(StateDict& state, const StateDict::Slot& slot, std::uint64_t seed,
                       Initializer initializer = Initializer::paper) {
  const Layer& layer = state.layers()[static_cast<std::size_t>(slot.entry.layer)];
  const RandomStream random(seed, slot.entry.name());
  const std::span<float> values = state[slot];
  if (layer.op == LayerOp::convolution) {
    const double deviation = detail::sqrt(2.0 / (double(layer.kernel) * layer.kernel * layer.out));
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(deviation * random.normal(i));
  } else if (layer.op == LayerOp::linear) {
    const bool zero = slot.entry.role == TensorRole::bias && initializer == Initializer::paper;
    const float edge = zero ? 0.0f : static_cast<float>(1.0 / detail::sqrt(double(layer.in)));
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = edge * (2.0f * random.uniform(i) - 1.0f);
  }
}

/// The same for every tensor.
inline void initialize(StateDict& state, std::uint64_t seed, Initializer initializer = Initializer::paper) {
  for (const StateDict::Slot& slot : state.tensors()) initialize(state, slot, seed, initializer);
}

/// New parameters of `Net`, initialised from `seed`.
template <class Net>
Parameters<Net> initialized(std::uint64_t seed, Initializer initializer = Initializer::paper) {
  Parameters<Net> parameters;
  initialize(parameters, seed, initializer);
  return parameters;
}

/// What `transfer` has made, and what it could not take over.
template <class To>
struct Transferred {
  Parameters<To> parameters;        ///< complete
  std::vector<std::string> fresh;   ///< tensors of `To` that are initialised
  std::vector<std::string> unused;  ///< tensors of the other network that `To` has no place for
};

/// Parameters of `To` from those of another network: a tensor whose name and shape agree is taken over, every other one
/// is as `initialized<To>(seed)` has it. For another number of classes see also `WithClasses`.
template <class To, class From>
Transferred<To> transfer(const Parameters<From>& from, std::uint64_t seed,
                         Initializer initializer = Initializer::paper) {
  Transferred<To> result;
  const auto counterpart = [](const StateDict& state, const StateDict::Slot& slot) {
    const StateDict::Slot* found = state.find(slot.entry.name());
    return found != nullptr && found->entry.shape == slot.entry.shape ? found : nullptr;
  };
  for (const StateDict::Slot& slot : result.parameters.tensors()) {
    if (slot.size == 0) continue;
    if (const StateDict::Slot* found = counterpart(from, slot)) {
      const std::span<const float> values = from[*found];
      std::copy(values.begin(), values.end(), result.parameters[slot].begin());
    } else {
      initialize(result.parameters, slot, seed, initializer);
      result.fresh.emplace_back(slot.entry.name().view());
    }
  }
  for (const StateDict::Slot& slot : from.tensors()) {
    if (slot.size > 0 && counterpart(result.parameters, slot) == nullptr)
      result.unused.emplace_back(slot.entry.name().view());
  }
  result.parameters.set_batches_tracked(from.batches_tracked());
  return result;
}

}  // namespace resnext
