/// @file
/// The memory operations of a backend whose memory is the host's.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>

#include <resnext/backend/backend.hpp>
#include <resnext/backend/host/stream.hpp>
#include <resnext/tensor/number.hpp>

namespace resnext::detail {

/// Marks the sums of a step whose gradients are not finite, unless an earlier step did: see `Metric`.
inline void discard_step(std::int64_t images, double* metrics) {
  double& loss = metrics[static_cast<int>(Metric::loss)];
  if (!is_finite(loss)) return;
  loss = std::numeric_limits<double>::quiet_NaN();
  metrics[static_cast<int>(Metric::images)] -= static_cast<double>(images);
}

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
  static void guard(HostStream&, const T* gradients, std::int64_t size, std::int64_t images, double* metrics) {
    if (!std::all_of(gradients, gradients + size, [](T x) { return is_finite(x); })) discard_step(images, metrics);
  }
  static void commit(HostStream&, const double* metrics, std::int64_t size, T* values, T* kept) {
    const bool good = is_finite(metrics[static_cast<int>(Metric::loss)]);
    std::copy_n(good ? values : kept, size, good ? kept : values);
  }
  static void clear(HostStream&, double* values, std::int64_t size) { std::fill_n(values, size, 0.0); }
  static void finish(HostStream& stream) { stream.join(); }

 private:
  template <class From, class To>
  static void convert(std::span<const From> from, To* to) {
    std::transform(from.begin(), from.end(), to, [](From value) { return static_cast<To>(value); });
  }
};

}  // namespace resnext::detail
