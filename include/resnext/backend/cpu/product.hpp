/// @file
/// The products of matrices that are the two gradients of a 1x1 convolution.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include <resnext/backend/cpu/pointwise.hpp>

namespace resnext::detail {

/// One panel of outputs.
struct ProductTask {
  const float* weights;  ///< [depth][vectors][lanes]
  std::ptrdiff_t x_pixel, y_pixel;
  int depth, vectors;
  int tail;  ///< lanes in use in the last vector
};

/// Rows of a tile of the weight gradient.
inline constexpr int outer_tile = 8;

}  // namespace resnext::detail

#define RESNEXT_KERNELS <resnext/backend/cpu/product-inl.h>
#include <resnext/backend/cpu/for_each_target-inl.h>

namespace resnext::detail {

// Own products pay on AVX-512 only: on AVX2, oneDNN's run at the processor's peak.
#if defined(__x86_64__) || defined(__i386__)
namespace wide = avx512;
#else
namespace wide = portable;
#endif

/// Outputs that one pass over the pixels computes.
inline constexpr int panel_width = 2 * wide::lanes;

/// y `[pixels, outputs]` = x `[pixels, depth]` times weights.
class Product {
 public:
  Product() = default;
  Product(std::int64_t pixels, int depth, int outputs)
      : pixels_(pixels), depth_(depth), outputs_(outputs), panels_((outputs + panel_width - 1) / panel_width) {
    // a block of pixels stays in the second-level cache while all panels pass
    block_ = std::max<std::int64_t>(56, 128 * 1024 / depth / 56 * 56);
    by_panel_ = std::int64_t{depth} * outputs > pixels * depth;
    parts_ = thread_count();
    // Pixels a multiple of 4 KB apart fall into the same few places of the first-level cache; a copy's do not.
    if (depth % 1024 == 0 && panels_ >= 8) pitch_ = depth + 16;
  }

  /// Floats of scratch memory.
  std::size_t scratch_size() const {
    return static_cast<std::size_t>(parts_) * static_cast<std::size_t>(block_) * static_cast<std::size_t>(pitch_);
  }

  /// Floats of packed weights.
  std::size_t packed_size() const {
    return static_cast<std::size_t>(panels_) * static_cast<std::size_t>(depth_ * panel_width);
  }

  /// Packs weights `[depth, outputs]`.
  void pack(const float* weights, float* packed) const {
    parallel_for(panels_, [&](int p) {
      const int first = p * panel_width, used = std::min(panel_width, outputs_ - first);
      const int columns = vectors(p) * wide::lanes;
      float* to = packed + std::ptrdiff_t{first} * depth_;
      for (int k = 0; k < depth_; ++k, to += columns) {
        std::fill(std::copy_n(weights + std::ptrdiff_t{k} * outputs_ + first, used, to), to + columns, 0.0f);
      }
    });
  }

  void run(const float* x, const float* packed, float* y, float* scratch) const {
    const std::int64_t parts = parts_;
    parallel_for(parts_, [&](int t) {
      float* const copy = scratch + t * block_ * pitch_;
      if (by_panel_) {
        run_part(0, pixels_, static_cast<int>(panels_ * t / parts), static_cast<int>(panels_ * (t + 1) / parts), x,
                 packed, y, copy);
      } else {
        const std::int64_t tiles = (pixels_ + wide::tile_pixels - 1) / wide::tile_pixels;
        run_part(std::min(pixels_, tiles * t / parts * wide::tile_pixels),
                 std::min(pixels_, tiles * (t + 1) / parts * wide::tile_pixels), 0, panels_, x, packed, y, copy);
      }
    });
  }

 private:
  /// Vectors of a panel; the last one may have a single one.
  int vectors(int panel) const {
    return (std::min(panel_width, outputs_ - panel * panel_width) + wide::lanes - 1) / wide::lanes;
  }

  void run_part(std::int64_t begin, std::int64_t end, int first_panel, int last_panel, const float* x,
                const float* packed, float* y, float* copy) const {
    for (; begin < end; begin += block_) {
      const std::int64_t pixels = std::min(block_, end - begin);
      const float* source = x + begin * depth_;
      if (pitch_ != 0) {
        for (std::int64_t i = 0; i < pixels; ++i) std::copy_n(source + i * depth_, depth_, copy + i * pitch_);
        source = copy;
      }
      for (int p = first_panel; p < last_panel; ++p) {
        const int first = p * panel_width;
        const ProductTask task{packed + std::ptrdiff_t{first} * depth_,
                               pitch_ != 0 ? pitch_ : depth_,
                               outputs_,
                               depth_,
                               vectors(p),
                               std::min(panel_width, outputs_ - first) - (vectors(p) - 1) * wide::lanes};
        wide::product(task, source, y + begin * outputs_ + first, pixels);
      }
    }
  }

