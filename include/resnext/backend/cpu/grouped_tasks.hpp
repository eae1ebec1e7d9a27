/// @file
/// What the kernels of the grouped convolution are asked to do, and how channels are cut into their vectors.
#pragma once

#include <algorithm>
#include <cstddef>

#include <resnext/backend/cpu/isa.hpp>

namespace resnext {

/// Extents of a grouped 3x3 convolution with padding 1: x is [n, h, w, channels], y is [n, out_h(), out_w(), channels].
struct GroupedShape {
  int n;         ///< images
  int h;         ///< rows of x
  int w;         ///< columns of x
  int channels;  ///< C * d
  int stride;    ///< 1 or 2

  /// Rows of y.
  int out_h() const { return (h - 1) / stride + 1; }
  /// Columns of y.
  int out_w() const { return (w - 1) / stride + 1; }
};

namespace detail {

/// How the columns of a row of inputs meet the columns of a row of outputs.
enum class Pass {
  stride1,     ///< forward, and backward data with flipped weights
  stride2,     ///< forward
  transposed2  ///< backward data of stride 2
};

/// A row of outputs of one block of channels: in and out point at the block's first channel of the row's first pixel.
struct RowTask {
  int taps;                 ///< kernel rows that meet this row of outputs, 1 to 3
  const float* in[3];       ///< the row of inputs of each tap
  const float* weights[3];  ///< the packed weights of each tap
  const float* bias;        ///< of the block, or null
  float* out;
  int channels;  ///< floats between pixels
  int in_width, out_width;
  int tail;  ///< lanes in use in the last vector
  bool relu;
  const float* ahead;  ///< pixels of the block that are needed next,
  int ahead_pixels;    ///< and how many
};
using RowKernel = void (*)(const RowTask&);

/// Some rows of x and dy of one block of channels in some images, and the sums of one kernel row over them.
struct StripTask {
  const float* x;   ///< first row of the first image, first channel summed over
  const float* dy;  ///< first row of the first image, first channel of the vector
  std::ptrdiff_t pixel, x_row, dy_row, x_image, dy_image;  ///< floats between neighbours
  int images, rows, in_width, out_width;
  int tail;                    ///< lanes in use
  bool assign;                 ///< start from zero
  float* sums;                 ///< [channels summed][3][lanes]
  const float* ahead;          ///< a pixel that is needed next; one more (stride 2: two more) with every gradient
  std::ptrdiff_t ahead_pixel;  ///< floats to the one after it
};
using StripKernel = void (*)(const StripTask&);
/// Copies some channels of `pixels` pixels that are `pixel` floats apart into consecutive memory.
using GatherKernel = void (*)(const float* from, std::ptrdiff_t pixel, int pixels, float* to);

/// The kernels of a backward weights pass.
struct SumsKernels {
  StripKernel strip, last_strip;  ///< of `strip_channels`, and of those that are left
  GatherKernel gather;
};

/// Channels of a block: as many whole groups as fit one vector, or one group over several vectors.
constexpr int block_channels(int d, int lanes) { return d <= lanes ? lanes / d * d : d; }

/// Vectors of outputs that one row kernel computes when `left` of a block are left: what the registers allow.
constexpr int chunk(int lanes, int left) {
  return lanes == 16 ? (left <= 3 ? left : 2) : lanes == 8 ? std::min(left, 2) : 1;
}

/// The chunk that ends a block of `vectors`.
constexpr int final_chunk(int lanes, int vectors) {
  int left = vectors;
  while (left > chunk(lanes, left)) left -= chunk(lanes, left);
  return left;
}

/// Input channels of a group that one strip kernel sums over.
constexpr int strip_channels(int d, int lanes) { return std::min(d, lanes == 16 ? 8 : 4); }

/// How the channels of a convolution are cut into blocks and vectors of one instruction set.
struct Blocking {
  int channels, d, lanes;
  int block;    ///< channels of a block
  int blocks;   ///< the last one is moved back over the one before it if the groups do not divide evenly
  int vectors;  ///< of a block

  Blocking(int C_d, int width, Isa isa)
      : channels(C_d),
        d(width),
        lanes(isa == Isa::avx512 ? 16
              : isa == Isa::avx2 ? 8
                                 : 4),
        block(std::min(block_channels(d, lanes), channels)),
        blocks((channels + block - 1) / block),
        vectors((block + lanes - 1) / lanes) {}

  int first_channel(int b) const { return std::min(b * block, channels - block); }
  int tail(int vector, int count) const { return std::min(lanes, block - (vector + count - 1) * lanes); }
  std::size_t vector_floats() const { return std::size_t{9} * static_cast<unsigned>(d * lanes); }
  std::size_t offset(int b, int vector) const { return static_cast<unsigned>(b * vectors + vector) * vector_floats(); }
  std::size_t packed_size() const { return offset(blocks, 0); }
};

/// The instruction set whose vectors these channels fill: fewer channels than lanes go to a narrower one.
inline Isa fitting(Isa isa, int channels, int d) {
  while (isa != Isa::portable && Blocking(channels, d, isa).block < block_channels(d, isa == Isa::avx512 ? 16 : 8)) {
    isa = isa == Isa::avx512 ? Isa::avx2 : Isa::portable;
  }
  return isa;
}

}  // namespace detail
}  // namespace resnext
