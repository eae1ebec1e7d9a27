/// @file
/// A picture in memory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <resnext/error.hpp>
#include <resnext/tensor/number.hpp>

namespace resnext {

/// A picture of 8 bits a channel, `[height, width, channels]`, row-major; 3 channels are red, green, blue.
struct Image {
  int height = 0;                    ///< rows
  int width = 0;                     ///< columns
  int channels = 3;                  ///< 1 (grey) or 3
  std::vector<std::uint8_t> pixels;  ///< height * width * channels
};

/// The largest picture that is decoded unless the caller says otherwise, in pixels: 400 MB of RGB.
inline constexpr std::int64_t max_image_pixels = std::int64_t{1} << 27;

namespace detail {

/// Throws ShapeError, with `name` before it, unless the extents are those of the pixels.
inline void check_image(const Image& image, const std::string& name) {
  const auto size = checked_product({image.height, image.width, image.channels});
  if (image.height >= 1 && image.width >= 1 && (image.channels == 1 || image.channels == 3) &&
      size == image.pixels.size())
    return;
  throw_error<ShapeError>(name, ": expected the pixels of an image [height, width, 1 or 3], found [", image.height,
                          ", ", image.width, ", ", image.channels, "] with ", image.pixels.size(), " values");
}

}  // namespace detail

}  // namespace resnext
