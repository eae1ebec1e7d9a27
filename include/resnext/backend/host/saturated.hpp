/// @file
/// Real numbers as integers of few bits.
#pragma once

#include <algorithm>
#include <limits>

#include <resnext/elementary.hpp>
#include <resnext/tensor/number.hpp>

namespace resnext::detail {

/// x as an integer of type T: the nearest, of two equally near ones the even one, but not beyond the ends of the type.
/// What is not a number becomes 0.
template <class T>
T saturated(float x) {
  if (is_nan(x)) return 0;
  constexpr auto least = static_cast<float>(std::numeric_limits<T>::min());
  constexpr auto most = static_cast<float>(std::numeric_limits<T>::max());
  return static_cast<T>(rounded(std::clamp(x, least, most)));
}

}  // namespace resnext::detail
