/// @file
/// Stochastic gradient descent with momentum.
#pragma once

#include <cstdint>

#include <resnext/backend/host/update.hpp>

namespace resnext::detail {

/// In double, as torch.optim.SGD does it. A velocity of zeros is the state before the first step.
struct ReferenceSgd {
  template <class T>
  static void step(const SgdStep& s, std::int64_t size, T* weights, const T* gradient, T* velocity) {
    for (std::int64_t i = 0; i < size; ++i) {
      const double g = s.scale * gradient[i] + s.decay * weights[i];
      const double v = s.momentum * velocity[i] + g;
      velocity[i] = static_cast<T>(v);
      weights[i] = static_cast<T>(weights[i] - s.rate * (s.nesterov ? g + s.momentum * v : v));
    }
  }
  /// average = decay average + (1 - decay) x.
  template <class T>
  static void average(double decay, std::int64_t size, const T* x, T* average) {
    for (std::int64_t i = 0; i < size; ++i) average[i] = static_cast<T>(decay * average[i] + (1 - decay) * x[i]);
  }
  template <class T>
  static double sum_of_squares(const T* x, std::int64_t size) {
    double sum = 0;
    for (std::int64_t i = 0; i < size; ++i) sum += double{x[i]} * x[i];
    return sum;
  }
};

}  // namespace resnext::detail
