/// @file
/// Refuses shapes that no operator can have, in the same words for every backend.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <string_view>

#include <resnext/backend/backend.hpp>
#include <resnext/error.hpp>
#include <resnext/tensor/number.hpp>

namespace resnext::detail {

/// One extent of a shape and its name.
struct NamedExtent {
  const char* name;
  int value;
};

/// What sums of a few extents, and their neighbours, still fit an int with.
inline constexpr int largest_extent = 1 << 24;
/// Pixels, rows and other work items are counted in int.
inline constexpr std::int64_t most_pixels = std::numeric_limits<int>::max();
/// Of a map or of weights: bytes of a few of them fit 63 bits.
inline constexpr std::int64_t most_values = std::int64_t{1} << 40;

inline void check_extents(std::string_view path, std::initializer_list<NamedExtent> extents) {
  for (const auto& [name, value] : extents) {
    if (value < 1) throw_error<ShapeError>(path, ": expected ", name, " to be at least 1, found ", value);
    if (value > largest_extent)
      throw_error<ShapeError>(path, ": expected ", name, " to be at most 2^24, found ", value);
  }
}

/// A map `[n, h, w, c]` whose pixels and values can be counted.
inline void check_map(std::string_view path, std::int64_t n, std::int64_t h, std::int64_t w, std::int64_t c) {
  const auto pixels = checked_product({n, h, w}), values = checked_product({n, h, w, c});
  if (!pixels || *pixels > most_pixels || !values || *values > most_values) {
    throw_error<ShapeError>(path, ": expected a map of fewer than 2^31 pixels and at most 2^40 values, found [", n,
                            ", ", h, ", ", w, ", ", c, "]");
  }
}

inline void check_weights(std::string_view path, std::initializer_list<std::int64_t> extents) {
  const auto values = checked_product(extents);
  if (!values || *values > most_values) throw_error<ShapeError>(path, ": expected at most 2^40 weights");
}

inline void check_window(std::string_view path, int h, int w, int kernel, int padding) {
  if (padding < 0 || padding >= kernel) {
    throw_error<ShapeError>(path, ": expected a padding of 0 to ", kernel - 1, " for a window of ", kernel, ", found ",
                            padding);
  }
  if (h + 2 * padding < kernel || w + 2 * padding < kernel) {
    throw_error<ShapeError>(path, ": expected a map of at least ", kernel - 2 * padding, " x ", kernel - 2 * padding,
                            ", found ", h, " x ", w, "; use a larger image");
  }
}

/// @throws ShapeError for an extent below 1, more than can be counted, groups that do not divide the channels, or a
/// window larger than the map.
inline void check_shape(const ConvolutionShape& s, std::string_view path) {
  check_extents(path, {{"n", s.n}, {"h", s.h}, {"w", s.w}, {"in", s.in}, {"out", s.out}});
  check_extents(path, {{"kernel", s.kernel}, {"stride", s.stride}, {"groups", s.groups}});
  check_window(path, s.h, s.w, s.kernel, s.padding);
  check_map(path, s.n, s.h, s.w, s.in);
  check_map(path, s.n, s.out_h(), s.out_w(), s.out);
  check_weights(path, {s.out, s.in, s.kernel, s.kernel});
  if (s.in % s.groups != 0 || s.out % s.groups != 0) {
    throw_error<ShapeError>(path, ": expected in and out to be multiples of ", s.groups, " groups, found in ", s.in,
                            " and out ", s.out);
  }
}

/// @throws ShapeError as for a convolution, and for a window whose positions do not fit into one byte.
inline void check_shape(const PoolShape& s, std::string_view path) {
  check_extents(path, {{"n", s.n}, {"h", s.h}, {"w", s.w}, {"c", s.c}, {"kernel", s.kernel}, {"stride", s.stride}});
  if (s.kernel > 16)
    throw_error<ShapeError>(path, ": expected a window of at most 16 x 16, found ", s.kernel, " x ", s.kernel);
  check_window(path, s.h, s.w, s.kernel, s.padding);
  check_map(path, s.n, s.h, s.w, s.c);
  check_map(path, s.n, s.out_h(), s.out_w(), s.c);
}

/// @throws ShapeError for an extent below 1, and for more than can be counted.
inline void check_shape(const MapShape& s, std::string_view path) {
  check_extents(path, {{"n", s.n}, {"h", s.h}, {"w", s.w}, {"c", s.c}});
  check_map(path, s.n, s.h, s.w, s.c);
}

/// @throws ShapeError for a ghost batch of less than nothing, and for statistics of a single value.
inline void check_shape(const MapShape& s, const NormOptions& options, std::string_view path) {
  check_shape(s, path);
  if (options.ghost_batch < 0) {
    throw_error<ShapeError>(path, ": expected ghost batches of at least 1 image, or 0 for the whole batch, found ",
                            options.ghost_batch);
  }
  const int fewest = options.images(s.n, options.ghost_batches(s.n) - 1);
  if (std::int64_t{fewest} * s.h * s.w == 1) {
    throw_error<ShapeError>(path, ": expected more than 1 value per channel when training, found a map of ", s.h, " x ",
                            s.w, " and ", fewest, " image in ", options.ghost_batch > 0 ? "a ghost batch" : "the batch",
                            "; use larger batches or images");
  }
}

/// @throws ShapeError for an extent below 1, and for more than can be counted.
inline void check_shape(const LinearShape& s, std::string_view path) {
  check_extents(path, {{"n", s.n}, {"in", s.in}, {"out", s.out}});
  check_map(path, s.n, 1, 1, s.in);
  check_map(path, s.n, 1, 1, s.out);
  check_weights(path, {s.out, s.in});
}

/// @throws ShapeError for an extent below 1 or a smoothing outside [0, 1].
inline void check_shape(const LossShape& s, std::string_view path) {
  check_extents(path, {{"n", s.n}, {"classes", s.classes}});
  check_map(path, s.n, 1, 1, s.classes);
  if (!(is_finite(s.smoothing) && s.smoothing >= 0 && s.smoothing <= 1)) {
    throw_error<ShapeError>(path, ": expected a label smoothing of 0 to 1, found ", s.smoothing);
  }
}

}  // namespace resnext::detail
