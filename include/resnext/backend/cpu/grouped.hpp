/// @file
/// The grouped 3x3 convolution of the paper's Fig. 3(c), the one operator that makes a ResNeXt: own kernels, because
/// libraries that learn the group width at run time lose a factor of two to six at narrow groups.
#pragma once

#include <resnext/backend/check_shapes.hpp>
#include <resnext/backend/cpu/isa.hpp>
#include <resnext/backend/cpu/parallel.hpp>
#include <resnext/error.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

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

}  // namespace detail
}  // namespace resnext

#define RESNEXT_KERNELS <resnext/backend/cpu/grouped-inl.h>
#include <resnext/backend/cpu/for_each_target-inl.h>

namespace resnext {
namespace detail {

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

inline void check(const GroupedShape& s, int d) {
  if (s.n < 1 || s.h < 1 || s.w < 1 || s.channels < d || s.channels % d != 0 || (s.stride != 1 && s.stride != 2)) {
    throw_error<ShapeError>("grouped convolution: expected positive extents, channels in groups of ", d,
                            " and stride 1 or 2, found [", s.n, ", ", s.h, ", ", s.w, ", ", s.channels, "] and stride ",
                            s.stride);
  }
  check_extents("grouped convolution", {{"n", s.n}, {"h", s.h}, {"w", s.w}, {"channels", s.channels}});
  check_map("grouped convolution", s.n, s.h, s.w, s.channels);
  check_map("grouped convolution", s.n, s.channels, 1, 1);  // units of work are at most blocks of all images
}

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

/// The backward weights pass as work that can be divided. A sum belongs to one unit, so that the result does not depend
/// on the number of threads.
class GroupedSums {
 public:
  GroupedSums(const GroupedShape& s, const Blocking& blocking, const float* x, const float* dy, float* sums,
              const SumsKernels& kernels)
      : shape_(s),
        blocking_(blocking),
        step_(strip_channels(blocking.d, blocking.lanes)),
        gathers_(gathers(s, blocking)),
        x_(x),
        dy_(dy),
        sums_(sums),
        kernels_(kernels) {
    const std::ptrdiff_t width = gathers_ ? blocking_.block : blocking_.channels;
    const std::ptrdiff_t row = width * (shape_.w * shape_.stride + shape_.out_w());
    const std::ptrdiff_t image = row * shape_.out_h() + 2 * width * shape_.w;
    const std::ptrdiff_t budget = gathers_ ? gather_floats : 128 * 1024;
    images_ = static_cast<int>(std::clamp<std::ptrdiff_t>(budget / image, 1, shape_.n));
    rows_ = static_cast<int>(std::clamp<std::ptrdiff_t>((budget - 2 * width * shape_.w) / row, 1, shape_.out_h()));
  }

  /// Floats of the buffer that `run` needs.
  static std::size_t buffer_floats(const GroupedShape& s, const Blocking& blocking) {
    return gathers(s, blocking) ? gather_floats : 0;
  }

  int units() const { return blocking_.blocks * block_units(); }

  void run(int begin, int end, float* buffer) const {
    const int first = begin / block_units(), last = (end - 1) / block_units();
    Strip strip = begin < end ? place(first, 0, 0) : Strip{};
    while (strip.images > 0) {
      const Strip next = after(strip, first, last);
      const Strip gathered = gathers_ ? gather(strip, buffer) : strip;
      const int stop = std::min(end, (strip.block + 1) * block_units());
      int pass = 0;
      for (int unit = std::max(begin, strip.block * block_units()); unit < stop; ++unit) {
        sum(gathered, unit, next, pass++);
      }
      strip = next;
    }
  }

