/// @file
/// Forward and backward data of the grouped convolution: packed weights, and rows of outputs as work for threads.
#pragma once

#include <algorithm>
#include <cstddef>

#include <resnext/backend/cpu/grouped_tasks.hpp>
#include <resnext/backend/cpu/parallel.hpp>

namespace resnext::detail {

/// Packs [channels, d, 3, 3] as [block][chunk of vectors][kh][j][kw][vector of the chunk][lanes], zeros in unused
/// lanes. Transposed: lanes are the input channels of the convolution and j its output channels.
inline void pack_grouped(const float* weights, const Blocking& b, bool transposed, bool flipped, float* packed) {
  parallel_for(b.blocks, [&](int block) {
    float* to = packed + b.offset(block, 0);
    for (int v0 = 0, count = 0; v0 < b.vectors; v0 += count) {
      count = chunk(b.lanes, b.vectors - v0);
      for (int kh = 0; kh < 3; ++kh) {
        for (int j = 0; j < b.d; ++j) {
          for (int kw = 0; kw < 3; ++kw) {
            for (int i = v0 * b.lanes; i < (v0 + count) * b.lanes; ++i) {
              const int channel = b.first_channel(block) + i;
              const int out = transposed ? channel / b.d * b.d + j : channel;
              const int in = transposed ? channel % b.d : j;
              const int tap = flipped ? 8 - (kh * 3 + kw) : kh * 3 + kw;
              *to++ = i < b.block ? weights[(std::ptrdiff_t{out} * b.d + in) * 9 + tap] : 0.0f;
            }
          }
        }
      }
    }
  });
}

/// The forward or backward data pass as work that can be divided: `run(begin, end)` of disjoint ranges that cover
/// [0, units()) may run on different threads.
class GroupedRows {
 public:
  /// A chooser of row kernels: (vectors, width of the output) -> kernel.
  using Choose = RowKernel (*)(int vectors, int width);

  GroupedRows(const GroupedShape& s, const Blocking& blocking, bool transposed, const float* in, const float* packed,
              const float* bias, bool relu, float* out, Choose choose)
      : blocking_(blocking),
        images_(s.n),
        in_h_(transposed ? s.out_h() : s.h),
        in_w_(transposed ? s.out_w() : s.w),
        out_h_(transposed ? s.h : s.out_h()),
        out_w_(transposed ? s.w : s.out_w()),
        stride_(s.stride),
        transposed_(transposed && s.stride == 2),
        // Small weights stay in the cache beside the rows, large ones are read once for all images. Blocks that overlap
        // must not be divided over threads.
        by_row_(s.channels % blocking.block != 0 ||
                (blocking.packed_size() * sizeof(float) <= std::size_t{512} * 1024 && out_w_ >= 14)),
        // Narrow groups compute too little on a line to wait for it, unless the maps are in the cache anyway.
        fetches_(blocking.d <= 8 && std::size_t{4} * static_cast<unsigned>(in_h_ * in_w_) *
                                            static_cast<unsigned>(blocking.channels) * static_cast<unsigned>(s.n) >
                                        std::size_t{4} * 1024 * 1024),
        in_(in),
        packed_(packed),
        bias_(bias),
        out_(out),
        relu_(relu) {
    for (int v = 1; v <= 3; ++v) kernels_[v] = choose(v, out_w_);
  }

  int units() const { return by_row_ ? images_ * out_h_ : blocking_.blocks * images_; }

  void run(int begin, int end) const {
    for (int unit = begin; unit < end; ++unit) {
      if (by_row_) {
        const int image = unit / out_h_, y = unit % out_h_;
        const Ahead ahead = y + 1 < out_h_ ? Ahead{image, end_row(y), end_row(y + 1)} : Ahead{image + 1, 0, end_row(0)};
        for (int b = 0; b < blocking_.blocks; ++b) row(image, y, b, ahead, b);
      } else {
        const int image = unit % images_, b = unit / images_;
        for (int y = 0; y < out_h_; ++y) {
          row(image, y, b, {(unit + 1) % images_, y == 0 ? 0 : end_row(y - 1), end_row(y)}, (unit + 1) / images_);
        }
      }
    }
  }

 private:
  /// Input rows that are brought into the cache beside the arithmetic on others.
  struct Ahead {
    int image, begin, end;
  };

  /// One past the last input row that output row y needs.
  int end_row(int y) const { return std::min(in_h_, transposed_ ? (y + 1) / 2 + 1 : y * stride_ + 2); }

  void row(int image, int y, int block, const Ahead& ahead, int ahead_block) const {
    const int channel = blocking_.first_channel(block);
    RowTask task{};
    int kernel_rows[3];
    for (int kh = 0; kh < 3; ++kh) {
      int row = y * stride_ - 1 + kh;
      if (transposed_) {
        if ((y + 1 - kh) % 2 != 0) continue;
        row = (y + 1 - kh) / 2;
      }
      if (row < 0 || row >= in_h_) continue;
      task.in[task.taps] = in_ + (std::ptrdiff_t{image} * in_h_ + row) * in_w_ * blocking_.channels + channel;
      kernel_rows[task.taps++] = kh;
    }
    task.channels = blocking_.channels;
    task.in_width = in_w_;
    task.out_width = out_w_;
    task.relu = relu_;
    if (fetches_ && ahead.image < images_ && ahead_block < blocking_.blocks) {
      task.ahead = in_ + (std::ptrdiff_t{ahead.image} * in_h_ + ahead.begin) * in_w_ * blocking_.channels +
                   blocking_.first_channel(ahead_block);
      task.ahead_pixels = (ahead.end - ahead.begin) * in_w_;
    }
    for (int v = 0, count = 0; v < blocking_.vectors; v += count) {
      count = chunk(blocking_.lanes, blocking_.vectors - v);
      for (int tap = 0; tap < task.taps; ++tap) {
        task.weights[tap] = packed_ + blocking_.offset(block, v) +
                            std::ptrdiff_t{kernel_rows[tap]} * 3 * blocking_.d * blocking_.lanes * count;
      }
      task.bias = bias_ == nullptr ? nullptr : bias_ + channel + v * blocking_.lanes;
      task.out =
          out_ + (std::ptrdiff_t{image} * out_h_ + y) * out_w_ * blocking_.channels + channel + v * blocking_.lanes;
      task.tail = blocking_.tail(v, count);
      kernels_[count](task);
      task.ahead_pixels = 0;
    }
  }

  Blocking blocking_;
  int images_, in_h_, in_w_, out_h_, out_w_, stride_;
  bool transposed_, by_row_, fetches_;
  const float *in_, *packed_, *bias_;
  float* out_;
  bool relu_;
  RowKernel kernels_[4] = {};
};

}  // namespace resnext::detail
