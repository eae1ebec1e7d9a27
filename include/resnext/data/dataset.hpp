/// @file
/// A labelled set of small pictures, in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace resnext {

/// Which part of a data set.
enum class DatasetSplit { train, test };

/// Pictures of one size with their classes. What the readers return is consistent; a set made by hand is checked by
/// `Loader`.
struct Dataset {
  std::string name;                      ///< for messages
  int height = 0;                        ///< H
  int width = 0;                         ///< W
  int channels = 0;                      ///< C
  int classes = 0;                       ///< K
  std::vector<std::string> class_names;  ///< `classes` of them, or none
  std::vector<std::uint8_t> images;      ///< `[N, H, W, C]`
  std::vector<std::int32_t> labels;      ///< `[N]`, each in [0, classes)

  /// N.
  std::size_t size() const { return labels.size(); }
  /// Values in one picture, H * W * C.
  std::size_t image_size() const {
    return static_cast<std::size_t>(height) * static_cast<std::size_t>(width) * static_cast<std::size_t>(channels);
  }
  /// Picture i, `[H, W, C]`.
  std::span<const std::uint8_t> image(std::size_t i) const {
    return std::span(images).subspan(i * image_size(), image_size());
  }
};

}  // namespace resnext