  /// Writes the sums of some blocks as [channels, d, 3, 3].
  void unpack(int begin, int end, float* weights) const {
    const int d = blocking_.d, lanes = blocking_.lanes;
    for (int block = begin; block < end; ++block) {
      for (int channel = block * blocking_.block; channel < std::min(blocking_.channels, (block + 1) * blocking_.block);
           ++channel) {
        const int i = channel - blocking_.first_channel(block);
        const float* sums = sums_ + blocking_.offset(block, i / lanes) + i % lanes;
        float* to = weights + std::ptrdiff_t{channel} * d * 9;
        for (int j = 0; j < d; ++j) {
          for (int kh = 0; kh < 3; ++kh) {
            for (int kw = 0; kw < 3; ++kw) *to++ = sums[((kh * d + j) * 3 + kw) * lanes];
          }
        }
      }
    }
  }

 private:
  static constexpr int gather_floats = 24 * 1024;

  /// Rows [begin, end) of dy of some images and the rows of x they need, of one block of channels.
  struct Strip {
    int block = 0, image = 0, images = 0, begin = 0, end = 0, x_begin = 0;
    const float *x = nullptr, *dy = nullptr;  // of x_begin and begin
    std::ptrdiff_t pixel = 0, x_image = 0, dy_image = 0;
    int x_pixels = 0, dy_pixels = 0;  // of one image
  };

  Strip place(int block, int image, int begin) const {
    Strip s;
    s.block = block;
    s.image = image;
    s.images = std::min(images_, shape_.n - image);
    s.begin = begin;
    s.end = std::min(begin + rows_, shape_.out_h());
    s.x_begin = std::max(0, begin * shape_.stride - 1);
    s.pixel = shape_.channels;
    s.x_image = s.pixel * shape_.h * shape_.w;
    s.dy_image = s.pixel * shape_.out_h() * shape_.out_w();
    const int channel = blocking_.first_channel(block);
    s.x = x_ + image * s.x_image + s.x_begin * s.pixel * shape_.w + channel;
    s.dy = dy_ + image * s.dy_image + begin * s.pixel * shape_.out_w() + channel;
    s.x_pixels = (std::min(shape_.h, (s.end - 1) * shape_.stride + 2) - s.x_begin) * shape_.w;
    s.dy_pixels = (s.end - begin) * shape_.out_w();
    return s;
  }

  /// The strip after this one, without images if there is none. In place all blocks of a strip are summed before the
  /// next rows, because they share pages; gathered a block is finished first, because then its sums stay in the cache.
  Strip after(const Strip& s, int first, int last) const {
    if (!gathers_ && s.block < last) return place(s.block + 1, s.image, s.begin);
    const int block = gathers_ ? s.block : first;
    if (s.end < shape_.out_h()) return place(block, s.image, s.end);
    if (s.image + s.images < shape_.n) return place(block, s.image + s.images, 0);
    return gathers_ && s.block < last ? place(s.block + 1, 0, 0) : Strip{};
  }

  Strip gather(const Strip& from, float* to) const {
    Strip s = from;
    s.pixel = blocking_.block;
    s.x_image = s.pixel * s.x_pixels;
    s.dy_image = s.pixel * s.dy_pixels;
    s.x = to;
    s.dy = to + s.images * s.x_image;
    for (int i = 0; i < s.images; ++i) {
      kernels_.gather(from.x + i * from.x_image, from.pixel, s.x_pixels, to + i * s.x_image);
      kernels_.gather(from.dy + i * from.dy_image, from.pixel, s.dy_pixels, to + s.images * s.x_image + i * s.dy_image);
    }
    return s;
  }

  static bool gathers(const GroupedShape& s, const Blocking& b) {
    return b.d > b.lanes && std::int64_t{b.block} * ((s.stride + 2) * s.w + s.out_w()) <= gather_floats;
  }
  int block_steps() const { return (blocking_.d + step_ - 1) / step_; }
  int block_units() const { return blocking_.vectors * 3 * block_steps(); }

