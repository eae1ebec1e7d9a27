/// @file
/// The memory operations of a backend whose memory is the host's.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include <resnext/backend/backend.hpp>
#include <resnext/backend/host/saturated.hpp>
#include <resnext/backend/host/stream.hpp>
#include <resnext/backend/host/update.hpp>
#include <resnext/tensor/number.hpp>
#include <resnext/tensor/number_format.hpp>
#include <resnext/tensor/typed_pointer.hpp>

namespace resnext::detail {

/// The memory operations of the `Backend` concept where backend memory is host memory.
struct HostMemory {
  static constexpr std::size_t alignment = 64;  // a cache line, and the longest vector

  // Templates, since a compiler weighs overloads for spans at some length, each time.
  template <class Host, class To>
  static void upload(HostStream&, std::span<const Host> from, To* to) {
    convert(from, to);
  }
  template <class From, class Host>
  static void download(HostStream& stream, const From* from, std::span<Host> to) {
    stream.join();
    convert(std::span<const From>(from, to.size()), to.data());
  }

  // Maps and learned tensors lie as on the host, dense and in the order of files.
  static std::size_t map_size(const MapShape& shape) { return static_cast<std::size_t>(shape.size()); }
  template <class Host>
  static void upload_map(HostStream&, std::span<const Host> from, const MapShape& shape, TypedPointer to) {
    with_type(to.type(), [&]<class T>(T) {
      T* const numbers = to;
      if constexpr (std::is_integral_v<T>) {
        const float inverse = 1 / shape.formats.x.value_or(NumberFormat()).scale;
        std::transform(from.begin(), from.end(), numbers,
                       [=](Host x) { return saturated<T>(static_cast<float>(x) * inverse); });
      } else {
        convert(from, numbers);
      }
    });
  }
  template <class Host>
  static void download_map(HostStream& stream, ConstTypedPointer from, const MapShape& shape, std::span<Host> to) {
    stream.join();
    const double scale = shape.formats.x.value_or(NumberFormat()).scale;
    with_type(from.type(), [&]<class T>(T) {
      const T* const numbers = from;
      std::transform(numbers, numbers + to.size(), to.begin(),
                     [=](T x) { return static_cast<Host>(scale * static_cast<double>(x)); });
    });
  }
  static std::size_t tensor_size(const TensorShape& shape) { return static_cast<std::size_t>(shape.size()); }
  template <class Host, class To>
  static void upload_tensor(HostStream&, std::span<const Host> from, const TensorShape&, To* to) {
    convert(from, to);
  }
  template <class From, class Host>
  static void download_tensor(HostStream& stream, const From* from, const TensorShape&, std::span<Host> to) {
    download(stream, from, to);
  }

  template <class From, class To>
  static void round(HostStream&, const From* from, To* to, std::int64_t size) {
    convert(std::span<const From>(from, static_cast<std::size_t>(size)), to);
  }
  template <class Gradient>
  static void guard(HostStream&, const Gradient* gradients, std::int64_t size, std::int64_t images, double* control,
                    double* metrics) {
    judge_step(std::all_of(gradients, gradients + size, [](Gradient x) { return is_finite(x); }), images, control,
               metrics);
  }
  template <class Master>
  static void blend(HostStream&, const Master* from, Master* to, std::int64_t size, double keep, double take) {
    std::transform(to, to + size, from, to,
                   [=](double kept, double fresh) { return static_cast<Master>(keep * kept + take * fresh); });
  }
  template <class Factor>
  static void scale(HostStream&, const Factor* factor, TypedPointer values, std::int64_t size) {
    with_type(values.type(), [&]<class T>(T) {
      T* const numbers = values;
      std::transform(numbers, numbers + size, numbers,
                     [by = *factor](T x) { return static_cast<T>(by * static_cast<double>(x)); });
    });
  }
  static void clear(HostStream&, double* values, std::int64_t size) { std::fill_n(values, size, 0.0); }
  static void finish(HostStream& stream) { stream.join(); }

  /// Nothing is kept: the work is done each time.
  struct Recording {};
  template <class Work>
  static void record(HostStream&, Recording&, const Work& work) {
    work();
  }

 private:
  template <class Visit>
  static void with_type(Dtype type, const Visit& visit) {
    if (type == Dtype::F64) return visit(double());
    if (type == Dtype::F16) return visit(float16());
    if (type == Dtype::BF16) return visit(bfloat16());
    if (type == Dtype::I8) return visit(std::int8_t());
    if (type == Dtype::U8) return visit(std::uint8_t());
    visit(float());
  }
  template <class From, class To>
  static void convert(std::span<const From> from, To* to) {
    std::transform(from.begin(), from.end(), to, [](From value) { return static_cast<To>(value); });
  }
};

}  // namespace resnext::detail
