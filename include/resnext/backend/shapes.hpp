/// @file
/// The shapes and options that operators are built from, the same for every backend.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include <resnext/tensor/number_format.hpp>

namespace resnext {

/// How the maps are stored that an operator works on. What is left out is stored as the backend's `Scalar`; logits are
/// always `Master`. The gradient of a map has the map's type.
struct MapFormats {
  std::optional<NumberFormat> x = {};      ///< read; of a map that stands alone: its own
  std::optional<NumberFormat> other = {};  ///< added, the shortcut
  std::optional<NumberFormat> y = {};      ///< written
  friend constexpr bool operator==(const MapFormats&, const MapFormats&) = default;
};

/// A 2-d convolution of `[n, h, w, in]` to `[n, out_h, out_w, out]`; weights `[out, in / groups, kernel, kernel]`.
struct ConvolutionShape {
  int n = 1;                ///< images
  int h = 1;                ///< rows of the input
  int w = 1;                ///< columns of the input
  int in = 1;               ///< channels of the input
  int out = 1;              ///< channels of the output
  int kernel = 1;           ///< edge of the square window
  int stride = 1;           ///< step of the window
  int padding = 0;          ///< zeros around the map
  int groups = 1;           ///< paths: the paper's cardinality C
  MapFormats formats = {};  ///< of input, residual and output; weights are read in the type of the input

  /// Rows of the output.
  constexpr int out_h() const { return (h + 2 * padding - kernel) / stride + 1; }
  /// Columns of the output.
  constexpr int out_w() const { return (w + 2 * padding - kernel) / stride + 1; }
  /// Numbers that come in.
  constexpr std::int64_t input_size() const { return std::int64_t{n} * h * w * in; }
  /// Numbers that go out.
  constexpr std::int64_t output_size() const { return std::int64_t{n} * out_h() * out_w() * out; }
  /// Weights.
  constexpr std::int64_t weight_size() const { return std::int64_t{out} * (in / groups) * kernel * kernel; }
  friend constexpr bool operator==(const ConvolutionShape&, const ConvolutionShape&) = default;
};

/// What an inference convolution does after its sum: + bias, then + residual, then ReLU.
struct Epilogue {
  bool residual = false;  ///< the output holds the shortcut on entry, in the format `other`, and is added to
  bool relu = false;      ///< comes last
};

/// Max pooling of `[n, h, w, c]`; the border counts as minus infinity.
struct PoolShape {
  int n = 1;                ///< images
  int h = 1;                ///< rows of the input
  int w = 1;                ///< columns of the input
  int c = 1;                ///< channels
  int kernel = 3;           ///< edge of the square window
  int stride = 2;           ///< step of the window
  int padding = 1;          ///< minus infinities around the map
  MapFormats formats = {};  ///< of input and output

  /// Rows of the output.
  constexpr int out_h() const { return (h + 2 * padding - kernel) / stride + 1; }
  /// Columns of the output.
  constexpr int out_w() const { return (w + 2 * padding - kernel) / stride + 1; }
  /// Numbers that come in.
  constexpr std::int64_t input_size() const { return std::int64_t{n} * h * w * c; }
  /// Numbers that go out.
  constexpr std::int64_t output_size() const { return std::int64_t{n} * out_h() * out_w() * c; }
};

/// A map `[n, h, w, c]` on which per-channel or per-element operators work.
struct MapShape {
  int n = 1;                ///< images
  int h = 1;                ///< rows
  int w = 1;                ///< columns
  int c = 1;                ///< channels
  MapFormats formats = {};  ///< of what is read, added and written

  /// Numbers in it.
  constexpr std::int64_t size() const { return std::int64_t{n} * h * w * c; }
};

/// A tensor that is learned, or one of batch norm's statistics, as files have it: a convolution's weights
/// `[out, in / groups, kernel, kernel]`, a fully connected layer's `[out, in]`, and `[c]`.
struct TensorShape {
  int rank = 1;                               ///< dimensions
  std::array<int, 4> extents = {1, 1, 1, 1};  ///< the first `rank` count, the others are 1

  /// Numbers in it.
  constexpr std::int64_t size() const { return std::int64_t{extents[0]} * extents[1] * extents[2] * extents[3]; }
};

/// Train-mode batch normalisation, and what follows it in the same pass. The batch is cut into runs of images (ghost
/// batches, Hoffer et al. 2017), each with statistics of its own; the batch's are their average, by images.
struct NormOptions {
  bool add = false;       ///< another map is added after scale and shift
  bool relu = false;      ///< ReLU comes last
  int ghost_batch = 0;    ///< images of a run, the last of which may be shorter; 0: one run, the ordinary batch norm
  double epsilon = 1e-5;  ///< added to the variance

  /// Runs of a batch of n images.
  constexpr int ghost_batches(int n) const { return ghost_batch == 0 ? 1 : (n + ghost_batch - 1) / ghost_batch; }
  /// Images of one of them.
  constexpr int images(int n, int group) const {
    if (ghost_batch == 0) return n;
    return group + 1 < ghost_batches(n) ? ghost_batch : n - group * ghost_batch;
  }
};

/// `[n, in]` times the transpose of `[out, in]`, plus `[out]`.
struct LinearShape {
  int n = 1;                ///< images
  int in = 1;               ///< features that come in
  int out = 1;              ///< features that go out
  MapFormats formats = {};  ///< of the input; weights are read in its type, and the output is `Master`
};

/// Mean cross-entropy of `[n, classes]` logits, against targets smoothed by `smoothing / classes` (Szegedy et al.
/// 2016).
struct LossShape {
  int n = 1;             ///< images
  int classes = 1;       ///< K
  double smoothing = 0;  ///< from 0 to 1; 0 for one-hot targets
};

}  // namespace resnext
