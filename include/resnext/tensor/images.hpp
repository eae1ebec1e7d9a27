/// @file
/// A view of a batch of images or maps in host memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include <resnext/error.hpp>
#include <resnext/tensor/number.hpp>

namespace resnext {

/// A batch `[n, h, w, c]` of floats, dense, owned by somebody else.
struct Images {
  std::span<const float> values;  ///< n * h * w * c
  int n = 0;                      ///< images
  int h = 0;                      ///< rows
  int w = 0;                      ///< columns
  int c = 0;                      ///< channels

  Images() = default;
  /// @throws ShapeError when an extent is below 1 or `values` has not n * h * w * c elements.
  Images(std::span<const float> all, int count, int height, int width, int channels)
      : values(all), n(count), h(height), w(width), c(channels) {
    if (n < 1 || h < 1 || w < 1 || c < 1) {
      throw_error<ShapeError>("images [N, H, W, C] = [", n, ", ", h, ", ", w, ", ", c,
                              "]: every extent must be at least 1");
    }
    const auto expected = checked_product({n, h, w, c});
    if (!expected) {
      throw_error<ShapeError>("images [N, H, W, C] = [", n, ", ", h, ", ", w, ", ", c, "] have more than 2^63 values");
    }
    if (values.size() != *expected) {
      throw_error<ShapeError>("images [N, H, W, C] = [", n, ", ", h, ", ", w, ", ", c, "] have ", *expected,
                              " values, but ", values.size(), " were given");
    }
  }
};

}  // namespace resnext
