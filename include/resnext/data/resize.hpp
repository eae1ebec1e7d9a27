/// @file
/// Pictures of any size made to fit a network, bit for bit as Pillow does it and torchvision after it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <resnext/error.hpp>
#include <resnext/io/image.hpp>

namespace resnext {

namespace detail {

/// For each place of a resized row, the weights of the places it is made from, in fixed point.
struct ResizeTable {
  static constexpr int bits = 32 - 8 - 2;  // Pillow's: room for 8 bits a value, and a sum of weights a little above 1

  struct Reach {
    int first, count;
  };
  std::vector<Reach> reaches;
  std::vector<std::int32_t> weights;  // [out][support]
  int support = 0;

  /// A triangle as wide as a step in the source, and at least 1 to each side: smaller pictures are averaged and not
  /// sampled.
  ResizeTable(int in, int out) {
    const double scale = static_cast<double>(in) / out, radius = std::max(scale, 1.0);
    support = static_cast<int>(std::ceil(radius)) * 2 + 1;
    weights.resize(static_cast<std::size_t>(out) * static_cast<std::size_t>(support));
    std::vector<double> exact;
    for (int x = 0; x < out; ++x) {
      const double center = (x + 0.5) * scale;
      const int first = std::max(0, static_cast<int>(center - radius + 0.5));
      const int last = std::min(in, static_cast<int>(center + radius + 0.5));
      exact.clear();
      double sum = 0;
      for (int i = first; i < last; ++i) {
        exact.push_back(std::max(0.0, 1 - std::abs((i - center + 0.5) * (1 / radius))));
        sum += exact.back();
      }
      std::int32_t* row = weights.data() + static_cast<std::size_t>(x) * static_cast<std::size_t>(support);
      for (const double weight : exact) *row++ = static_cast<std::int32_t>(0.5 + weight * (1 / sum) * (1 << bits));
      reaches.push_back({first, last - first});
    }
  }

  /// One value from `count` others that are `stride` apart.
  std::uint8_t apply(std::size_t x, const std::uint8_t* values, std::size_t stride) const {
    const std::int32_t* row = weights.data() + x * static_cast<std::size_t>(support);
    std::int32_t sum = 1 << (bits - 1);
    for (int i = 0; i < reaches[x].count; ++i) sum += values[static_cast<std::size_t>(i) * stride] * row[i];
    return static_cast<std::uint8_t>(std::clamp(sum >> bits, 0, 255));
  }
};

}  // namespace detail

/// Bilinear with antialiasing, the rows first, rounded to 8 bits in between.
/// @throws ShapeError when an extent is below 1
inline Image resized(const Image& image, int height, int width) {
  if (image.height < 1 || image.width < 1 || height < 1 || width < 1) {
    fail<ShapeError>("resize: expected extents of at least 1, found ", image.height, " x ", image.width, " to ", height,
                     " x ", width);
  }
  const auto channels = static_cast<std::size_t>(image.channels);
  const auto shaped = [&](int h, int w) {
    Image shaped_image{h, w, image.channels, {}};
    shaped_image.pixels.resize(static_cast<std::size_t>(h) * static_cast<std::size_t>(w) * channels);
    return shaped_image;
  };
  Image wide = image;
  if (width != image.width) {
    const detail::ResizeTable table(image.width, width);
    wide = shaped(image.height, width);
    std::uint8_t* to = wide.pixels.data();
    for (std::size_t y = 0; y < static_cast<std::size_t>(image.height); ++y) {
      const std::uint8_t* row = image.pixels.data() + y * static_cast<std::size_t>(image.width) * channels;
      for (std::size_t x = 0; x < static_cast<std::size_t>(width); ++x) {
        const std::uint8_t* from = row + static_cast<std::size_t>(table.reaches[x].first) * channels;
        for (std::size_t c = 0; c < channels; ++c) *to++ = table.apply(x, from + c, channels);
      }
    }
  }
  if (height == image.height) return wide;
  const detail::ResizeTable table(image.height, height);
  Image result = shaped(height, width);
  const std::size_t row = static_cast<std::size_t>(width) * channels;
  std::uint8_t* to = result.pixels.data();
  for (std::size_t y = 0; y < static_cast<std::size_t>(height); ++y) {
    const std::uint8_t* from = wide.pixels.data() + static_cast<std::size_t>(table.reaches[y].first) * row;
    for (std::size_t i = 0; i < row; ++i) *to++ = table.apply(y, from + i, row);
  }
  return result;
}

/// The shorter side becomes `size`, the longer one keeps the proportion, rounded down as torchvision does.
inline Image resized_shorter_side(const Image& image, int size) {
  const auto longer = [&](int shorter_side, int longer_side) {
    return static_cast<int>(std::int64_t{size} * longer_side / std::max(shorter_side, 1));
  };
  return image.width <= image.height ? resized(image, longer(image.width, image.height), size)
                                     : resized(image, size, longer(image.height, image.width));
}

/// The middle of a picture. An odd rest is halved to the even neighbour, as Python's round() and so torchvision has it.
/// @throws ShapeError when the picture is smaller
inline Image center_crop(const Image& image, int height, int width) {
  if (height < 1 || width < 1 || image.height < height || image.width < width) {
    fail<ShapeError>("center crop: expected an image of at least ", height, " x ", width, ", found ", image.height,
                     " x ", image.width);
  }
  const auto half = [](int rest) { return static_cast<std::size_t>(std::nearbyint(rest / 2.0)); };
  const std::size_t top = half(image.height - height), left = half(image.width - width);
  const auto channels = static_cast<std::size_t>(image.channels), row = static_cast<std::size_t>(width) * channels;
  Image crop{height, width, image.channels, {}};
  crop.pixels.reserve(static_cast<std::size_t>(height) * row);
  for (std::size_t y = 0; y < static_cast<std::size_t>(height); ++y) {
    const auto* from = image.pixels.data() + ((top + y) * static_cast<std::size_t>(image.width) + left) * channels;
    crop.pixels.insert(crop.pixels.end(), from, from + row);
  }
  return crop;
}

/// Luma by ITU-R BT.601 in Pillow's fixed point; a grey picture stays as it is.
inline Image to_grey(const Image& image) {
  if (image.channels == 1) return image;
  Image grey{image.height, image.width, 1, {}};
  for (std::size_t i = 0; i + 2 < image.pixels.size(); i += 3) {
    const auto* rgb = image.pixels.data() + i;
    grey.pixels.push_back(static_cast<std::uint8_t>((rgb[0] * 19595 + rgb[1] * 38470 + rgb[2] * 7471 + 0x8000) >> 16));
  }
  return grey;
}

}  // namespace resnext
