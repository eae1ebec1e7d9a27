// Kernels of train-mode batch norm over rows of channels, compiled for every target by for_each_target-inl.h; called by
// batch_norm.hpp. Maps are larger than the caches, so rows are read in order, a few at a time: that keeps the constants
// of a channel in registers for these rows and the sums of all channels in the first-level cache.

inline constexpr int rows_at_once = 4;

/// Calls step(R, first row, channel, n) for all channels of R = rows_at_once rows at a time, then of single rows; n
/// lanes are in use.
template <class Step>
RESNEXT_INLINE void for_each_rows(std::ptrdiff_t rows, int c, const Step& step) {
  const auto channels = [&]<int R>(std::ptrdiff_t row, std::integral_constant<int, R> count) RESNEXT_INLINED {
    int i = 0;
    for (; i + lanes <= c; i += lanes) step(count, row, i, lanes);
    if (i < c) step(count, row, i, c - i);
  };
  std::ptrdiff_t row = 0;
  for (; row + rows_at_once <= rows; row += rows_at_once) channels(row, std::integral_constant<int, rows_at_once>());
  for (; row < rows; ++row) channels(row, std::integral_constant<int, 1>());
}

/// Stores a whole vector past the caches: what is larger than they are need not be read before it is overwritten.
RESNEXT_INLINE void store_past_caches(float* p, Vec v) {
#if RESNEXT_LANES == 16
  _mm512_stream_ps(p, v);
#elif RESNEXT_LANES == 8
  _mm256_stream_ps(p, v);
#else
  store(p, v);
#endif
}
/// Makes such stores visible to other threads.
RESNEXT_INLINE void finish_stores() {
#if RESNEXT_LANES > 4
  _mm_sfence();
#endif
}

/// first[c] += sum of x - pivot, second[c] += sum of (x - pivot)^2.
inline void norm_statistics(const float* x, const float* pivot, std::ptrdiff_t rows, int c, float* first,
                            float* second) {
  for_each_rows(rows, c, [&]<int R>(std::integral_constant<int, R>, std::ptrdiff_t row, int i, int n) RESNEXT_INLINED {
    const Vec center = load_some(pivot + i, n);
    Vec sum = load_some(first + i, n), squares = load_some(second + i, n);
    RESNEXT_UNROLL
    for (int r = 0; r < R; ++r) {
      const Vec v = load_some(x + (row + r) * c + i, n) - center;
      sum = sum + v;
      squares = fma(v, v, squares);
    }
    store_some(first + i, sum, n);
    store_some(second + i, squares, n);
  });
}

/// y = (x - mean) scale + beta + other, rectified if asked; `other` may be null.
inline void norm_forward(const NormTask& task, const float* x, const float* other, float* y, std::ptrdiff_t rows,
                         int c) {
  for_each_rows(rows, c, [&]<int R>(std::integral_constant<int, R>, std::ptrdiff_t row, int i, int n) RESNEXT_INLINED {
    const Vec mean = load_some(task.mean + i, n), scale = load_some(task.scale + i, n);
    const Vec beta = load_some(task.beta + i, n);
    RESNEXT_UNROLL
    for (int r = 0; r < R; ++r) {
      const std::ptrdiff_t at = (row + r) * c + i;
      Vec v = fma(load_some(x + at, n) - mean, scale, beta);
      if (other != nullptr) v = v + load_some(other + at, n);
      if (task.relu) v = relu(v);
      if (task.past_caches) {
        store_past_caches(y + at, v);
      } else {
        store_some(y + at, v, n);
      }
    }
  });
  if (task.past_caches) finish_stores();
}

/// The gradient before the ReLU: dy + dy2 where the output was positive or not a number. Without an addition the
/// output's sign is computed again, as forward did, which is cheaper than reading the output.
RESNEXT_INLINE Vec norm_gradient(const NormTask& task, const float* y, const float* dy, const float* dy2,
                                 std::ptrdiff_t at, Vec centred, Vec scale, Vec beta, int n) {
  Vec g = load_some(dy + at, n);
  if (dy2 != nullptr) g = g + load_some(dy2 + at, n);
  if (!task.relu) return g;
  const Vec out = y != nullptr ? load_some(y + at, n) : fma(centred, scale, beta);
  return relu_gradient(out, g);
}

/// first[c] += sum of g, second[c] += sum of g (x - mean); `kept` (may be null) gets g. `y` is null where its sign is
/// known from x.
inline void norm_backward_sums(const NormTask& task, const float* x, const float* y, const float* dy, const float* dy2,
                               float* kept, std::ptrdiff_t rows, int c, float* first, float* second) {
  for_each_rows(rows, c, [&]<int R>(std::integral_constant<int, R>, std::ptrdiff_t row, int i, int n) RESNEXT_INLINED {
    const Vec mean = load_some(task.mean + i, n), scale = load_some(task.scale + i, n);
    const Vec beta = load_some(task.beta + i, n);
    Vec sum = load_some(first + i, n), projection = load_some(second + i, n);
    RESNEXT_UNROLL
    for (int r = 0; r < R; ++r) {
      const std::ptrdiff_t at = (row + r) * c + i;
      const Vec centred = load_some(x + at, n) - mean;
      const Vec g = norm_gradient(task, y, dy, dy2, at, centred, scale, beta, n);
      if (kept != nullptr) store_some(kept + at, g, n);
      sum = sum + g;
      projection = fma(g, centred, projection);
    }
    store_some(first + i, sum, n);
    store_some(second + i, projection, n);
  });
}

/// dx = scale g + slope (x - mean) + offset.
inline void norm_backward(const NormTask& task, const float* x, const float* y, const float* dy, const float* dy2,
                          const float* slope, const float* offset, float* dx, std::ptrdiff_t rows, int c) {
  for_each_rows(rows, c, [&]<int R>(std::integral_constant<int, R>, std::ptrdiff_t row, int i, int n) RESNEXT_INLINED {
    const Vec mean = load_some(task.mean + i, n), scale = load_some(task.scale + i, n);
    const Vec beta = load_some(task.beta + i, n), tilt = load_some(slope + i, n), shift = load_some(offset + i, n);
    RESNEXT_UNROLL
    for (int r = 0; r < R; ++r) {
      const std::ptrdiff_t at = (row + r) * c + i;
      const Vec centred = load_some(x + at, n) - mean;
      const Vec g = norm_gradient(task, y, dy, dy2, at, centred, scale, beta, n);
      const Vec v = fma(scale, g, fma(tilt, centred, shift));
      if (task.past_caches) {
        store_past_caches(dx + at, v);
      } else {
        store_some(dx + at, v, n);
      }
    }
  });
  if (task.past_caches) finish_stores();
}
