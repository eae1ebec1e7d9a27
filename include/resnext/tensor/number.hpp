/// @file
/// Numbers by their bits: finite or not under any compiler option, the types of 16 bits, products that cannot overflow.
#pragma once

#include <bit>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <optional>
#include <span>

namespace resnext {

/// True unless x is infinite or not a number. Of bits: `-ffast-math` lets a compiler take any comparison of values for
/// true, and one unit of a program that is compiled so decides for all that share an inline function.
constexpr bool is_finite(float x) { return (std::bit_cast<std::uint32_t>(x) & 0x7F800000u) != 0x7F800000u; }
/// The same.
constexpr bool is_finite(double x) {
  return (std::bit_cast<std::uint64_t>(x) & 0x7FF0000000000000u) != 0x7FF0000000000000u;
}
/// True where x is not a number, of bits too.
constexpr bool is_nan(float x) { return (std::bit_cast<std::uint32_t>(x) & 0x7FFFFFFFu) > 0x7F800000u; }
/// The same.
constexpr bool is_nan(double x) {
  return (std::bit_cast<std::uint64_t>(x) & 0x7FFFFFFFFFFFFFFFu) > 0x7FF0000000000000u;
}

namespace detail {

/// The larger of x and 0; what is not a number stays so.
template <class T>
constexpr T rectified(T x) {
  return x > 0 || is_nan(x) ? x : T(0);
}

}  // namespace detail

namespace detail {

/// The value of a float as a double. Exact in every mode of the processor.
constexpr double to_double(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  if ((bits & 0x7F800000u) != 0) return x;
  const double magnitude = static_cast<double>(bits & 0x7FFFFFu) * 0x1p-149;
  return bits >> 31 ? -magnitude : magnitude;
}

/// The float next to a double, of two equally near ones the even one. The same in every mode of the processor: what
/// becomes a subnormal is rounded by integers.
constexpr float to_float(double x) {
  const auto bits = std::bit_cast<std::uint64_t>(x);
  const auto exponent = static_cast<int>(bits >> 52 & 0x7FF) - 1023;
  if (exponent >= -126) return static_cast<float>(x);
  const auto sign = static_cast<std::uint32_t>(bits >> 32) & 0x80000000u;
  if (exponent < -150) return std::bit_cast<float>(sign);
  const std::uint64_t significand = (bits & 0xFFFFFFFFFFFFFu) | std::uint64_t{1} << 52;
  const int shift = -97 - exponent;  // to multiples of 2^-149
  const std::uint64_t rest = significand & ((std::uint64_t{1} << shift) - 1), half = std::uint64_t{1} << (shift - 1);
  const auto whole = static_cast<std::uint32_t>(significand >> shift);
  return std::bit_cast<float>(sign | (whole + (rest > half || (rest == half && whole % 2 == 1))));
}

/// The float on the side of 0 next to a double, with a last bit of 1 unless it is exact (rounding to odd): whoever rounds
/// that to less than 23 bits gets what rounding the double once would have given.
constexpr float to_odd_float(double x) {
  const auto bits = std::bit_cast<std::uint64_t>(x);
  const auto exponent = static_cast<int>(bits >> 52 & 0x7FF) - 1023;
  const auto sign = static_cast<std::uint32_t>(bits >> 32) & 0x80000000u;
  if (exponent == 1024) return static_cast<float>(x);  // infinity, NaN
  if (exponent > 127) return std::bit_cast<float>(sign | 0x7F7FFFFFu);
  if (exponent < -149) return std::bit_cast<float>(sign | ((bits & 0x7FFFFFFFFFFFFFFFu) != 0));
  const std::uint64_t significand = (bits & 0xFFFFFFFFFFFFFu) | std::uint64_t{1} << 52;
  const int shift = exponent >= -126 ? 29 : -97 - exponent;
  const auto whole = static_cast<std::uint32_t>(significand >> shift);
  const bool inexact = (significand & ((std::uint64_t{1} << shift) - 1)) != 0;
  const auto magnitude = exponent >= -126 ? (static_cast<std::uint32_t>(exponent + 126) << 23) + whole : whole;
  return std::bit_cast<float>(sign | magnitude | inexact);
}

/// `bits` without its last `shift` ones (at least 1, at most 31), rounded to the nearest, of two equally near to the even
/// one.
constexpr std::uint32_t rounded_shift(std::uint32_t bits, int shift) {
  const std::uint32_t half = std::uint32_t{1} << (shift - 1);
  return static_cast<std::uint32_t>((std::uint64_t{bits} + (half - 1) + (bits >> shift & 1)) >> shift);
}

}  // namespace detail

/// A float's sign and exponent, and the first 7 bits of its fraction. It is made of a float or double by rounding to the
/// nearest, of two equally near ones to the even one, and calculates as the float that it is. By integers alone: a
/// process that flushes subnormals to zero gets the same.
struct bfloat16 {  // NOLINT(readability-identifier-naming): as the processors' manuals and C++23 spell it
  std::uint16_t bits;  ///< as they are in memory, in files and on every device

