/// @file
/// Weights as integers of 8 bits.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <resnext/backend/host/saturated.hpp>
#include <resnext/tensor/number_format.hpp>

namespace resnext::detail {

/// The weights `[out, ...]` of a layer as integers from -127 to 127, with a scale for each of its outputs: the largest
/// weight of an output, divided by 127. A weight is divided by the scale and rounded to the nearest even.
struct QuantizedWeights {
  std::vector<std::int8_t> numbers;
  std::vector<float> scales;  ///< of each output; 1 where all its weights are 0

  QuantizedWeights(std::span<const float> weights, std::size_t outputs) : numbers(weights.size()), scales(outputs) {
    const std::size_t each = weights.size() / outputs;
    for (std::size_t output = 0; output < outputs; ++output) {
      const auto row = weights.subspan(output * each, each);
      float largest = 0;
      for (const float weight : row) largest = std::max(largest, std::abs(weight));
      const float scale = scales[output] = largest > 0 ? largest / 127 : 1;
      std::transform(row.begin(), row.end(), numbers.begin() + static_cast<std::ptrdiff_t>(output * each),
                     [=](float weight) { return std::max<std::int8_t>(-127, saturated<std::int8_t>(weight / scale)); });
    }
  }
};

}  // namespace resnext::detail