  void sum(const Strip& strip, int unit, const Strip& next, int pass) const {
    const int j0 = unit % block_steps() * step_;
    const int kh = unit / block_steps() % 3;
    const int vector = unit / (block_steps() * 3) % blocking_.vectors;
    // rows of the gradient whose kernel row kh lies inside the map
    const int begin = std::max(strip.begin, kh == 0 ? 1 : 0);
    const int end = std::min(strip.end, (shape_.h - kh + shape_.stride) / shape_.stride);
    StripTask task{};
    task.images = strip.images;
    task.rows = std::max(0, end - begin);
    task.in_width = shape_.w;
    task.out_width = shape_.out_w();
    task.pixel = strip.pixel;
    task.x_row = shape_.stride * shape_.w * strip.pixel;
    task.dy_row = shape_.out_w() * strip.pixel;
    task.x_image = strip.x_image;
    task.dy_image = strip.dy_image;
    task.x = strip.x + (begin * shape_.stride - 1 + kh - strip.x_begin) * shape_.w * strip.pixel + j0;
    task.dy = strip.dy + (begin - strip.begin) * task.dy_row + vector * blocking_.lanes;
    task.tail = blocking_.tail(vector, 1);
    task.assign = strip.image == 0 && strip.begin == 0;
    task.sums =
        sums_ + blocking_.offset(strip.block, vector) + std::ptrdiff_t{kh * blocking_.d + j0} * 3 * blocking_.lanes;
    // The passes over this strip bring the next one nearer: its gradients, then both ends of its inputs.
    const int lines = (blocking_.block + 15) / 16;
    task.ahead = task.x;
    if (next.images > 0 && pass < 3 * lines) {
      const int skipped = next.images * next.x_pixels - task.images * task.rows * task.out_width * shape_.stride;
      task.ahead_pixel = next.pixel;
      task.ahead = pass < lines ? next.dy : next.x + (pass < 2 * lines ? 0 : std::max(0, skipped)) * next.pixel;
      task.ahead += pass % lines * 16;
    }
    (j0 + step_ > blocking_.d ? kernels_.last_strip : kernels_.strip)(task);
  }

  GroupedShape shape_;
  Blocking blocking_;
  int step_;  // input channels of a group that one unit sums over
  bool gathers_;
  int images_, rows_;  // of a strip
  const float *x_, *dy_;
  float* sums_;
  SumsKernels kernels_;
};

/// Calls run(begin, end, part) with an even share of the units for every part.
template <class Run>
void run_parallel(long long units, int parts, const Run& run) {
  parallel_for(parts,
               [&](int t) { run(static_cast<int>(units * t / parts), static_cast<int>(units * (t + 1) / parts), t); });
}

inline void run_parallel(const GroupedRows& work) {
  run_parallel(work.units(), thread_count(), [&](int begin, int end, int) { work.run(begin, end); });
}

template <int d, Pass pass>
GroupedRows::Choose choose_rows([[maybe_unused]] Isa isa) {
#if defined(__x86_64__) || defined(__i386__)
  if (isa == Isa::avx512) return avx512::row_kernel<d, pass>;
  if (isa == Isa::avx2) return avx2::row_kernel<d, pass>;
#endif
  return portable::row_kernel<d, pass>;
}

template <int d>
SumsKernels choose_sums([[maybe_unused]] Isa isa, int stride) {
#if defined(__x86_64__) || defined(__i386__)
  if (isa == Isa::avx512) return avx512::sums_kernels<d>(stride);
  if (isa == Isa::avx2) return avx2::sums_kernels<d>(stride);
#endif
  return portable::sums_kernels<d>(stride);
}

}  // namespace detail

/// The grouped 3x3 convolution with groups of `d` channels, fp32, NHWC, padding 1, stride 1 or 2 (Sec. 3 of the paper).
///
/// Weights are torchvision's [C * d, d, 3, 3] and are packed once for one instruction set; the same `isa` must be given
/// to the call that uses them. All outputs are assigned. No call allocates. Rounding does not depend on the number of
/// threads. Calls throw ShapeError for impossible extents.
template <int d>
struct GroupedConvolution {
  static_assert(d >= 1);

  /// Floats of packed weights for `channels` = C * d channels.
  static std::size_t packed_size(int channels, Isa isa = resnext::isa()) {
    return blocking(channels, isa).packed_size();
  }

