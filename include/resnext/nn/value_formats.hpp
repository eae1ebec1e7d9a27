/// @file
/// How each value of a network is stored.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include <resnext/backend/backend.hpp>
#include <resnext/error.hpp>
#include <resnext/model/layer.hpp>
#include <resnext/tensor/number_format.hpp>

namespace resnext {

/// How the values of a network are stored where that is not the backend's `Scalar`. A layer calculates with the numbers
/// that it reads, and its weights are rounded to their type:
///
/// ```cpp
/// ValueFormats formats(Net::layers);
/// formats.reads("conv1", {Dtype::F32});  // the images as they are
/// formats.reads("fc", {Dtype::F32});     // features that were not rounded
/// Classifier<Net, Reference<bfloat16>> classify(weights, formats);
/// ```
class ValueFormats {
 public:
  /// All as the backend's `Scalar`.
  ValueFormats() = default;
  /// The same, for the values of a table, which outlives this.
  explicit ValueFormats(std::span<const Layer> layers) : layers_(layers), formats_(layers.size() + 1) {}

  /// The value that a layer reads, and so does every other layer that reads it.
  /// @throws OptionError when the network has no such layer
  void reads(std::string_view layer, NumberFormat format) {
    for (const Layer& row : layers_) {
      if (row.name.view() == layer) return set(row.input, format);
    }
    throw_error<OptionError>("the network has no layer \"", layer, "\", whose input was to be of type ",
                             dtype_name(format.type));
  }
  /// A value of the table: 0 for the images, `Layer::output` for what a row writes.
  void set(int value, NumberFormat format) { formats_.at(static_cast<std::size_t>(value)) = format; }
  /// True for the values of that table, and where nothing was set for any.
  bool fits(std::span<const Layer> layers) const { return formats_.empty() || layers.data() == layers_.data(); }
  /// As it was set, or nothing.
  std::optional<NumberFormat> operator[](int value) const {
    return formats_.empty() ? std::nullopt : formats_.at(static_cast<std::size_t>(value));
  }

 private:
  std::span<const Layer> layers_;
  std::vector<std::optional<NumberFormat>> formats_;
};

namespace detail {

/// The name of the row that writes a value, for errors.
inline std::string_view value_name(std::span<const Layer> layers, int value) {
  return value == 0 ? std::string_view("the images") : layers[static_cast<std::size_t>(value - 1)].name.view();
}

/// The format of every value of the table; that of logits is `Master`.
/// @throws OptionError for formats of another network, or a type that the backend does not take
template <class B>
std::vector<NumberFormat> all_formats(std::span<const Layer> layers, const ValueFormats& chosen) {
  if (!chosen.fits(layers)) {
    throw_error<OptionError>("formats: expected those of this network with ", layers.size(),
                             " layers, found those of another; make them of its own table");
  }
  std::vector<NumberFormat> formats(layers.size() + 1, NumberFormat{dtype_of<typename B::Scalar>, 1});
  for (int value = 0; value < static_cast<int>(formats.size()); ++value) {
    const std::optional<NumberFormat> format = chosen[value];
    if (!format) continue;
    const bool scaled = is_quantized(format->type) ? is_finite(format->scale) && format->scale > 0 : format->scale == 1;
    if (!takes<B>(format->type)) {
      throw_error<OptionError>(value_name(layers, value), ": ", B::name(), " has no maps of type ",
                               dtype_name(format->type));
    }
    if (!scaled) {
      throw_error<OptionError>(value_name(layers, value), ": expected ",
                               is_quantized(format->type) ? "a positive, finite scale" : "a scale of 1", " for ",
                               dtype_name(format->type), ", found ", format->scale);
    }
    formats[static_cast<std::size_t>(value)] = *format;
  }
  if (layers.back().op == LayerOp::linear) formats.back() = {dtype_of<typename B::Master>, 1};
  return formats;
}

}  // namespace detail

}  // namespace resnext
