/// @file
/// How a picture of a small data set becomes an input: the paper's CIFAR recipe (fb.resnet.torch,
/// datasets/cifar10.lua).
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <resnext/data/dataset.hpp>
#include <resnext/error.hpp>
#include <resnext/random.hpp>
#include <resnext/tensor/number.hpp>
#include <span>
#include <string_view>
#include <vector>

namespace resnext {

/// In this order: `(value - mean) / std` a channel, on 0 to 255; a horizontal flip of every other picture; a crop at a
/// random place of the picture framed by `pad` zeros (which are means, since the frame comes after the normalisation).
struct Augmentation {
  int pad = 4;              ///< the frame's width, smaller than the picture
  bool flip = true;         ///< mirror with probability 1/2
  std::vector<float> mean;  ///< one a channel, on 0 to 255
  std::vector<float> std;   ///< one a channel, positive
};

/// The mean and the standard deviation (with 1 / n) of each channel over all pictures, on 0 to 255.
struct ChannelStatistics {
  std::vector<float> mean;  ///< one a channel
  std::vector<float> std;   ///< one a channel
};

/// Exact integer sums, rounded once. Throws ShapeError for an empty set, or one whose pictures have no channels.
inline ChannelStatistics mean_and_std(const Dataset& dataset) {
  if (dataset.images.empty()) throw_error<ShapeError>(dataset.name, ": expected at least one image, found none");
  if (dataset.channels < 1) {
    throw_error<ShapeError>(dataset.name, ": expected images of at least one channel, found ", dataset.channels);
  }
  const auto channels = static_cast<std::size_t>(dataset.channels);
  std::vector<std::array<std::uint64_t, 256>> counts(channels);
  for (std::size_t i = 0; i < dataset.images.size(); ++i) ++counts[i % channels][dataset.images[i]];
  const double n = static_cast<double>(dataset.images.size()) / static_cast<double>(channels);
  ChannelStatistics statistics;
  for (const auto& count : counts) {
    std::uint64_t sum = 0, squares = 0;
    for (std::uint64_t value = 0; value < 256; ++value) {
      sum += value * count[value];
      squares += value * value * count[value];
    }
    const double mean = static_cast<double>(sum) / n;
    statistics.mean.push_back(static_cast<float>(mean));
    statistics.std.push_back(static_cast<float>(std::sqrt(static_cast<double>(squares) / n - mean * mean)));
  }
  return statistics;
}

/// The recipe of CIFAR-10, with the paper's code's constants.
inline Augmentation cifar10_recipe() { return {4, true, {125.3f, 123.0f, 113.9f}, {63.0f, 62.1f, 66.7f}}; }
/// The recipe of CIFAR-100, with the paper's code's constants.
inline Augmentation cifar100_recipe() { return {4, true, {129.3f, 124.1f, 112.4f}, {68.2f, 65.4f, 70.4f}}; }
/// The same for Fashion-MNIST, with the constants of its training pictures.
inline Augmentation fashion_mnist_recipe() { return {4, true, {72.9404f}, {90.0212f}}; }
/// The recipe for any other set, with the set's own constants.
inline Augmentation recipe_of(const Dataset& dataset) {
  const ChannelStatistics statistics = mean_and_std(dataset);
  return {4, true, statistics.mean, statistics.std};
}
/// What is left for evaluation: the normalisation.
inline Augmentation normalisation_only(Augmentation augmentation) {
  augmentation.pad = 0;
  augmentation.flip = false;
  return augmentation;
}

/// Applies an augmentation. What happens to a picture depends on the seed, the epoch and the picture's index alone.
class Augmenter {
 public:
  /// For pictures `[height, width, channels]`. Throws OptionError when mean or std does not have a value a channel, a
  /// std is not positive, or the frame is not smaller than the picture.
  Augmenter(const Augmentation& augmentation, int height, int width, int channels, std::uint64_t seed)
      : height_(height),
        width_(width),
        channels_(static_cast<std::size_t>(channels)),
        pad_(augmentation.pad),
        flip_(augmentation.flip),
        flips_(seed, "flip"),
        crops_(seed, "crop") {
    if (augmentation.mean.size() != channels_ || augmentation.std.size() != channels_)
      throw_error<OptionError>("augmentation: expected a mean and a std for each of ", channels, " channels, found ",
                               augmentation.mean.size(), " and ", augmentation.std.size());
    if (pad_ < 0 || pad_ >= std::min(height, width))
      throw_error<OptionError>("augmentation: expected a pad from 0 to ", std::min(height, width) - 1, ", found ",
                               pad_);
    for (std::size_t c = 0; c < channels_; ++c) {
      const float mean = augmentation.mean[c], deviation = augmentation.std[c];
      if (!is_finite(mean) || !is_finite(deviation) || deviation <= 0)
        throw_error<OptionError>("augmentation: channel ", c, ": expected a finite mean and a positive std, found ",
                                 mean, " and ", deviation);
      for (int value = 0; value < 256; ++value) normalised_.push_back((static_cast<float>(value) - mean) / deviation);
    }
  }

  /// Writes the augmented picture, `[height, width, channels]`, from one of the same shape.
  void operator()(std::span<const std::uint8_t> image, int epoch, std::uint32_t index, std::span<float> target) const {
    const auto stream = static_cast<std::uint64_t>(epoch);
    const bool mirror = flip_ && flips_[stream].uniform(index) < 0.5f;
    const auto shift = [&](std::uint64_t axis) {
      const auto places = static_cast<std::uint32_t>(2 * pad_ + 1);
      return static_cast<int>(crops_[stream].below(2 * std::uint64_t{index} + axis, places)) - pad_;
    };
    const int down = shift(0), right = shift(1);
    const int first = std::max(0, -right), last = std::min(width_, width_ - right);  // columns inside the frame
    const auto row = static_cast<std::size_t>(width_) * channels_;
    float* to = target.data();
    for (int y = 0; y < height_; ++y, to += row) {
      const int from_y = y + down;
      if (from_y < 0 || from_y >= height_) {
        std::fill_n(to, row, 0.0f);
        continue;
      }
      const std::uint8_t* from = image.data() + static_cast<std::size_t>(from_y) * row;
      std::fill_n(to, static_cast<std::size_t>(first) * channels_, 0.0f);
      for (int x = first; x < last; ++x) {
        const int from_x = mirror ? width_ - 1 - (x + right) : x + right;
        const std::uint8_t* pixel = from + static_cast<std::size_t>(from_x) * channels_;
        float* value = to + static_cast<std::size_t>(x) * channels_;
        for (std::size_t c = 0; c < channels_; ++c) value[c] = normalised_[256 * c + pixel[c]];
      }
      std::fill(to + static_cast<std::size_t>(last) * channels_, to + row, 0.0f);
    }
  }

 private:
  int height_, width_;
  std::size_t channels_;
  int pad_;
  bool flip_;
  RandomStream flips_, crops_;
  std::vector<float> normalised_;  // [channels][256]
};

}  // namespace resnext
