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
  constexpr int convolution(Name name, int input, int in, int out, int kernel, int stride, int groups = 1) {
    return append({Op::convolution, name, input, -1, 0, in, out, kernel, stride, kernel / 2, groups});
  }
  /// Batch normalisation.
  constexpr int batch_norm(Name name, int input, int channels) {
    return append({Op::batch_norm, name, input, -1, 0, channels, channels});
  }
  /// max(x, 0).
  constexpr int relu(Name name, int input, int channels) {
    return append({Op::relu, name, input, -1, 0, channels, channels});
  }
  /// The sum of two values of one extent.
  constexpr int add(Name name, int input, int other, int channels) {
    return append({Op::add, name, input, other, 0, channels, channels});
  }
  /// k x k max pool, padded by k / 2.
  constexpr int max_pool(Name name, int input, int channels, int kernel, int stride) {
    return append({Op::max_pool, name, input, -1, 0, channels, channels, kernel, stride, kernel / 2});
  }
  /// Mean over the whole map.
  constexpr int average_pool(Name name, int input, int channels) {
    return append({Op::average_pool, name, input, -1, 0, channels, channels});
  }
  /// Fully connected, with bias.
  constexpr int linear(Name name, int input, int in, int out) {
    return append({Op::linear, name, input, -1, 0, in, out});
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
