/// @file
/// Pictures of any size made to fit a network, bit for bit as Pillow does it and torchvision after it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <resnext/error.hpp>
#include <resnext/tensor/image.hpp>
#include <resnext/tensor/number.hpp>

namespace resnext {

namespace detail {

/// For `count` places from `begin` on of a resized row of `out`, the weights of the places they are made from, in fixed
/// point.
struct ResizeTable {
  static constexpr int bits = 32 - 8 - 2;  // Pillow's: room for 8 bits a value, and a sum of weights a little above 1

  struct Reach {
    int first, count;
  };
  std::vector<Reach> reaches;
  std::vector<std::int32_t> weights;  // [count][support]
  int support = 0;

  ResizeTable() = default;
  /// A triangle as wide as a step in the source, and at least 1 to each side: smaller pictures are averaged and not
  /// sampled.
  ResizeTable(int in, std::int64_t out, std::int64_t begin, int count) {
    const double scale = static_cast<double>(in) / static_cast<double>(out), radius = std::max(scale, 1.0);
    support = static_cast<int>(std::ceil(radius)) * 2 + 1;
    weights.resize(static_cast<std::size_t>(count) * static_cast<std::size_t>(support));
    std::vector<double> exact;
    for (int x = 0; x < count; ++x) {
      const double center = (static_cast<double>(begin + x) + 0.5) * scale;
      const int first = std::max(0, static_cast<int>(center - radius + 0.5));
      const int last = static_cast<int>(std::min(static_cast<double>(in), center + radius + 0.5));
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

/// A part of a picture, from row `top` and column `left` on.
struct Region {
  std::int64_t top, left;
  int height, width;
};

inline Image cropped(const Image& image, const Region& region) {
  const auto channels = static_cast<std::size_t>(image.channels);
  const std::size_t row = static_cast<std::size_t>(region.width) * channels;
  Image crop{region.height, region.width, image.channels, {}};
  crop.pixels.reserve(static_cast<std::size_t>(region.height) * row);
  for (std::int64_t y = region.top; y < region.top + region.height; ++y) {
    const auto at =
        static_cast<std::size_t>(y) * static_cast<std::size_t>(image.width) + static_cast<std::size_t>(region.left);
    const auto* from = image.pixels.data() + at * channels;
    crop.pixels.insert(crop.pixels.end(), from, from + row);
  }
  return crop;
}

/// A region of what `image` is when it is resized. Nothing else of that is made: a picture of one column and thousands
/// of rows would otherwise become one of billions of pixels.
inline Image resized_region(const Image& image, std::int64_t height, std::int64_t width, const Region& region) {
  const auto channels = static_cast<std::size_t>(image.channels);
  const std::size_t row = static_cast<std::size_t>(region.width) * channels;
  const bool vertical = height != image.height;
  const ResizeTable down = vertical ? ResizeTable(image.height, height, region.top, region.height) : ResizeTable();
  // The rows of the source that the region is made from.
  const int first = vertical ? down.reaches.front().first : static_cast<int>(region.top);
  const int last = vertical ? down.reaches.back().first + down.reaches.back().count : first + region.height;

  Image wide;
  if (width == image.width) {
    wide = cropped(image, {first, region.left, last - first, region.width});
  } else {
    const ResizeTable across(image.width, width, region.left, region.width);
    wide = {last - first, region.width, image.channels, {}};
    wide.pixels.resize(static_cast<std::size_t>(wide.height) * row);
    std::uint8_t* to = wide.pixels.data();
    for (int y = first; y < last; ++y) {
      const std::uint8_t* line =
          image.pixels.data() + static_cast<std::size_t>(y) * static_cast<std::size_t>(image.width) * channels;
      for (std::size_t x = 0; x < static_cast<std::size_t>(region.width); ++x) {
        const std::uint8_t* from = line + static_cast<std::size_t>(across.reaches[x].first) * channels;
        for (std::size_t c = 0; c < channels; ++c) *to++ = across.apply(x, from + c, channels);
      }
    }
  }
  if (!vertical) return wide;
  Image result{region.height, region.width, image.channels, {}};
  result.pixels.resize(static_cast<std::size_t>(region.height) * row);
  std::uint8_t* to = result.pixels.data();
  for (std::size_t y = 0; y < static_cast<std::size_t>(region.height); ++y) {
    const std::uint8_t* from = wide.pixels.data() + static_cast<std::size_t>(down.reaches[y].first - first) * row;
    for (std::size_t i = 0; i < row; ++i) *to++ = down.apply(y, from + i, row);
  }
  return result;
}

/// Throws ShapeError for a picture of another number of pixels than its extents say, and for one of none.
inline void check_resize(const Image& image, std::int64_t height, std::int64_t width) {
  if (image.height < 1 || image.width < 1 || height < 1 || width < 1) {
    throw_error<ShapeError>("resize: expected extents of at least 1, found ", image.height, " x ", image.width, " to ",
                            height, " x ", width);
  }
  check_image(image, "resize");
}

struct Extents {
  std::int64_t height, width;
};

/// The shorter side becomes `size`, the longer one keeps the proportion, rounded down as torchvision does.
inline Extents shorter_side(const Image& image, int size) {
  const auto longer = [&](int shorter, int other) { return std::int64_t{size} * other / std::max(shorter, 1); };
  if (image.width <= image.height) return {longer(image.width, image.height), size};
  return {size, longer(image.height, image.width)};
}

/// The middle of a picture of these extents. An odd rest is halved to the even neighbour, as Python's round() and so
/// torchvision has it. Throws ShapeError when the picture is smaller.
inline Region center(const Extents& whole, int height, int width) {
  if (height < 1 || width < 1 || whole.height < height || whole.width < width) {
    throw_error<ShapeError>("center crop: expected an image of at least ", height, " x ", width, ", found ",
                            whole.height, " x ", whole.width);
  }
  const auto half = [](std::int64_t rest) {
    return static_cast<std::int64_t>(std::nearbyint(static_cast<double>(rest) / 2));
  };
  return {half(whole.height - height), half(whole.width - width), height, width};
}

}  // namespace detail

/// Bilinear with antialiasing, the rows first, rounded to 8 bits in between.
/// @throws ShapeError when an extent is below 1
inline Image resized(const Image& image, int height, int width) {
  detail::check_resize(image, height, width);
  return detail::resized_region(image, height, width, {0, 0, height, width});
}

/// The shorter side becomes `size`, the longer one keeps the proportion, rounded down as torchvision does.
/// @throws ShapeError when an extent is below 1, or there would be more than `max_image_pixels`
inline Image resized_shorter_side(const Image& image, int size) {
  const auto [height, width] = detail::shorter_side(image, size);
  detail::check_resize(image, height, width);
  const auto pixels = checked_product({height, width});
  if (!pixels || *pixels > static_cast<std::uint64_t>(max_image_pixels)) {
    throw_error<ShapeError>("resize: expected at most ", max_image_pixels, " pixels, found ", image.height, " x ",
                            image.width, " to ", height, " x ", width);
  }
  return resized(image, static_cast<int>(height), static_cast<int>(width));
}

/// The middle of a picture. An odd rest is halved to the even neighbour, as Python's round() and so torchvision has it.
/// @throws ShapeError when the picture is smaller
inline Image center_crop(const Image& image, int height, int width) {
  const detail::Region region = detail::center({image.height, image.width}, height, width);
  detail::check_image(image, "center crop");
  return detail::cropped(image, region);
}

/// `center_crop(resized_shorter_side(image, size), height, width)`, of which only the crop is made: any proportion will
/// do.
/// @throws ShapeError when an extent is below 1, or the resized picture is smaller than the crop
inline Image resized_center_crop(const Image& image, int size, int height, int width) {
  const detail::Extents whole = detail::shorter_side(image, size);
  detail::check_resize(image, whole.height, whole.width);
  return detail::resized_region(image, whole.height, whole.width, detail::center(whole, height, width));
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
