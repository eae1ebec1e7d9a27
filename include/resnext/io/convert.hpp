/// @file
/// Elements of files as numbers of the program.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <resnext/tensor/dtype.hpp>
#include <resnext/tensor/number.hpp>
#include <span>

namespace resnext::detail {

template <class From, class To, class Convert>
void convert_each(const std::byte* from, std::span<To> values, Convert convert) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    From value;  // the bytes of a file are not aligned
    std::memcpy(&value, from + i * sizeof value, sizeof value);
    values[i] = convert(value);
  }
}

/// The types that a tensor of weights may have.
constexpr bool is_real(Dtype dtype) {
  return dtype == Dtype::F32 || dtype == Dtype::F16 || dtype == Dtype::BF16 || dtype == Dtype::F64;
}

/// F32, F16 and BF16 exactly, F64 rounded.
inline void convert(Dtype dtype, const std::byte* from, std::span<float> values) {
  switch (dtype) {
    case Dtype::F16:
      return convert_each<float16>(from, values, [](float16 x) { return float{x}; });
    case Dtype::BF16:
      return convert_each<bfloat16>(from, values, [](bfloat16 x) { return float{x}; });
    case Dtype::F64:
      return convert_each<double>(from, values, to_float);
    default:
      return convert_each<float>(from, values, [](float x) { return x; });
  }
}

/// Any number type as PyTorch does: fractions are cut off. What a 64-bit integer cannot hold becomes the nearest one
/// that it can, NaN 0.
inline void convert(Dtype dtype, const std::byte* from, std::span<std::int64_t> values) {
  const auto real = [](auto x) {
    constexpr std::int64_t least = std::numeric_limits<std::int64_t>::min(), most = -(least + 1);
    if (is_nan(x)) return std::int64_t{0};
    if (x >= 0x1p63) return most;
    return x < -0x1p63 ? least : static_cast<std::int64_t>(x);
  };
  const auto integer = [](auto x) { return static_cast<std::int64_t>(x); };
  switch (dtype) {
    case Dtype::F64:
      return convert_each<double>(from, values, real);
    case Dtype::F32:
      return convert_each<float>(from, values, real);
    case Dtype::F16:
      return convert_each<float16>(from, values, real);
    case Dtype::BF16:
      return convert_each<bfloat16>(from, values, real);
    case Dtype::F8_E5M2:  // the upper byte of a half
      return convert_each<std::uint8_t>(from, values, [&](std::uint8_t x) {
        return real(float16::from_bits(static_cast<std::uint16_t>(x << 8)));
      });
    case Dtype::F8_E4M3:  // the exponent is 8 less than a half's; there is no infinity
      return convert_each<std::uint8_t>(from, values, [&](std::uint8_t x) {
        const auto half = static_cast<std::uint16_t>((x & 0x80) << 8 | (x & 0x7F) << 7);
        return (x & 0x7F) == 0x7F ? std::int64_t{0} : real(256 * float16::from_bits(half));
      });
    case Dtype::I64:
      return convert_each<std::int64_t>(from, values, integer);
    case Dtype::I32:
      return convert_each<std::int32_t>(from, values, integer);
    case Dtype::I16:
      return convert_each<std::int16_t>(from, values, integer);
    case Dtype::I8:
      return convert_each<std::int8_t>(from, values, integer);
    case Dtype::U64:
      return convert_each<std::uint64_t>(
          from, values, [](std::uint64_t x) { return static_cast<std::int64_t>(std::min(x, ~std::uint64_t{0} >> 1)); });
    case Dtype::U32:
      return convert_each<std::uint32_t>(from, values, integer);
    case Dtype::U16:
      return convert_each<std::uint16_t>(from, values, integer);
    case Dtype::U8:
    case Dtype::BOOL:
      return convert_each<std::uint8_t>(from, values, integer);
  }
}

}  // namespace resnext::detail