  bfloat16() = default;
  /// The nearest. What is not a number stays so.
  constexpr explicit bfloat16(float x) : bits(rounded(std::bit_cast<std::uint32_t>(x))) {}
  /// The same, rounded once.
  constexpr explicit bfloat16(double x) : bfloat16(detail::to_odd_float(x)) {}
  /// Exact.
  constexpr operator float() const { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }

  /// The one that has these bits.
  static constexpr bfloat16 from_bits(std::uint16_t bits) { return std::bit_cast<bfloat16>(bits); }

 private:
  static constexpr std::uint16_t rounded(std::uint32_t x) {
    if ((x & 0x7FFFFFFFu) > 0x7F800000u) return static_cast<std::uint16_t>(x >> 16 | 0x40);  // NaN, made quiet
    return static_cast<std::uint16_t>(detail::rounded_shift(x, 16));
  }
};

/// IEEE 754 binary16, a half: 5 bits of exponent and 10 of fraction. Made and used as `bfloat16` is; what is 65520 or
/// more becomes infinite.
struct float16 {  // NOLINT(readability-identifier-naming): as C++23 spells it
  std::uint16_t bits;  ///< as they are in memory, in files and on every device

  float16() = default;
  /// The nearest. What is not a number stays so.
  constexpr explicit float16(float x) : bits(rounded(std::bit_cast<std::uint32_t>(x))) {}
  /// The same, rounded once.
  constexpr explicit float16(double x) : float16(detail::to_odd_float(x)) {}
  /// Exact.
  constexpr operator float() const {
    const std::uint32_t sign = (bits & 0x8000u) << 16, exponent = (bits >> 10) & 0x1Fu, fraction = bits & 0x3FFu;
    if (exponent == 0x1F) return std::bit_cast<float>(sign | 0x7F800000u | fraction << 13);  // infinity, NaN
    if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 112) << 23 | fraction << 13);
    if (fraction == 0) return std::bit_cast<float>(sign);
    // Subnormal: fraction * 2^-24, whose leading one a float does not store.
    const auto top = static_cast<std::uint32_t>(std::bit_width(fraction)) - 1;
    return std::bit_cast<float>(sign | (top + 103) << 23 | (fraction << (23 - top) & 0x7FFFFFu));
  }

  /// The one that has these bits.
  static constexpr float16 from_bits(std::uint16_t bits) { return std::bit_cast<float16>(bits); }

 private:
  static constexpr std::uint16_t rounded(std::uint32_t x) {
    const std::uint32_t sign = x >> 16 & 0x8000u, exponent = x >> 23 & 0xFFu, fraction = x & 0x7FFFFFu;
    const auto with_sign = [&](std::uint32_t magnitude) { return static_cast<std::uint16_t>(sign | magnitude); };
    if (exponent == 0xFF && fraction != 0) return with_sign(0x7E00u | fraction >> 13);  // NaN, made quiet
    if (exponent > 142) return with_sign(0x7C00u);                                      // at least 2^16
    if (exponent > 112) return with_sign(detail::rounded_shift((exponent - 112) << 23 | fraction, 13));
    if (exponent < 102) return with_sign(0);  // below half of the least subnormal
    return with_sign(detail::rounded_shift(fraction | 0x800000u, static_cast<int>(126 - exponent)));
  }
};

/// The product of extents that come from outside, times the size of an element: 0 where an extent is 0. Nothing when
/// one is negative, or when the product of the others does not fit in 63 bits.
constexpr std::optional<std::uint64_t> checked_product(std::span<const std::int64_t> extents,
                                                       std::uint64_t element = 1) {
  constexpr auto limit = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  std::uint64_t product = element;
  bool empty = false;
  for (const std::int64_t extent : extents) {
    const auto n = static_cast<std::uint64_t>(extent);
    if (extent < 0 || (n > 0 && product > limit / n)) return std::nullopt;
    if (n > 0) product *= n;
    empty |= n == 0;
  }
  return empty ? 0 : product;
}
/// The same of extents that are written down: `checked_product({n, h, w, c})`.
constexpr std::optional<std::uint64_t> checked_product(std::initializer_list<std::int64_t> extents,
                                                       std::uint64_t element = 1) {
  return checked_product(std::span(extents.begin(), extents.size()), element);
}

}  // namespace resnext
