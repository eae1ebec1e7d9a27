/// @file
/// Max pooling and global average pooling.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <resnext/backend/backend.hpp>
#include <resnext/backend/check_shapes.hpp>
#include <resnext/backend/host/stream.hpp>
#include <resnext/backend/reference/rounding.hpp>
#include <resnext/tensor/number.hpp>
#include <resnext/tensor/typed_pointer.hpp>

namespace resnext::detail {

/// The largest of each window. Of equal values the first in reading order counts, and a NaN is larger than any number,
/// as in torch.nn.MaxPool2d. An index is `row * kernel + column` within the window.
template <class T>
class ReferenceMaxPool {
 public:
  using C = Calculated<T>;

  ReferenceMaxPool(const PoolShape& shape, std::string_view path)
      : shape_(shape), formats_(known_formats<T>(shape.formats)) {
    check_shape(shape, path);
  }

  void forward(HostStream&, ConstTypedPointer from, TypedPointer y, std::uint8_t* indices) const {
    const Reader<C> x(from, formats_.x);
    const Writer<C> to(y, formats_.y);
    for_each_output([&](std::int64_t out, int image, int oy, int ox, int channel) {
      int best = -1;
      C largest = 0;
      for (int tap = 0; tap < shape_.kernel * shape_.kernel; ++tap) {
        const std::int64_t at = position(image, oy, ox, channel, tap);
        if (at < 0) continue;
        const C value = x[at];
        if (best >= 0 && !is_nan(value) && (is_nan(largest) || !(value > largest))) continue;
        best = tap;
        largest = value;
      }
      to(out, largest);
      if (indices != nullptr) indices[out] = static_cast<std::uint8_t>(best);
    });
  }

  /// Every pixel adds up what the windows around it have for it, and is rounded once.
  void backward(HostStream&, ConstTypedPointer gradient, const std::uint8_t* indices, TypedPointer dx) const {
    const Reader<C> dy(gradient, {});
    const Writer<C> to(dx, {});
    const PoolShape& s = shape_;
    // windows that reach row or column `at`: those from first(at) to last(at)
    const auto first = [&](int at) { return std::max(0, (at + s.padding - s.kernel + s.stride) / s.stride); };
    const auto last = [&](int at, int windows) { return std::min(windows - 1, (at + s.padding) / s.stride); };
    for (std::int64_t i = 0; i < s.input_size(); ++i) {
      const auto channel = static_cast<int>(i % s.c), ix = static_cast<int>(i / s.c % s.w);
      const auto iy = static_cast<int>(i / s.c / s.w % s.h), image = static_cast<int>(i / s.c / s.w / s.h);
      C sum = 0;
      for (int oy = first(iy); oy <= last(iy, s.out_h()); ++oy) {
        for (int ox = first(ix); ox <= last(ix, s.out_w()); ++ox) {
          const std::int64_t out = ((std::int64_t{image} * s.out_h() + oy) * s.out_w() + ox) * s.c + channel;
          const int tap = (iy + s.padding - oy * s.stride) * s.kernel + ix + s.padding - ox * s.stride;
          if (indices[out] == tap) sum += dy[out];
        }
      }
      to(i, sum);
    }
  }

 private:
  template <class Visit>
  void for_each_output(Visit visit) const {
    std::int64_t out = 0;
    for (int image = 0; image < shape_.n; ++image) {
      for (int oy = 0; oy < shape_.out_h(); ++oy) {
        for (int ox = 0; ox < shape_.out_w(); ++ox) {
          for (int channel = 0; channel < shape_.c; ++channel) visit(out++, image, oy, ox, channel);
        }
      }
    }
  }

  /// Where a tap of a window lies in x, or -1 on the border.
  std::int64_t position(int image, int oy, int ox, int channel, int tap) const {
    const int y = oy * shape_.stride - shape_.padding + tap / shape_.kernel;
    const int x = ox * shape_.stride - shape_.padding + tap % shape_.kernel;
    if (y < 0 || y >= shape_.h || x < 0 || x >= shape_.w) return -1;
    return ((std::int64_t{image} * shape_.h + y) * shape_.w + x) * shape_.c + channel;
  }

  PoolShape shape_;
  KnownFormats formats_;
};

/// The mean of every channel over the whole map, `[n, h, w, c]` to `[n, c]`; sums in double.
template <class T>
class ReferenceAveragePool {
 public:
  using C = Calculated<T>;

  explicit ReferenceAveragePool(const MapShape& shape) : shape_(shape), formats_(known_formats<T>(shape.formats)) {
    check_shape(shape, "global average pool");
  }

  void forward(HostStream&, ConstTypedPointer from, TypedPointer y) const {
    const Reader<C> x(from, {});  // sums of integers are exact
    const Writer<C> to(y, formats_.y);
    for (int image = 0; image < shape_.n; ++image) {
      for (int channel = 0; channel < shape_.c; ++channel) {
        double sum = 0;
        for (std::int64_t pixel = 0; pixel < pixels(); ++pixel) {
          sum += x[(image * pixels() + pixel) * shape_.c + channel];
        }
        to(image * shape_.c + channel, sum * formats_.x.scale / static_cast<double>(pixels()));
      }
    }
  }

  void backward(HostStream&, ConstTypedPointer gradient, TypedPointer dx) const {
    const Reader<C> dy(gradient, {});
    const Writer<C> to(dx, {});
    for (std::int64_t i = 0; i < shape_.size(); ++i) {
      const std::int64_t image = i / (pixels() * shape_.c);
      to(i, dy[image * shape_.c + i % shape_.c] / static_cast<C>(pixels()));
    }
  }

 private:
  std::int64_t pixels() const { return std::int64_t{shape_.h} * shape_.w; }

  MapShape shape_;
  KnownFormats formats_;
};

}  // namespace resnext::detail
