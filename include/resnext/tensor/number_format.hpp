/// @file
/// How the numbers of a map are stored: in which type and, where that is of integers, at which scale.
#pragma once

#include <cstdint>
#include <type_traits>

#include <resnext/tensor/dtype.hpp>
#include <resnext/tensor/number.hpp>

namespace resnext {

/// An integer of 8 bits.
using int8 = std::int8_t;

/// What maps and learned tensors are made of.
template <class T>
concept TensorNumber = std::is_same_v<T, double> || std::is_same_v<T, float> || std::is_same_v<T, float16> ||
    std::is_same_v<T, bfloat16> || std::is_same_v<T, std::int8_t> || std::is_same_v<T, std::uint8_t>;

/// The element type of numbers of type T.
template <TensorNumber T>
inline constexpr Dtype dtype_of = std::is_same_v<T, double>        ? Dtype::F64
                                  : std::is_same_v<T, float>       ? Dtype::F32
                                  : std::is_same_v<T, float16>     ? Dtype::F16
                                  : std::is_same_v<T, bfloat16>    ? Dtype::BF16
                                  : std::is_same_v<T, std::int8_t> ? Dtype::I8
                                                                   : Dtype::U8;

/// True for integers of 8 bits, which stand for real numbers by a scale.
constexpr bool is_quantized(Dtype type) { return type == Dtype::I8 || type == Dtype::U8; }

/// How a map's numbers are stored. A stored number q stands for `scale * q`.
struct NumberFormat {
  Dtype type = Dtype::F32;  ///< of the stored numbers
  float scale = 1;          ///< of integers; 1 for all others
  friend constexpr bool operator==(const NumberFormat&, const NumberFormat&) = default;
};

}  // namespace resnext
