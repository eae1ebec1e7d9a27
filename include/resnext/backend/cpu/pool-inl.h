// Kernels of pooling, compiled for every target by for_each_target-inl.h; called by pool.hpp.

/// The larger of v and best, where a NaN is larger than any number; true in `taken` where it is v.
RESNEXT_INLINE Vec larger(Vec v, Vec best, Mask& taken) {
  taken = either(without(greater(v, best), is_nan(best)), is_nan(v));
  return select(taken, v, best);
}

/// One pixel of outputs: the largest of the window's taps [0, taps) and, if `indices` is given, which it was.
inline void max_pool(const PoolTap* tap, int taps, float* y, unsigned char* indices, int c) {
  for_each_vector(c, [&](std::ptrdiff_t i, int n) RESNEXT_INLINED {
    Vec best = load_some(tap[0].x + i, n), index = set1(tap[0].index);
    for (int t = 1; t < taps; ++t) {
      Mask taken;
      best = larger(load_some(tap[t].x + i, n), best, taken);
      index = select(taken, set1(tap[t].index), index);
    }
    store_some(y + i, best, n);
    if (indices == nullptr) return;
#if RESNEXT_LANES == 16
    _mm512_mask_cvtepi32_storeu_epi8(indices + i, first(n), _mm512_cvttps_epi32(index));
#else
    float values[lanes];
    store(values, index);
    for (int l = 0; l < n; ++l) indices[i + l] = static_cast<unsigned char>(values[l]);
#endif
  });
}

/// One pixel of dx: the sum of the gradients of those windows that chose it.
inline void max_pool_backward(const PoolReader* reader, int readers, float* dx, int c) {
  for_each_vector(c, [&](std::ptrdiff_t i, int n) RESNEXT_INLINED {
    Vec sum = zero();
    for (int r = 0; r < readers; ++r) {
      const Vec dy = load_some(reader[r].dy + i, n);
#if RESNEXT_LANES == 16
      const __m512i index = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(first(n), reader[r].indices + i));
      sum = _mm512_mask_add_ps(sum, _mm512_cmpeq_epi32_mask(index, _mm512_set1_epi32(reader[r].index)), sum, dy);
#else
      float chosen[lanes] = {};
      for (int l = 0; l < n; ++l) chosen[l] = reader[r].indices[i + l] == reader[r].index ? 1.0f : 0.0f;
      sum = sum + select(greater(load(chosen), zero()), dy, zero());
#endif
    }
    store_some(dx + i, sum, n);
  });
}

/// y = scale * (the sum of `pixels` pixels of c channels).
inline void average_pool(const float* x, std::ptrdiff_t pixels, int c, float scale, float* y) {
  for_each_vector(c, [&](std::ptrdiff_t i, int n) RESNEXT_INLINED {
    Vec sum = zero();
    for (std::ptrdiff_t pixel = 0; pixel < pixels; ++pixel) sum = sum + load_some(x + pixel * c + i, n);
    store_some(y + i, sum * set1(scale), n);
  });
}

/// dx of every pixel = scale * dy.
inline void average_pool_backward(const float* dy, std::ptrdiff_t pixels, int c, float scale, float* dx) {
  for (std::ptrdiff_t pixel = 0; pixel < pixels; ++pixel, dx += c) {
    for_each_vector(
        c, [&](std::ptrdiff_t i, int n) RESNEXT_INLINED { store_some(dx + i, set1(scale) * load_some(dy + i, n), n); });
  }
}
