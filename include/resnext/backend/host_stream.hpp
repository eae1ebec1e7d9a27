/// @file
/// The order of work on a host backend: kernels run at once, communication runs beside them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <span>
#include <utility>
#include <vector>

namespace resnext {

/// Kernels of a host backend run when they are called, so the only thing to order is what others do in the meantime:
/// a communicator defers the wait for its transfer, and whoever needs the result joins first.
class HostStream {
 public:
  /// Work that was started elsewhere; `wait` returns when it is done, and may throw what went wrong.
  void defer(std::function<void()> wait) { waits_.push_back(std::move(wait)); }
  /// Waits for all that was deferred. Later work sees its results.
  void join() {
    auto waits = std::exchange(waits_, {});
    for (auto& wait : waits) wait();
  }
  /// True when nothing is outstanding.
  bool idle() const { return waits_.empty(); }

 private:
  std::vector<std::function<void()>> waits_;
};

namespace detail {

/// The memory operations of the `Backend` concept where backend memory is host memory.
template <class T>
struct HostMemory {
  static void upload(HostStream&, std::span<const float> from, T* to) { convert(from, to); }
  static void upload(HostStream&, std::span<const double> from, T* to) { convert(from, to); }
  static void upload(HostStream&, std::span<const std::int32_t> from, std::int32_t* to) { convert(from, to); }
  static void download(HostStream& stream, const T* from, std::span<float> to) {
    stream.join();
    convert(std::span<const T>(from, to.size()), to.data());
  }
  /// Also of metrics, which are double in every backend.
  template <class From>
  static void download(HostStream& stream, const From* from, std::span<double> to) {
    stream.join();
    convert(std::span<const From>(from, to.size()), to.data());
  }
  static void clear(HostStream&, double* values, std::int64_t size) { std::fill_n(values, size, 0.0); }
  static void finish(HostStream& stream) { stream.join(); }

 private:
  template <class From, class To>
  static void convert(std::span<const From> from, To* to) {
    std::transform(from.begin(), from.end(), to, [](From value) { return static_cast<To>(value); });
  }
};

}  // namespace detail

}  // namespace resnext
