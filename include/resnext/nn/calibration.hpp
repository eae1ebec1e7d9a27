/// @file
/// What a network's values are on pictures, and the scales that integers of 8 bits need for it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include <resnext/error.hpp>
#include <resnext/model/layer.hpp>
#include <resnext/nn/classifier.hpp>
#include <resnext/nn/value_formats.hpp>
#include <resnext/tensor/dtype.hpp>
#include <resnext/tensor/images.hpp>
#include <resnext/tensor/number_format.hpp>

namespace resnext {

/// The largest magnitude of each of a network's values on the images that were shown to it. A hundred pictures of the
/// kind that is to be classified are enough:
///
/// ```cpp
/// Classifier<Net> classify(weights);
/// Calibration calibration(Net::layers);
/// for (const auto& batch : batches) calibration.observe(classify, batch);
/// Classifier<Net, Reference<int8>> quantized(weights, calibration.quantization());
/// ```
class Calibration {
 public:
  /// Of a table, which outlives this. Nothing was seen yet.
  explicit Calibration(std::span<const Layer> layers) : layers_(layers), largest_(layers.size() + 1, unseen) {}

  /// Classifies images, and takes the values on the way into account.
  /// @throws ShapeError when the images do not fit the network, Error when a value is infinite or not a number,
  /// OptionError for a classifier of another network
  template <class Net, InferenceBackend B>
  void observe(Classifier<Net, B>& classify, const Images& images) {
    if (layers_.data() != Net::layers.data()) {
      throw_error<OptionError>("calibration: expected a classifier of the network that it was made for, with ",
                               layers_.size(), " layers, found one of another with ", Net::layers.size());
    }
    see(0, images.values);
    classify.observe(
        images, [this](std::string_view name, Extent, std::span<const double> values) { see(value_of(name), values); });
  }
  /// What was seen of a value, 0 for the images, `Layer::output` for what a row writes: negative where nothing was,
  /// for instance inside of what the classifier runs in one go.
  float largest(int value) const { return largest_.at(static_cast<std::size_t>(value)); }

  /// Formats of 8 bits for all that was seen: unsigned where ReLU lets nothing negative through, with the largest
  /// magnitude at the end of the type. What was not seen stays `Dtype::F32`.
  /// @param excluded layers that calculate in `otherwise`, for what they read is stored so
  /// @throws Error when nothing was seen, OptionError when the network has no such layer
  ValueFormats quantization(std::span<const std::string_view> excluded = {}, Dtype otherwise = Dtype::F32) const {
    if (largest_[0] < 0) throw_error<Error>("calibration: expected images to have been observed, found none");
    ValueFormats formats(layers_);
    for (int value = 0; value < static_cast<int>(largest_.size()); ++value) {
      const bool positive = is_rectified(value);
      const float most = largest(value) == 0 ? 1 : largest(value);  // of what was always 0 the scale does not matter
      const NumberFormat integers{positive ? Dtype::U8 : Dtype::I8, most / (positive ? 255.0f : 127.0f)};
      formats.set(value, most < 0 ? NumberFormat{Dtype::F32, 1} : integers);
    }
    for (const std::string_view layer : excluded) formats.reads(layer, {otherwise, 1});
    return formats;
  }

 private:
  static constexpr float unseen = -1;

  template <class Number>
  void see(int value, std::span<Number> values) {
    float& largest = largest_[static_cast<std::size_t>(value)];
    largest = std::max(largest, 0.0f);
    for (const auto x : values) {
      if (!is_finite(x)) {
        throw_error<Error>("calibration: ", detail::value_name(layers_, value), ": expected finite numbers, found ",
                           static_cast<double>(x));
      }
      largest = std::max(largest, static_cast<float>(std::abs(x)));
    }
  }
  int value_of(std::string_view name) const {
    const auto row =
        std::find_if(layers_.begin(), layers_.end(), [&](const Layer& l) { return l.name.view() == name; });
    return row->output;
  }
  bool is_rectified(int value) const {
    if (value == 0) return false;
    const Layer& row = layers_[static_cast<std::size_t>(value - 1)];
    if (row.op == LayerOp::max_pool || row.op == LayerOp::average_pool) return is_rectified(row.input);
    return row.op == LayerOp::relu;
  }

  std::span<const Layer> layers_;
  std::vector<float> largest_;  // of each value
};

}  // namespace resnext
