// The vector of one target: included by for_each_target-inl.h inside that target's region and namespace, never
// directly. Vec supports + - * / and unary minus of its own (a compiler's vector type on every target); everything else
// is here. `n` counts lanes from the first: a partial load fills the rest with zeros and reads nothing beyond, a
// partial store writes nothing beyond.

inline constexpr int lanes = RESNEXT_LANES;  ///< floats in a Vec

#if RESNEXT_LANES == 16

using Vec = __m512;
using Mask = __mmask16;

RESNEXT_INLINE Mask first(int n) { return static_cast<Mask>((1u << n) - 1u); }
RESNEXT_INLINE Vec zero() { return _mm512_setzero_ps(); }
RESNEXT_INLINE Vec set1(float value) { return _mm512_set1_ps(value); }
RESNEXT_INLINE Vec load(const float* p) { return _mm512_loadu_ps(p); }
RESNEXT_INLINE Vec load(const float* p, int n) { return _mm512_maskz_loadu_ps(first(n), p); }
RESNEXT_INLINE void store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
RESNEXT_INLINE void store(float* p, Vec v, int n) { _mm512_mask_storeu_ps(p, first(n), v); }
RESNEXT_INLINE Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }  ///< a * b + c
RESNEXT_INLINE Vec sqrt(Vec v) { return _mm512_sqrt_ps(v); }
RESNEXT_INLINE Mask greater(Vec a, Vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
RESNEXT_INLINE Mask above(Vec v, int bits) {
  return _mm512_cmpgt_epi32_mask(_mm512_castps_si512(v), _mm512_set1_epi32(bits));
}  ///< of v's bits as an integer
RESNEXT_INLINE Mask equal(Vec v, int bits) {
  return _mm512_cmpeq_epi32_mask(_mm512_castps_si512(v), _mm512_set1_epi32(bits));
}
RESNEXT_INLINE Vec magnitude(Vec v) {
  return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(0x7FFFFFFF)));
}
RESNEXT_INLINE Mask none() { return 0; }
RESNEXT_INLINE Mask either(Mask a, Mask b) { return static_cast<Mask>(a | b); }
RESNEXT_INLINE Mask without(Mask a, Mask b) { return static_cast<Mask>(a & ~b); }
RESNEXT_INLINE bool any(Mask m) { return m != 0; }
RESNEXT_INLINE Vec select(Mask m, Vec yes, Vec no) { return _mm512_mask_blend_ps(m, no, yes); }
RESNEXT_INLINE Vec keep(Mask m, Vec v) { return _mm512_maskz_mov_ps(m, v); }
RESNEXT_INLINE float sum(Vec v) { return _mm512_reduce_add_ps(v); }

#elif RESNEXT_LANES == 8

using Vec = __m256;
using Mask = __m256;  // all bits of a lane, or none

