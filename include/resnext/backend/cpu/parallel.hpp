/// @file
/// The one seam between the own CPU kernels and threads: OpenMP, because oneDNN runs on it and a second pool of
/// spinning threads beside it would cost more than it brings.
#pragma once

#ifdef _OPENMP
#include <omp.h>
#else
#include <cstdio>
#endif

namespace resnext {

/// Number of threads that a `parallel_for` of this thread may use (`OMP_NUM_THREADS`). A build without OpenMP has one,
/// and says so once on stderr.
inline int threads() {
#ifdef _OPENMP
  return omp_get_max_threads();
#else
  static const bool told = std::fputs("resnext: built without OpenMP, running on one thread\n", stderr) >= 0;
  return told ? 1 : 1;
#endif
}

/// Sets what threads() says for this thread and for oneDNN, at least 1. Executors are built for the threads there are,
/// so call it first. A build without OpenMP stays with one.
inline void set_threads([[maybe_unused]] int count) {
#ifdef _OPENMP
  omp_set_num_threads(count > 1 ? count : 1);
#endif
}

/// Runs `f(task)` for every task in [0, tasks) and returns when all are done. Thread t of T gets a contiguous range
/// that depends on `tasks`, t and T only. `f` must not throw. Never call it inside a target region: the outlined
/// function would lose the target.
template <class F>
void parallel_for(int tasks, const F& f) {
#ifdef _OPENMP
#pragma omp parallel for schedule(static) if (tasks > 1)
  for (int task = 0; task < tasks; ++task) f(task);
#else
  static_cast<void>(threads());
  for (int task = 0; task < tasks; ++task) f(task);
#endif
}

}  // namespace resnext
