/// @file
/// A dense array as files hold them, and how its shape is written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace resnext {

/// A dense array, row-major; the shape `[]` is a scalar.
template <class T>
struct DenseArray {
  std::vector<std::int64_t> shape;  ///< extents, the slowest first
  std::vector<T> values;            ///< the product of the extents
};

namespace detail {

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