  std::int64_t pixels_ = 0, block_ = 0;
  int depth_ = 0, outputs_ = 0, panels_ = 0, parts_ = 1, pitch_ = 0;
  bool by_panel_ = false;
};

/// sums `[rows, columns]` = transpose of left `[pixels, rows]` times right `[pixels, columns]`: the weight gradient of
/// a 1x1 convolution. Threads divide the pixels where the sums are small, and add them up in order; else they divide
/// rows.
class OuterProduct {
 public:
  OuterProduct() = default;
  OuterProduct(std::int64_t pixels, int rows, int columns)
      : pixels_(pixels), rows_(rows), columns_(columns), parts_(thread_count()) {
    by_pixel_ = std::int64_t{rows} * columns <= 256 * 1024 && pixels >= 1024 * parts_;
    block_ = static_cast<int>(std::clamp<std::int64_t>(128 * 1024 / columns / 16 * 16, 32, 192));
  }

  std::size_t scratch_size() const {
    const auto parts = static_cast<std::size_t>(parts_);
    return parts * strips_size() + (by_pixel_ ? (parts - 1) * sums_size() : 0);
  }

  void run(const float* left, const float* right, float* sums, float* scratch) const {
    float* const others = scratch + static_cast<std::size_t>(parts_) * strips_size();
    parallel_for(parts_, [&](int t) {
      float* const strips = scratch + static_cast<std::size_t>(t) * strips_size();
      if (by_pixel_) {
        float* const to = t == 0 ? sums : others + static_cast<std::size_t>(t - 1) * sums_size();
        run_part(pixels_ * t / parts_, pixels_ * (t + 1) / parts_, 0, rows_, left, right, to, strips);
      } else {
        const int tiles = (rows_ + outer_tile - 1) / outer_tile;
        run_part(0, pixels_, std::min(rows_, tiles * t / parts_ * outer_tile),
                 std::min(rows_, tiles * (t + 1) / parts_ * outer_tile), left, right, sums, strips);
      }
    });
    if (!by_pixel_) return;
    for (int t = 1; t < parts_; ++t) {
      const float* other = others + static_cast<std::size_t>(t - 1) * sums_size();
      pointwise(sums, other, sums, std::int64_t{rows_} * columns_, false);
    }
  }

 private:
  std::size_t sums_size() const { return static_cast<std::size_t>(rows_) * static_cast<std::size_t>(columns_); }
  int padded_columns() const { return (columns_ + panel_width - 1) / panel_width * panel_width; }
  int padded_rows() const { return (rows_ + outer_tile - 1) / outer_tile * outer_tile; }
  /// Strips of a block of pixels: right, then left.
  std::size_t strips_size() const {
    return static_cast<std::size_t>(block_) * static_cast<std::size_t>(padded_columns() + padded_rows());
  }

  void run_part(std::int64_t begin, std::int64_t end, int first_row, int last_row, const float* left,
                const float* right, float* sums, float* strips) const {
    float* const left_strips = strips + static_cast<std::ptrdiff_t>(block_) * padded_columns();
    for (std::int64_t at = begin; at < end; at += block_) {
      const int pixels = static_cast<int>(std::min<std::int64_t>(block_, end - at));
      wide::copy_strips<panel_width>(right + at * columns_, columns_, pixels, columns_, strips);
      wide::copy_strips<outer_tile>(left + at * rows_ + first_row, rows_, pixels, last_row - first_row, left_strips);
      for (int column = 0; column < columns_; column += panel_width) {
        for (int row = first_row; row < last_row; row += outer_tile) {
          wide::outer(left_strips + std::ptrdiff_t{row - first_row} * pixels, strips + std::ptrdiff_t{column} * pixels,
                      pixels, at > begin, sums + std::ptrdiff_t{row} * columns_ + column, columns_,
                      std::min(outer_tile, last_row - row), std::min(panel_width, columns_ - column));
        }
      }
    }
  }

  std::int64_t pixels_ = 0;
  int rows_ = 0, columns_ = 0, parts_ = 1, block_ = 0;
  bool by_pixel_ = false;
};

}  // namespace resnext::detail
