/// @file
/// The order of work on a host backend: kernels run at once, communication runs beside them.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <limits>
#include <utility>
#include <vector>

#include <resnext/backend/backend.hpp>
#include <resnext/tensor/number.hpp>

namespace resnext {

/// Kernels of a host backend run when they are called, so the only thing to order is what others do in the meantime:
/// a communicator defers the wait for its transfer, and whoever needs the result joins first.
class HostStream {
 public:
  HostStream() = default;
  /// Takes over what is outstanding: nobody waits for it twice, so there are no copies.
  HostStream(HostStream&&) = default;
  /// The same.
  HostStream& operator=(HostStream&&) = default;

  /// Work that was started elsewhere; `wait` returns when it is done, and may throw what went wrong.
  void defer(std::function<void()> wait) { waits_.push_back(std::move(wait)); }
  /// Waits for all that was deferred. Later work sees its results. Whatever goes wrong, nothing is outstanding
  /// afterwards: memory may be freed or written again. Throws what the first wait threw.
  void join() {
    std::exception_ptr first;
    for (const auto& wait : waits_) {
      try {
        wait();
      } catch (...) {
        if (!first) first = std::current_exception();
      }
    }
    waits_.clear();
    if (first) std::rethrow_exception(first);
  }
  /// True when nothing is outstanding.
  bool idle() const { return waits_.empty(); }

 private:
  std::vector<std::function<void()>> waits_;
};

namespace detail {

/// Marks the sums of a step whose gradients are not finite, unless an earlier step did: see `Metric`.
inline void discard_step(std::int64_t images, double* metrics) {
  double& loss = metrics[static_cast<int>(Metric::loss)];
  if (!is_finite(loss)) return;
  loss = std::numeric_limits<double>::quiet_NaN();
  metrics[static_cast<int>(Metric::images)] -= static_cast<double>(images);
}

}  // namespace detail

}  // namespace resnext
