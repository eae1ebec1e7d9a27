/// @file
/// Batch norms with fixed statistics.
#pragma once

#include <cstddef>
#include <vector>

#include <resnext/backend/shapes.hpp>
#include <resnext/elementary.hpp>
#include <resnext/nn/state_dict.hpp>

namespace resnext::detail {

/// Of the batch norm at a row: y = scale x + shift, by its running statistics.
template <class Shift>
void fold_norm(const ParameterSource& parameters, int row, std::vector<double>& scale, std::vector<Shift>& shift) {
  const auto weight = parameters.at(row, TensorRole::weight), bias = parameters.at(row, TensorRole::bias);
  const auto mean = parameters.at(row, TensorRole::running_mean),
             variance = parameters.at(row, TensorRole::running_var);
  for (std::size_t c = 0; c < scale.size(); ++c) {
    scale[c] = weight[c] / detail::sqrt(double{variance[c]} + NormOptions{}.epsilon);
    shift[c] = static_cast<Shift>(bias[c] - mean[c] * scale[c]);
  }
}

}  // namespace resnext::detail