RESNEXT_INLINE __m256i first(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
RESNEXT_INLINE Vec zero() { return _mm256_setzero_ps(); }
RESNEXT_INLINE Vec set1(float value) { return _mm256_set1_ps(value); }
RESNEXT_INLINE Vec load(const float* p) { return _mm256_loadu_ps(p); }
RESNEXT_INLINE Vec load(const float* p, int n) { return _mm256_maskload_ps(p, first(n)); }
RESNEXT_INLINE void store(float* p, Vec v) { _mm256_storeu_ps(p, v); }
RESNEXT_INLINE void store(float* p, Vec v, int n) {  // in halves: a masked store is microcode on Zen
  __m128 part = _mm256_castps256_ps128(v);
  if (n == 8) return _mm256_storeu_ps(p, v);
  if (n & 4) {
    _mm_storeu_ps(p, part);
    part = _mm256_extractf128_ps(v, 1);
    p += 4;
  }
  if (n & 2) {
    _mm_storel_pi(reinterpret_cast<__m64*>(p), part);
    part = _mm_movehl_ps(part, part);
    p += 2;
  }
  if (n & 1) _mm_store_ss(p, part);
}
RESNEXT_INLINE Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
RESNEXT_INLINE Vec sqrt(Vec v) { return _mm256_sqrt_ps(v); }
RESNEXT_INLINE Mask greater(Vec a, Vec b) { return _mm256_cmp_ps(a, b, _CMP_GT_OQ); }
RESNEXT_INLINE Mask above(Vec v, int bits) {
  return _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_castps_si256(v), _mm256_set1_epi32(bits)));
}
RESNEXT_INLINE Mask equal(Vec v, int bits) {
  return _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_castps_si256(v), _mm256_set1_epi32(bits)));
}
RESNEXT_INLINE Vec magnitude(Vec v) {
  return _mm256_castsi256_ps(_mm256_and_si256(_mm256_castps_si256(v), _mm256_set1_epi32(0x7FFFFFFF)));
}
RESNEXT_INLINE Mask none() { return _mm256_setzero_ps(); }
RESNEXT_INLINE Mask either(Mask a, Mask b) { return _mm256_or_ps(a, b); }
RESNEXT_INLINE Mask without(Mask a, Mask b) { return _mm256_andnot_ps(b, a); }
RESNEXT_INLINE bool any(Mask m) { return _mm256_movemask_ps(m) != 0; }
RESNEXT_INLINE Vec select(Mask m, Vec yes, Vec no) { return _mm256_blendv_ps(no, yes, m); }
RESNEXT_INLINE Vec keep(Mask m, Vec v) { return _mm256_and_ps(m, v); }
RESNEXT_INLINE float sum(Vec v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

#else

typedef float Vec __attribute__((vector_size(16)));
typedef int Mask __attribute__((vector_size(16)));  // all bits of a lane, or none

RESNEXT_INLINE Vec zero() { return Vec{}; }
RESNEXT_INLINE Vec set1(float value) { return Vec{value, value, value, value}; }
RESNEXT_INLINE Vec load(const float* p) {
  Vec v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
RESNEXT_INLINE Vec load(const float* p, int n) {
  return Vec{n > 0 ? p[0] : 0, n > 1 ? p[1] : 0, n > 2 ? p[2] : 0, n > 3 ? p[3] : 0};
}
RESNEXT_INLINE void store(float* p, Vec v) { __builtin_memcpy(p, &v, sizeof v); }
RESNEXT_INLINE void store(float* p, Vec v, int n) {
  if (n == 4) return store(p, v);
  for (int i = 0; i < n; ++i) p[i] = v[i];
}
RESNEXT_INLINE Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }
RESNEXT_INLINE Mask greater(Vec a, Vec b) { return a > b; }
RESNEXT_INLINE Mask above(Vec v, int bits) { return (Mask)v > Mask{bits, bits, bits, bits}; }
RESNEXT_INLINE Mask equal(Vec v, int bits) { return (Mask)v == Mask{bits, bits, bits, bits}; }
RESNEXT_INLINE Vec magnitude(Vec v) { return (Vec)((Mask)v & 0x7FFFFFFF); }
RESNEXT_INLINE Mask none() { return Mask{}; }
RESNEXT_INLINE Mask either(Mask a, Mask b) { return a | b; }
RESNEXT_INLINE Mask without(Mask a, Mask b) { return a & ~b; }
RESNEXT_INLINE bool any(Mask m) { return (m[0] | m[1] | m[2] | m[3]) != 0; }
RESNEXT_INLINE Vec select(Mask m, Vec yes, Vec no) { return (Vec)((m & (Mask)yes) | (~m & (Mask)no)); }
RESNEXT_INLINE Vec keep(Mask m, Vec v) { return (Vec)(m & (Mask)v); }
RESNEXT_INLINE Vec sqrt(Vec v) {
  return Vec{__builtin_sqrtf(v[0]), __builtin_sqrtf(v[1]), __builtin_sqrtf(v[2]), __builtin_sqrtf(v[3])};
}
RESNEXT_INLINE float sum(Vec v) { return (v[0] + v[1]) + (v[2] + v[3]); }

#endif

// What is not a number is told by bits, as integers with a sign: a consumer's -ffast-math lets the compiler take a
// comparison of floats for one without NaN. Negative numbers are the integers up to the bits of minus infinity, and
// negative NaNs those between them and -1.
inline constexpr int infinity = 0x7F800000;
inline constexpr int minus_infinity = infinity - 0x7FFFFFFF - 1;

RESNEXT_INLINE Mask is_nan(Vec v) { return above(magnitude(v), infinity); }
RESNEXT_INLINE Mask is_not_finite(Vec v) { return above(magnitude(v), infinity - 1); }
/// Rectified v; a NaN stays a NaN, and zeros are positive.
RESNEXT_INLINE Vec relu(Vec v) { return keep(above(v, minus_infinity), v); }
/// The gradient of relu(y) where that of its result is g: zero where y is at most zero; a NaN lets it pass.
RESNEXT_INLINE Vec relu_gradient(Vec y, Vec g) { return keep(without(above(y, minus_infinity), equal(y, 0)), g); }
/// Brings the cache line of p towards the second-level cache.
RESNEXT_INLINE void prefetch(const void* p) { __builtin_prefetch(p, 0, 2); }

/// Calls step(i, n) for every vector of [0, size): n lanes are in use, and only the last vector is partial.
template <class Step>
RESNEXT_INLINE void for_each_vector(std::ptrdiff_t size, const Step& step) {
  std::ptrdiff_t i = 0;
  for (; i + lanes <= size; i += lanes) step(i, lanes);
  if (i < size) step(i, static_cast<int>(size - i));
}
RESNEXT_INLINE Vec load_some(const float* p, int n) { return n == lanes ? load(p) : load(p, n); }
RESNEXT_INLINE void store_some(float* p, Vec v, int n) {
  if (n == lanes) {
    store(p, v);
  } else {
    store(p, v, n);
  }
}
