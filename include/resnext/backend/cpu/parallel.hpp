/// @file
/// The one seam between the own CPU kernels and threads: OpenMP, because oneDNN runs on it and a second pool of
/// spinning threads beside it would cost more than it brings.
#pragma once

#include <atomic>

#ifdef _OPENMP
#include <omp.h>
#else
#include <cstdio>
#endif

namespace resnext {

namespace detail {

/// What set_thread_count() said, for the whole process; 0 before.
inline std::atomic<int> process_threads{0};

}  // namespace detail

// Units of one program may be compiled with and without OpenMP: what differs has two names.
#ifdef _OPENMP
inline namespace openmp {
#else
inline namespace serial {
#endif

/// Number of threads that a `parallel_for` may use: what set_thread_count() said, else `OMP_NUM_THREADS` or what
/// omp_set_num_threads() said in this thread, else all processors. A build without OpenMP has one, and says so once on
/// stderr.
///
/// After the first use a process has a pool of threads that fork() does not copy: a child that computes waits for them
/// forever. Fork before, or exec in the child.
inline int thread_count() {
#ifdef _OPENMP
  const int set = detail::process_threads.load(std::memory_order_relaxed);
  return set > 0 ? set : omp_get_max_threads();
#else
  static const bool told = std::fputs("resnext: built without OpenMP, running on one thread\n", stderr) >= 0;
  return told ? 1 : 1;
#endif
}

/// Sets what thread_count() says in every thread of the process, for own kernels and oneDNN, at least 1. Executors keep
/// the number that they were built for, so call it first. A build without OpenMP stays with one.
inline void set_thread_count([[maybe_unused]] int count) {
#ifdef _OPENMP
  detail::process_threads.store(count > 1 ? count : 1, std::memory_order_relaxed);
#endif
}

/// Runs `f(task)` for every task in [0, tasks) and returns when all are done. Thread t of T gets a contiguous range
/// that depends on `tasks`, t and T only. `f` must not throw. Never call it inside a target region: the outlined
/// function would lose the target.
template <class F>
void parallel_for(int tasks, const F& f) {
#ifdef _OPENMP
#pragma omp parallel for schedule(static) num_threads(thread_count()) if (tasks > 1)
  for (int task = 0; task < tasks; ++task) f(task);
#else
  static_cast<void>(thread_count());
  for (int task = 0; task < tasks; ++task) f(task);
#endif
}

}  // inline namespace

namespace detail {
#ifdef _OPENMP
inline namespace openmp {
#else
inline namespace serial {
#endif

/// While it lives, OpenMP itself says `count` in this thread, which is where oneDNN asks.
class ThreadScope {
 public:
  explicit ThreadScope([[maybe_unused]] int count) {
#ifdef _OPENMP
    before_ = omp_get_max_threads();
    changed_ = before_ != count;
    if (changed_) omp_set_num_threads(count);
#endif
  }
  ~ThreadScope() {
#ifdef _OPENMP
    if (changed_) omp_set_num_threads(before_);
#endif
  }
  ThreadScope(const ThreadScope&) = delete;
  ThreadScope& operator=(const ThreadScope&) = delete;

 private:
#ifdef _OPENMP
  int before_ = 1;
  bool changed_ = false;
#endif
};

}  // inline namespace
}  // namespace detail

}  // namespace resnext
