/// @file
/// A dense array as files hold them, and the arithmetic of shapes that come from outside.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace resnext {

/// A dense array, row-major; the shape `[]` is a scalar.
template <class T>
struct Array {
  std::vector<std::int64_t> shape;  ///< extents, the slowest first
  std::vector<T> values;            ///< the product of the extents
};

namespace detail {

/// The product of a shape times the element's size. Nothing when an extent is negative or the product of the positive
/// ones does not fit in 63 bits.
inline std::optional<std::uint64_t> byte_size(std::span<const std::int64_t> shape, std::size_t element) {
  constexpr auto limit = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  std::uint64_t size = element;
  bool empty = false;
  for (const std::int64_t extent : shape) {
    const auto n = static_cast<std::uint64_t>(extent);
    if (extent < 0 || (n > 0 && size > limit / n)) return std::nullopt;
    if (n > 0) size *= n;
    empty |= n == 0;
  }
  return empty ? 0 : size;
}

/// "[2, 3]".
inline std::string shape_text(std::span<const std::int64_t> shape, std::string_view separator = ", ") {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += separator;
    text += std::to_string(shape[i]);
  }
  return text + "]";
}

}  // namespace detail

}  // namespace resnext
