/// @file
/// Numbers by their bits: finite or not under any compiler option, the formats of 16 bits, products that cannot
/// overflow.
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

/// The value of a bfloat16. Exact.
constexpr float bfloat16_to_float(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

/// The value of an IEEE 754 binary16. Exact, and by integers alone: a process that flushes subnormals to zero reads the
/// same.
constexpr float half_to_float(std::uint16_t bits) {
  const std::uint32_t sign = (bits & 0x8000u) << 16, exponent = (bits >> 10) & 0x1Fu, fraction = bits & 0x3FFu;
  if (exponent == 0x1F) return std::bit_cast<float>(sign | 0x7F800000u | fraction << 13);  // infinity, NaN
  if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 112) << 23 | fraction << 13);
  if (fraction == 0) return std::bit_cast<float>(sign);
  // Subnormal: fraction * 2^-24, whose leading one a float does not store.
  const auto top = static_cast<std::uint32_t>(std::bit_width(fraction)) - 1;
  return std::bit_cast<float>(sign | (top + 103) << 23 | (fraction << (23 - top) & 0x7FFFFFu));
}

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

}  // namespace detail

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
