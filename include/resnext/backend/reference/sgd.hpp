/// @file
/// Stochastic gradient descent with momentum.
#pragma once

#include <cstdint>

#include <resnext/backend/backend.hpp>

namespace resnext::detail {

/// One step as torch.optim.SGD does it; see `SgdOptions`. A velocity of zeros is the state before the first step.
template <class T>
void reference_sgd(const SgdOptions& options, const T* hyper, std::int64_t size, T* weights, const T* gradient,
                   T* velocity) {
  const double rate = hyper[static_cast<int>(Hyper::learning_rate)];
  const double scale = hyper[static_cast<int>(Hyper::gradient_scale)];
  for (std::int64_t i = 0; i < size; ++i) {
    const double g = scale * gradient[i] + options.weight_decay * weights[i];
    const double v = options.momentum * velocity[i] + g;
    velocity[i] = static_cast<T>(v);
    weights[i] = static_cast<T>(weights[i] - rate * (options.nesterov ? g + options.momentum * v : v));
  }
}

}  // namespace resnext::detail
