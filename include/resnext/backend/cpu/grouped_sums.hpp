/// @file
/// Backward weights of the grouped convolution: sums over the batch as work for threads.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include <resnext/backend/cpu/grouped_tasks.hpp>

namespace resnext::detail {

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

}  // namespace resnext::detail
