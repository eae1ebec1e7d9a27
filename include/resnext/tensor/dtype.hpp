/// @file
/// The types of the numbers in tensors, those of files and those of a network's values.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace resnext {

/// Types of numbers, with the names that safetensors gives them.
// NOLINTNEXTLINE(readability-identifier-naming): spelled as in the files
enum class Dtype : std::uint8_t { F64, F32, F16, BF16, F8_E4M3, F8_E5M2, I64, I32, I16, I8, U64, U32, U16, U8, BOOL };

namespace detail {

struct DtypeRow {
  std::string_view name;
  std::size_t bytes;
};

inline constexpr std::array<DtypeRow, 15> dtype_rows{{{"F64", 8},
                                                      {"F32", 4},
                                                      {"F16", 2},
                                                      {"BF16", 2},
                                                      {"F8_E4M3", 1},
                                                      {"F8_E5M2", 1},
                                                      {"I64", 8},
                                                      {"I32", 4},
                                                      {"I16", 2},
                                                      {"I8", 1},
                                                      {"U64", 8},
                                                      {"U32", 4},
                                                      {"U16", 2},
                                                      {"U8", 1},
                                                      {"BOOL", 1}}};

}  // namespace detail

/// The name of an element type as the file spells it, e.g. "BF16".
inline std::string_view dtype_name(Dtype dtype) { return detail::dtype_rows[static_cast<std::size_t>(dtype)].name; }

/// The bytes of one element.
inline std::size_t dtype_size(Dtype dtype) { return detail::dtype_rows[static_cast<std::size_t>(dtype)].bytes; }

}  // namespace resnext
