// Compares every operator of a backend with Reference<double>.
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>

#include <resnext/reference.hpp>

#include "backend/operators.hpp"

namespace operators {

/// Errors are relative to the rms of a tensor. A float sum of K products is off by about 1e-7 sqrt(K) of it, and a few
/// times that where the summands cancel. What is stored in 16 bits is rounded, and largest where it is several times
/// the rms. Convolutions of more than `most` outputs are left out, for a test that has not the time.
template <class B>
void compare_all(std::int64_t most = std::numeric_limits<std::int64_t>::max()) {
  using Oracle = Reference<double>;
  using Scalar = typename B::Scalar;
  constexpr double rounding = sizeof(Scalar) > 2 ? 0 : std::is_same_v<Scalar, bfloat16> ? 0x3p-6 : 0x3p-9;
  const auto check = [](auto make, double tolerance) {
    const auto report = compare_gradients(make.template operator()<B>(), make.template operator()<Oracle>());
    CHECK_MESSAGE(report.error < tolerance + rounding, report.worst << " (" << report.error << ")");
  };
  for (const auto& s : convolutions) {
    if (s.output_size() > most) continue;
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
