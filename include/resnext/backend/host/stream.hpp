/// @file
/// The order of work on a host backend: kernels run at once, communication runs beside them.
#pragma once

#include <exception>
#include <functional>
#include <utility>
#include <vector>

namespace resnext {

/// Kernels of a host backend run when they are called, so the only thing to order is what others do in the meantime:
/// a communicator defers the wait for its transfer, and whoever needs the result joins first.
class HostStream {
 public:
  HostStream() = default;
  /// Takes over what is outstanding: nobody waits for it twice, so there are no copies.
  HostStream(HostStream&&) = default;
  /// The same; what is outstanding here goes to `other`, so that none is lost.
  HostStream& operator=(HostStream&& other) noexcept {
    waits_.swap(other.waits_);
    return *this;
  }

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

}  // namespace resnext
