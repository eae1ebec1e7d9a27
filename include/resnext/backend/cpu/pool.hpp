/// @file
/// Max pooling and global average pooling.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <resnext/backend/backend.hpp>
#include <resnext/backend/check_shapes.hpp>
#include <resnext/backend/cpu/pointwise.hpp>
#include <resnext/backend/host/stream.hpp>

namespace resnext::detail {

/// A pixel that a window reads, and its place in the window.
struct PoolTap {
  const float* x;
  float index;
};

/// A window that reads a pixel, and the pixel's place in it.
struct PoolReader {
  const float* dy;
  const std::uint8_t* indices;
  int index;
};

}  // namespace resnext::detail

#define RESNEXT_KERNELS <resnext/backend/cpu/pool-inl.h>
#include <resnext/backend/cpu/for_each_target-inl.h>

#include <resnext/backend/cpu/call-inl.h>

namespace resnext::detail {

/// The largest of each window. Of equal values the first in reading order counts, and a NaN is larger than any number,
/// as in torch.nn.MaxPool2d. An index is `row * kernel + column` within the window.
class CpuMaxPool {
 public:
  CpuMaxPool(const PoolShape& shape, std::string_view path) : shape_(shape) { check_shape(shape, path); }

  void forward(HostStream&, const float* x, float* y, std::uint8_t* indices) const {
    const PoolShape& s = shape_;
    parallel_for(s.n * s.out_h(), [&](int line) {
      const int image = line / s.out_h(), top = line % s.out_h() * s.stride - s.padding;
      std::array<PoolTap, most_taps> taps;
      for (int ox = 0; ox < s.out_w(); ++ox) {
        const int left = ox * s.stride - s.padding;
        std::size_t count = 0;
        for (int ky = std::max(0, -top); ky < std::min(s.kernel, s.h - top); ++ky) {
          for (int kx = std::max(0, -left); kx < std::min(s.kernel, s.w - left); ++kx) {
            taps[count++] = {x + input(image, top + ky, left + kx), static_cast<float>(ky * s.kernel + kx)};
          }
        }
        const std::int64_t out = (std::int64_t{line} * s.out_w() + ox) * s.c;
        RESNEXT_CALL(max_pool, taps.data(), static_cast<int>(count), y + out,
                     indices == nullptr ? nullptr : indices + out, s.c);
      }
    });
  }

  void backward(HostStream&, const float* dy, const std::uint8_t* indices, float* dx) const {
    const PoolShape& s = shape_;
    // windows that reach row or column `at`: those from first(at) to last(at)
    const auto first = [&](int at) { return std::max(0, (at + s.padding - s.kernel + s.stride) / s.stride); };
    const auto last = [&](int at, int windows) { return std::min(windows - 1, (at + s.padding) / s.stride); };
    parallel_for(s.n * s.h, [&](int line) {
      const int image = line / s.h, iy = line % s.h;
      std::array<PoolReader, most_taps> readers;
      for (int ix = 0; ix < s.w; ++ix) {
        std::size_t count = 0;
        for (int oy = first(iy); oy <= last(iy, s.out_h()); ++oy) {
          for (int ox = first(ix); ox <= last(ix, s.out_w()); ++ox) {
            const std::int64_t out = ((std::int64_t{image} * s.out_h() + oy) * s.out_w() + ox) * s.c;
            const int ky = iy + s.padding - oy * s.stride, kx = ix + s.padding - ox * s.stride;
            readers[count++] = {dy + out, indices + out, ky * s.kernel + kx};
          }
        }
        RESNEXT_CALL(max_pool_backward, readers.data(), static_cast<int>(count), dx + input(image, iy, ix), s.c);
      }
    });
  }

 private:
  static constexpr std::size_t most_taps = 256;  // an index is one byte

  std::int64_t input(int image, int y, int x) const {
    return ((std::int64_t{image} * shape_.h + y) * shape_.w + x) * shape_.c;
  }

  PoolShape shape_;
};

/// The mean of every channel over the whole map, `[n, h, w, c]` to `[n, c]`.
class CpuAveragePool {
 public:
  explicit CpuAveragePool(const MapShape& shape) : shape_(shape), pixels_(std::int64_t{shape.h} * shape.w) {
    check_shape(shape, "global average pool");
  }

  void forward(HostStream&, const float* x, float* y) const {
    const std::int64_t c = shape_.c;
    parallel_for(shape_.n, [&](int n) {
      RESNEXT_CALL(average_pool, x + n * pixels_ * c, pixels_, shape_.c, 1.0f / static_cast<float>(pixels_), y + n * c);
    });
  }

  void backward(HostStream&, const float* dy, float* dx) const {
    const std::int64_t c = shape_.c;
    parallel_for(shape_.n, [&](int n) {
      RESNEXT_CALL(average_pool_backward, dy + n * c, pixels_, shape_.c, 1.0f / static_cast<float>(pixels_),
                   dx + n * pixels_ * c);
    });
  }

 private:
  MapShape shape_;
  std::int64_t pixels_;
};

}  // namespace resnext::detail

#undef RESNEXT_CALL
