// Compares every operator of a backend with Reference<double>.
#pragma once

#include <doctest/doctest.h>

#include <resnext/reference.hpp>

#include "backend/operators.hpp"

namespace operators {

/// Errors are relative to the rms of a tensor. A float sum of K products is off by about 1e-7 sqrt(K) of it, and a few
/// times that where the summands cancel.
template <class B>
void compare_all() {
  using Oracle = Reference<double>;
  const auto check = [](auto make, double tolerance) {
    const auto report = compare_gradients(make.template operator()<B>(), make.template operator()<Oracle>());
    CHECK_MESSAGE(report.error < tolerance, report.worst << " (" << report.error << ")");
  };
  for (const auto& s : convolutions) {
    const std::string shape = text(s);
    CAPTURE(shape);
    const double terms = std::max(s.in / s.groups * s.kernel * s.kernel, s.n * s.out_h() * s.out_w());
    const double tolerance = 1e-6 * std::sqrt(terms);
    check([&]<class T>() { return convolution<T>(s); }, tolerance);
    for (const bool residual : {false, true}) {
      for (const bool relu : {false, true}) {
        check([&]<class T>() { return inference_convolution<T>(s, {residual, relu}); }, tolerance);
      }
    }
  }
  for_each_small_operator([&](auto make) { check(make, 1e-5); });
}

}  // namespace operators
