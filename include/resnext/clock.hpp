/// @file
/// A clock for measurements.
#pragma once

#include <ctime>

namespace resnext::detail {

/// Seconds that only grow. Not from <chrono>, which would be a tenth of the time it takes to include resnext.hpp.
inline double steady_seconds() {
  std::timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

}  // namespace resnext::detail
