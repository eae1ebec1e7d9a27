/// @file
/// Operators that calculate in one type and store in others.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <resnext/backend/host/saturated.hpp>
#include <resnext/backend/shapes.hpp>
#include <resnext/error.hpp>
#include <resnext/tensor/number.hpp>
#include <resnext/tensor/number_format.hpp>
#include <resnext/tensor/typed_pointer.hpp>

namespace resnext::detail {

/// What numbers of type T are calculated in.
template <class T>
using Calculated = std::conditional_t<std::is_same_v<T, double>, double, float>;

/// `MapFormats` of a backend whose maps are of type T, with nothing left out.
struct KnownFormats {
  NumberFormat x, other, y;
};
template <class T>
KnownFormats known_formats(const MapFormats& formats) {
  constexpr NumberFormat plain{dtype_of<T>, 1};
  return {formats.x.value_or(plain), formats.other.value_or(plain), formats.y.value_or(plain)};
}

/// True for the types of stored numbers that are calculated in C.
template <class C>
constexpr bool calculates_with(Dtype type) {
  if (std::is_same_v<C, double>) return type == Dtype::F64;
  return type == Dtype::F32 || type == Dtype::BF16 || type == Dtype::F16 || is_quantized(type);
}

/// Calls `visit` with a number of the type, one of those that are calculated in type C.
template <class C, class Visit>
auto with_number(Dtype type, const Visit& visit) {
  if constexpr (std::is_same_v<C, double>) {
    if (type == Dtype::F64) return visit(double());
  } else {
    if (type == Dtype::F32) return visit(float());
    if (type == Dtype::BF16) return visit(bfloat16());
    if (type == Dtype::F16) return visit(float16());
    if (type == Dtype::I8) return visit(std::int8_t());
    if (type == Dtype::U8) return visit(std::uint8_t());
  }
  throw_error<ShapeError>("the reference does not calculate with numbers of type ", dtype_name(type));
}

/// What a stored number stands for.
template <class C, class T>
C real_number(T number, float scale) {
  if constexpr (std::is_integral_v<T>) {
    return scale * static_cast<float>(number);
  } else {
    return static_cast<C>(number);
  }
}
/// The number that is stored for a real one; `inverse` is 1 / scale.
template <class T, class X>
T stored_number(X x, float inverse) {
  if constexpr (std::is_integral_v<T>) {
    return saturated<T>(static_cast<float>(x) * inverse);
  } else {
    return static_cast<T>(x);
  }
}

/// Elements of a map as what they stand for, one at a time, for operators that are not worth a copy.
template <class C>
class Reader {
 public:
  Reader(ConstTypedPointer from, NumberFormat format) : from_(from), scale_(format.scale) {}
  C operator[](std::int64_t i) const {
    if (from_.type() == dtype_of<C>) return static_cast<const C*>(from_.data())[i];
    return with_number<C>(from_.type(),
                          [&]<class T>(T) { return real_number<C>(static_cast<const T*>(from_.data())[i], scale_); });
  }

 private:
  ConstTypedPointer from_;
  float scale_;
};
template <class C>
class Writer {
 public:
  Writer(TypedPointer to, NumberFormat format) : to_(to), inverse_(1 / format.scale) {}
  /// x may be more precise than C, and is rounded once.
  template <class X>
  void operator()(std::int64_t i, X x) const {
    if (to_.type() == dtype_of<C>) {
      static_cast<C*>(to_.data())[i] = static_cast<C>(x);
    } else {
      with_number<C>(to_.type(), [&]<class T>(T) { static_cast<T*>(to_.data())[i] = stored_number<T>(x, inverse_); });
    }
  }

 private:
  TypedPointer to_;
  float inverse_;
};

/// Scratch memory that is handed out piece by piece.
class Workspace {
 public:
  explicit Workspace(std::byte* begin) : next_(begin) {}

  template <class T>
  T* take(std::int64_t count) {
    T* const piece = reinterpret_cast<T*>(next_);
    next_ += bytes<T>(count);
    return piece;
  }
  /// What `take` uses up.
  template <class T>
  static constexpr std::size_t bytes(std::int64_t count) {
    return (static_cast<std::size_t>(count) * sizeof(T) + 63) / 64 * 64;
  }
  /// What `read` and `write` use up.
  template <class C>
  static std::size_t copy_bytes(Dtype type, std::int64_t count) {
    return type == dtype_of<C> ? 0 : bytes<C>(count);
  }

  /// Numbers to calculate with: they themselves, or a copy.
  template <class C>
  const C* read(ConstTypedPointer from, float scale, std::int64_t count) {
    if (from.type() == dtype_of<C>) return from;
    C* const copy = take<C>(count);
    with_number<C>(from.type(), [&]<class T>(T) {
      const T* const numbers = from;
      std::transform(numbers, numbers + count, copy, [&](T number) { return real_number<C>(number, scale); });
    });
    return copy;
  }
  /// The same of numbers that are no integers.
  template <class C>
  const C* read(ConstTypedPointer from, std::int64_t count) {
    return read<C>(from, 1, count);
  }
  /// Where results are calculated that `store` then rounds: in their place, if nothing is to be rounded.
  template <class C>
  C* write(TypedPointer to, std::int64_t count) {
    return to.type() == dtype_of<C> ? static_cast<C*>(to.data()) : take<C>(count);
  }

 private:
  std::byte* next_;
};

template <class C>
void store(const C* from, TypedPointer to, std::int64_t count, float scale = 1) {
  if (from == to.data()) return;
  const float inverse = 1 / scale;
  with_number<C>(to.type(), [&]<class T>(T) {
    std::transform(from, from + count, static_cast<T*>(to.data()), [&](C x) { return stored_number<T>(x, inverse); });
  });
}

}  // namespace resnext::detail
