/// @file
/// How a picture of any size becomes an input of a trained network.
#pragma once

#include <cstddef>
#include <vector>

#include <resnext/data/augment.hpp>
#include <resnext/data/resize.hpp>
#include <resnext/error.hpp>
#include <resnext/tensor/image.hpp>
#include <resnext/tensor/number.hpp>

namespace resnext {

/// What was done to the pictures that a network was evaluated on, in torchvision's words: the shorter side is resized,
/// the middle is cropped, and a value v of 0 to 255 becomes `(v / 255 - mean) / std`.
struct Preprocessing {
  int resize = 256;         ///< what the shorter side becomes, in pixels
  int crop = 224;           ///< the edge of the middle that is taken, at most `resize`
  std::vector<float> mean;  ///< one a channel, on 0 to 1
  std::vector<float> std;   ///< one a channel, on 0 to 1, positive
};

/// For torchvision's first ImageNet weights (`IMAGENET1K_V1`) and most of those that others trained.
inline Preprocessing imagenet_v1() { return {256, 224, {0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f}}; }
/// For torchvision's second ImageNet weights (`IMAGENET1K_V2`).
inline Preprocessing imagenet_v2() { return {232, 224, {0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f}}; }

/// For a network that was trained on pictures of `size` x `size` with an augmentation such as `cifar10_recipe()`.
inline Preprocessing preprocessing_of(const Augmentation& augmentation, int size) {
  Preprocessing preprocessing{size, size, augmentation.mean, augmentation.std};
  for (auto* values : {&preprocessing.mean, &preprocessing.std}) {
    for (float& value : *values) value /= 255;
  }
  return preprocessing;
}

/// The normalisation alone, for a `Loader` of pictures that are cropped already.
inline Augmentation normalisation_only(const Preprocessing& preprocessing) {
  Augmentation augmentation{0, false, preprocessing.mean, preprocessing.std};
  for (auto* values : {&augmentation.mean, &augmentation.std}) {
    for (float& value : *values) value *= 255;
  }
  return augmentation;
}

/// @throws OptionError when it is none for pictures of so many channels
inline void check_preprocessing(const Preprocessing& preprocessing, int channels) {
  if (preprocessing.crop < 1 || preprocessing.resize < preprocessing.crop)
    throw_error<OptionError>("preprocessing: expected a crop from 1 to the resized side of ", preprocessing.resize,
                             ", found ", preprocessing.crop);
  const auto expected = static_cast<std::size_t>(channels);
  if (preprocessing.mean.size() != expected || preprocessing.std.size() != expected)
    throw_error<OptionError>("preprocessing: expected a mean and a std for each of ", channels, " channels, found ",
                             preprocessing.mean.size(), " and ", preprocessing.std.size());
  for (std::size_t c = 0; c < expected; ++c) {
    const float mean = preprocessing.mean[c], deviation = preprocessing.std[c];
    if (!is_finite(mean) || !is_finite(deviation) || !(deviation > 0))
      throw_error<OptionError>("preprocessing: channel ", c, ": expected a finite mean and a positive std, found ",
                               mean, " and ", deviation);
  }
}

/// What the network sees of a picture, `[crop, crop, C]` for C means; one channel is the picture's luma.
/// @throws ShapeError for a picture of another number of channels
inline Image preprocessed_crop(const Image& picture, const Preprocessing& preprocessing) {
  const Image channels = preprocessing.mean.size() == 1 ? to_grey(picture) : picture;
  if (static_cast<std::size_t>(channels.channels) != preprocessing.mean.size())
    throw_error<ShapeError>("preprocessing: expected a picture of ", preprocessing.mean.size(), " channels, found ",
                            picture.channels);
  return resized_center_crop(channels, preprocessing.resize, preprocessing.crop, preprocessing.crop);
}

/// The same as the network's input, `[crop, crop, C]`.
/// @throws OptionError for a preprocessing that is impossible for its number of means
inline std::vector<float> preprocessed(const Image& picture, const Preprocessing& preprocessing) {
  check_preprocessing(preprocessing, static_cast<int>(preprocessing.mean.size()));
  const Image crop = preprocessed_crop(picture, preprocessing);
  std::vector<float> values(crop.pixels.size());
  const std::size_t channels = preprocessing.mean.size();
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::size_t c = i % channels;
    values[i] = (static_cast<float>(crop.pixels[i]) / 255 - preprocessing.mean[c]) / preprocessing.std[c];
  }
  return values;
}

}  // namespace resnext
