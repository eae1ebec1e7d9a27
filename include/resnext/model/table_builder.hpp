/// @file
/// How stems and blocks write the rows of a layer table.
#pragma once

#include <resnext/model/layer.hpp>

namespace resnext {

/// Appends rows to a layer table, or only counts them when there is no table yet. Every method takes the values that
/// the row reads and returns the value that it writes.
class TableBuilder {
 public:
  /// @param rows room for all rows, or nullptr to count.
  constexpr explicit TableBuilder(Layer* rows = nullptr) : rows_(rows) {}

  /// k x k convolution without bias, padded by k / 2.
  constexpr int convolution(LayerName name, int input, int in, int out, int kernel, int stride, int groups = 1) {
    return append({LayerOp::convolution, name, input, -1, 0, in, out, kernel, stride, kernel / 2, groups});
  }
  /// Batch normalisation.
  constexpr int batch_norm(LayerName name, int input, int channels) {
    return append({LayerOp::batch_norm, name, input, -1, 0, channels, channels});
  }
  /// max(x, 0).
  constexpr int relu(LayerName name, int input, int channels) {
    return append({LayerOp::relu, name, input, -1, 0, channels, channels});
  }
  /// The sum of two values of one extent.
  constexpr int add(LayerName name, int input, int other, int channels) {
    return append({LayerOp::add, name, input, other, 0, channels, channels});
  }
  /// k x k max pool, padded by k / 2.
  constexpr int max_pool(LayerName name, int input, int channels, int kernel, int stride) {
    return append({LayerOp::max_pool, name, input, -1, 0, channels, channels, kernel, stride, kernel / 2});
  }
  /// Mean over the whole map.
  constexpr int average_pool(LayerName name, int input, int channels) {
    return append({LayerOp::average_pool, name, input, -1, 0, channels, channels});
  }
  /// Fully connected, with bias.
  constexpr int linear(LayerName name, int input, int in, int out) {
    return append({LayerOp::linear, name, input, -1, 0, in, out});
  }
  /// Rows so far.
  constexpr int count() const { return count_; }

 private:
  constexpr int append(Layer row) {
    row.output = count_ + 1;
    if (rows_ != nullptr) rows_[count_] = row;
    return ++count_;
  }

  Layer* rows_;
  int count_ = 0;
};

}  // namespace resnext
