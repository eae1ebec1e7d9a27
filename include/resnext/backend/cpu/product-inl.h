// Kernels of products of matrices, the gradients of 1x1 convolutions, included by for_each_target-inl.h; called by
// product.hpp, which uses those of AVX-512 only. Pixels are rows of an NHWC map and are read in place.

/// Pixels of a tile, which with two vectors of outputs fill the registers.
inline constexpr int tile_pixels = 14;

/// T pixels by NV vectors of outputs.
template <int T, int NV>
RESNEXT_INLINE void product_tile(const ProductTask& task, const float* x, float* y) {
  const auto part = [&](int v) RESNEXT_INLINED { return v < NV - 1 ? lanes : task.tail; };
  Vec sum[T][NV];
  RESNEXT_UNROLL
  for (int i = 0; i < T * NV; ++i) sum[i / NV][i % NV] = zero();
  const float* weights = task.weights;
  for (int k = 0; k < task.depth; ++k, weights += NV * lanes) {
    Vec weight[NV];
    RESNEXT_UNROLL
    for (int v = 0; v < NV; ++v) weight[v] = load(weights + v * lanes);
    RESNEXT_UNROLL
    for (int t = 0; t < T; ++t) {
      const Vec input = set1(x[t * task.x_pixel + k]);
      RESNEXT_UNROLL
      for (int v = 0; v < NV; ++v) sum[t][v] = fma(input, weight[v], sum[t][v]);
    }
  }
  RESNEXT_UNROLL
  for (int t = 0; t < T; ++t) {
    RESNEXT_UNROLL
    for (int v = 0; v < NV; ++v) {
      store_some(y + t * task.y_pixel + v * lanes, sum[t][v], part(v));
    }
  }
}

template <int NV, int T = tile_pixels>
void product_pixels(const ProductTask& task, const float* x, float* y, std::ptrdiff_t pixels) {
  for (; pixels >= T; pixels -= T, x += T * task.x_pixel, y += T * task.y_pixel) product_tile<T, NV>(task, x, y);
  if constexpr (T > 1) {
    if (pixels > 0) product_pixels<NV, T / 2>(task, x, y, pixels);
  }
}

/// y[pixel] = x[pixel] * weights for one panel of one or two vectors of outputs.
inline void product(const ProductTask& task, const float* x, float* y, std::ptrdiff_t pixels) {
  if (task.vectors == 2) {
    product_pixels<2>(task, x, y, pixels);
  } else {
    product_pixels<1>(task, x, y, pixels);
  }
}

/// sums[row][two vectors] (+)= sum over pixels of left[pixel][row] * right[pixel][two vectors], for T rows. Rows of
/// `sums` are `pitch` floats apart, `columns` of them are in use.
template <int T>
RESNEXT_INLINE void outer_rows(const float* left, const float* right, int pixels, bool add, float* sums,
                               std::ptrdiff_t pitch, int columns) {
  Vec sum[T][2];
  RESNEXT_UNROLL
  for (int i = 0; i < 2 * T; ++i) sum[i / 2][i % 2] = zero();
  for (int p = 0; p < pixels; ++p, left += outer_tile, right += 2 * lanes) {
    const Vec a = load(right), b = load(right + lanes);
    RESNEXT_UNROLL
    for (int t = 0; t < T; ++t) {
      const Vec value = set1(left[t]);
      sum[t][0] = fma(value, a, sum[t][0]);
      sum[t][1] = fma(value, b, sum[t][1]);
    }
  }
  RESNEXT_UNROLL
  for (int i = 0; i < 2 * T; ++i) {
    const int n = columns - i % 2 * lanes;
    float* to = sums + i / 2 * pitch + i % 2 * lanes;
    if (n >= lanes) {
      store(to, add ? load(to) + sum[i / 2][i % 2] : sum[i / 2][i % 2]);
    } else if (n > 0) {
      store(to, add ? load(to, n) + sum[i / 2][i % 2] : sum[i / 2][i % 2], n);
    }
  }
}

inline void outer(const float* left, const float* right, int pixels, bool add, float* sums, std::ptrdiff_t pitch,
                  int rows, int columns) {
  if (rows == outer_tile) return outer_rows<outer_tile>(left, right, pixels, add, sums, pitch, columns);
  for (int row = 0; row < rows; ++row) {
    outer_rows<1>(left + row, right, pixels, add, sums + row * pitch, pitch, columns);
  }
}

/// to[column / width][pixel][column % width] = from[pixel][column]: strips that are read again and again lie together.
/// Columns beyond the last are zeros.
template <int width>
void copy_strips(const float* from, std::ptrdiff_t pitch, int pixels, int columns, float* to) {
  for (int column = 0; column < columns; column += width) {
    const int n = columns - column < width ? columns - column : width;
    for (int p = 0; p < pixels; ++p, to += width) {
      const float* source = from + p * pitch + column;
      RESNEXT_UNROLL
      for (int i = 0; i < width; i += (width < lanes ? width : lanes)) {
        if constexpr (width < lanes) {
          store(to, load(source, n), width);
        } else {
          store(to + i, n - i >= lanes ? load(source + i) : n > i ? load(source + i, n - i) : zero());
        }
      }
    }
  }
}
