/// @file
/// What the processor can do at most.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include <resnext/backend/cpu/isa.hpp>
#include <resnext/backend/cpu/parallel.hpp>
#include <resnext/clock.hpp>

#define RESNEXT_KERNELS <resnext/backend/cpu/peak-inl.h>
#include <resnext/backend/cpu/for_each_target-inl.h>

#include <resnext/backend/cpu/call-inl.h>

namespace resnext::detail {

/// 10^9 fp32 operations a second, two a multiply-add, of thread_count() that do nothing else: the best of some runs of
/// a few milliseconds each. Vectors are those of isa(), so this is the roof over the own kernels.
inline double measured_peak_gflops() {
  constexpr std::ptrdiff_t rounds = 400'000;
  const int all = thread_count();
  std::vector<float> sums(static_cast<std::size_t>(all));
  double best = 0;
  for (int run = 0; run < 8; ++run) {
    const double start = steady_seconds();
    parallel_for(all, [&](int t) { sums[static_cast<std::size_t>(t)] = RESNEXT_CALL(multiply_add, rounds); });
    const double seconds = steady_seconds() - start;
    best = std::max(best, static_cast<double>(rounds * RESNEXT_CALL(flops_of_round)) * all / seconds);
  }
  return best * 1e-9;
}

}  // namespace resnext::detail

#undef RESNEXT_CALL