  /// Packs weights [channels, d, 3, 3] for `forward`.
  static void pack_forward(const float* weights, int channels, float* packed, Isa isa = resnext::isa()) {
    detail::pack_grouped(weights, blocking(channels, isa), false, false, packed);
  }

  /// The forward pass as work for an existing parallel region: `run(begin, end)` of ranges that cover [0, units()).
  static detail::GroupedRows forward_work(const GroupedShape& shape, const float* x, const float* packed,
                                          const float* bias, bool relu, float* y, Isa isa = resnext::isa()) {
    detail::check(shape, d);
    isa = detail::fitting(isa, shape.channels, d);
    return {shape,
            blocking(shape.channels, isa),
            false,
            x,
            packed,
            bias,
            relu,
            y,
            shape.stride == 1 ? detail::choose_rows<d, detail::Pass::stride1>(isa)
                              : detail::choose_rows<d, detail::Pass::stride2>(isa)};
  }

  /// y [n, out_h, out_w, channels] = x [n, h, w, channels] * weights + bias [channels] (may be null), rectified if
  /// `relu`.
  static void forward(const GroupedShape& shape, const float* x, const float* packed, const float* bias, bool relu,
                      float* y, Isa isa = resnext::isa()) {
    detail::run_parallel(forward_work(shape, x, packed, bias, relu, y, isa));
  }

  /// Packs weights [channels, d, 3, 3] for `backward_data` of a convolution of this stride.
  static void pack_backward_data(const float* weights, int channels, int stride, float* packed,
                                 Isa isa = resnext::isa()) {
    detail::pack_grouped(weights, blocking(channels, isa), true, stride == 1, packed);
  }

  /// dx [n, h, w, channels] from dy [n, out_h, out_w, channels]; `shape` is that of the forward pass.
  static void backward_data(const GroupedShape& shape, const float* dy, const float* packed, float* dx,
                            Isa isa = resnext::isa()) {
    detail::check(shape, d);
    isa = detail::fitting(isa, shape.channels, d);
    detail::run_parallel(detail::GroupedRows(shape, blocking(shape.channels, isa), true, dy, packed, nullptr, false, dx,
                                             shape.stride == 1
                                                 ? detail::choose_rows<d, detail::Pass::stride1>(isa)
                                                 : detail::choose_rows<d, detail::Pass::transposed2>(isa)));
  }

  /// Floats of scratch that `backward_weights` needs for work in `parts`, one for a thread.
  static std::size_t scratch_size(const GroupedShape& shape, Isa isa = resnext::isa(), int parts = thread_count()) {
    const detail::Blocking cut = blocking(shape.channels, isa);
    return cut.packed_size() + static_cast<unsigned>(parts) * detail::GroupedSums::buffer_floats(shape, cut);
  }

  /// dw [channels, d, 3, 3] = sum over the batch of x [n, h, w, channels] times dy [n, out_h, out_w, channels].
  /// `scratch` has scratch_size(shape, isa, parts) floats, of the same parts; its content does not matter.
  static void backward_weights(const GroupedShape& shape, const float* x, const float* dy, float* dw, float* scratch,
                               Isa isa = resnext::isa(), int parts = thread_count()) {
    detail::check(shape, d);
    isa = detail::fitting(isa, shape.channels, d);
    const detail::Blocking cut = blocking(shape.channels, isa);
    const std::size_t buffer = detail::GroupedSums::buffer_floats(shape, cut);
    const detail::GroupedSums work(shape, cut, x, dy, scratch, detail::choose_sums<d>(isa, shape.stride));
    detail::run_parallel(work.units(), parts, [&](int begin, int end, int part) {
      work.run(begin, end, scratch + cut.packed_size() + static_cast<unsigned>(part) * buffer);
    });
    detail::run_parallel(cut.blocks, parts, [&](int begin, int end, int) { work.unpack(begin, end, dw); });
  }

 private:
  static detail::Blocking blocking(int channels, Isa isa) { return {channels, d, detail::fitting(isa, channels, d)}; }
};

}  // namespace resnext
