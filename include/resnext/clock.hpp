/// @file
/// Clocks for measurements.
#pragma once

#include <ctime>

namespace resnext::detail {

/// Seconds that only grow. Not from <chrono>, which would be a tenth of the time it takes to include resnext.hpp.
inline double steady_seconds() {
  std::timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

/// Tells how long it has been there.
class Stopwatch {
 public:
  double seconds() const { return steady_seconds() - start_; }

 private:
  double start_ = steady_seconds();
};

}  // namespace resnext::detail
