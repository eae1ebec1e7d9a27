// Kernels of the grouped 3x3 convolution, compiled for every target by for_each_target-inl.h; called by grouped.hpp.
//
// Maps are NHWC and are read in place: no padded copy, no scratch. Only the first and the last column that a tile reads
// can lie in the padding; they are redirected to a row of zeros. Padding rows are left out.
//
// Input channel j of each group reaches the lanes of its group in one of two ways:
// - several groups in a vector (d <= lanes / 2): one load brings a pixel of all of them, a permutation spreads channel
// j;
// - one group over one or more vectors: channel j is broadcast from memory.

template <int d>
inline constexpr bool spreads = d <= lanes / 2;

/// True if all vectors of a block are full, whatever the number of channels.
template <int d>
inline constexpr bool full = block_channels(d, lanes) % lanes == 0 && (lanes > 4 || d >= 4);

template <int d>
alignas(64) inline constexpr float zeros[d < 16 ? 16 : d] = {};

#if RESNEXT_LANES > 4
struct SpreadIndex {
  int lane[lanes];
};
template <int d, int j>
alignas(64) inline constexpr SpreadIndex spread_index = [] {
  SpreadIndex index{};
  for (int l = 0; l < lanes; ++l) index.lane[l] = l < block_channels(d, lanes) ? l / d * d + j : l;
  return index;
}();
#endif

/// Lane l becomes lane l / d * d + j: channel j of its group.
template <int d, int j>
RESNEXT_INLINE Vec spread(Vec v) {
  static_assert(spreads<d> && j < d);
  if constexpr (d == 1) {
    return v;
#if RESNEXT_LANES == 16
  } else if constexpr (d == 2) {
    return _mm512_permute_ps(v, j * 0x55 | 0xA0);
  } else if constexpr (d == 4) {
    return _mm512_permute_ps(v, j * 0x55);
  } else if constexpr (d == 8) {  // two cheap permutations, of which four channels share the first
    constexpr int quad = j / 4;
    constexpr int quads = quad | quad << 2 | (2 + quad) << 4 | (2 + quad) << 6;
    return _mm512_permute_ps(_mm512_shuffle_f32x4(v, v, quads), j % 4 * 0x55);
  } else {
    return _mm512_permutexvar_ps(_mm512_load_si512(&spread_index<d, j>), v);
#elif RESNEXT_LANES == 8
  } else if constexpr (d == 2) {
    return _mm256_permute_ps(v, j * 0x55 | 0xA0);
  } else if constexpr (d == 4) {
    return _mm256_permute_ps(v, j * 0x55);
  } else {
    return _mm256_permutevar8x32_ps(v, _mm256_load_si256(reinterpret_cast<const __m256i*>(&spread_index<d, j>)));
#else
  } else {
    return __builtin_shufflevector(v, v, j, j, 2 + j, 2 + j);
#endif
  }
}

template <int d, int j0, int... j>
RESNEXT_INLINE void spread_some(Vec source, Vec* channel, std::integer_sequence<int, j...>) {
  ((channel[j] = spread<d, j0 + j>(source)), ...);
}

// ---- forward and backward data: a row of outputs of one block ----

/// Accumulator that input column t of a tile feeds through kernel column kw; out of range if it feeds none.
constexpr int fed(Pass pass, int t, int kw) {
  if (pass == Pass::stride1) return t - kw;
  if (pass == Pass::stride2) return (t - kw) % 2 == 0 ? (t - kw) / 2 : -1;
  return 2 * t + kw - 1;
}

/// Input columns that a tile of T outputs reads.
constexpr int columns(Pass pass, int T) {
  return pass == Pass::stride1 ? T + 2 : pass == Pass::stride2 ? 2 * T + 1 : T / 2 + 1;
}

/// Where the input columns of a tile are.
struct Columns {
  const float* left;   // column 0, perhaps padding
  const float* inner;  // column 1, the others follow
  const float* right;  // the last column, perhaps padding
  std::ptrdiff_t pixel;
};

template <int d, Pass pass, int T, int j0 = 0>
RESNEXT_INLINE void add_spread(const Columns& in, int tail, const float* weights, Vec (&acc)[T][1]) {
  constexpr int last = columns(pass, T) - 1;
  constexpr int most = lanes == 16 ? 4 : 1;  // channels whose weights the registers hold beside the accumulators
  constexpr int J = d - j0 < most ? d - j0 : most;
  Vec weight[J][3];
  RESNEXT_UNROLL
  for (int i = 0; i < J * 3; ++i) weight[i / 3][i % 3] = load(weights + (j0 * 3 + i) * lanes);
  RESNEXT_UNROLL
  for (int t = 0; t <= last; ++t) {
    const float* from = t == 0 ? in.left : t == last ? in.right : in.inner + (t - 1) * in.pixel;
    Vec channel[J];
    spread_some<d, j0>(full<d> ? load(from) : load(from, tail), channel, std::make_integer_sequence<int, J>());
    RESNEXT_UNROLL
    for (int i = 0; i < J * 3; ++i) {
      const int a = fed(pass, t, i % 3);
      if (a >= 0 && a < T) acc[a][0] = fma(channel[i / 3], weight[i / 3][i % 3], acc[a][0]);
    }
  }
  if constexpr (j0 + J < d) add_spread<d, pass, T, j0 + J>(in, tail, weights, acc);
}

template <int d, Pass pass, int T, int NV>
RESNEXT_INLINE void add_broadcast(const Columns& in, const float* weights, Vec (&acc)[T][NV]) {
  constexpr int last = columns(pass, T) - 1;
  for (int j = 0; j < d; ++j) {
    Vec weight[3][NV];
    RESNEXT_UNROLL
    for (int i = 0; i < 3 * NV; ++i) weight[i / NV][i % NV] = load(weights + (j * 3 * NV + i) * lanes);
    RESNEXT_UNROLL
    for (int t = 0; t <= last; ++t) {
      const float* from = t == 0 ? in.left : t == last ? in.right : in.inner + (t - 1) * in.pixel;
      const Vec channel = set1(from[j]);
      RESNEXT_UNROLL
      for (int i = 0; i < 3 * NV; ++i) {
        const int a = fed(pass, t, i / NV);
        if (a >= 0 && a < T) acc[a][i % NV] = fma(channel, weight[i / NV][i % NV], acc[a][i % NV]);
      }
    }
  }
}

/// T outputs of a row from column x0 on. Every input pixel is spread once for the three kernel columns it meets.
template <int d, Pass pass, int T, int NV>
RESNEXT_INLINE void tile(const RowTask& task, int x0) {
  constexpr int last = columns(pass, T) - 1;
  const std::ptrdiff_t pixel = task.channels;
  const int column = pass == Pass::stride1 ? x0 - 1 : pass == Pass::stride2 ? 2 * x0 - 1 : x0 / 2;
  Vec acc[T][NV];
  RESNEXT_UNROLL
  for (int v = 0; v < NV; ++v) {
    const float* const bias = task.bias == nullptr ? nullptr : task.bias + v * lanes;
    const Vec start = bias == nullptr ? zero() : full<d> || v < NV - 1 ? load(bias) : load(bias, task.tail);
    RESNEXT_UNROLL
    for (int t = 0; t < T; ++t) acc[t][v] = start;
  }
  for (int tap = 0; tap < task.taps; ++tap) {
    const float* inner = task.in[tap] + (column + 1) * pixel;
    const Columns in{column < 0 ? zeros<d> : inner - pixel, inner,
                     column + last >= task.in_width ? zeros<d> : inner + (last - 1) * pixel, pixel};
    if constexpr (spreads<d>) {
      add_spread<d, pass, T>(in, task.tail, task.weights[tap], acc);
    } else {
      add_broadcast<d, pass, T, NV>(in, task.weights[tap], acc);
    }
  }
  const int stored = pass == Pass::transposed2 && task.out_width - x0 < T ? T - 1 : T;
  RESNEXT_UNROLL
  for (int t = 0; t < T; ++t) {
    if (t == T - 1 && t == stored) break;
    RESNEXT_UNROLL
    for (int v = 0; v < NV; ++v) {
      float* to = task.out + (x0 + t) * pixel + v * lanes;
      const Vec result = task.relu ? relu(acc[t][v]) : acc[t][v];
      if (full<d> || v < NV - 1) {
        store(to, result);
      } else {
        store(to, result, task.tail);
      }
    }
  }
}

/// A whole row in tiles of T; the last tile is moved back over the one before it, so that all of them are full.
template <int d, Pass pass, int T, int NV>
void row(const RowTask& task) {
  const int width = pass == Pass::transposed2 ? (task.out_width + 1) / 2 * 2 : task.out_width;
  const float* ahead = task.ahead;
  const int tiles = (width + T - 1) / T, share = (task.ahead_pixels + tiles - 1) / tiles;
  for (int x = 0; x < width; x += T) {
    for (int i = 0; i < share; ++i, ahead += task.channels) prefetch(ahead);
    tile<d, pass, T, NV>(task, x < width - T ? x : width - T);
  }
}

/// The next tile below T that NV vectors leave registers for, 0 if there is none. Transposed tiles are pairs of
/// columns.
constexpr int narrower(Pass pass, int T, int NV) {
  constexpr int sizes[] = {14, 12, 10, 8, 7, 4, 2, 1};
  const int most = lanes == 16 ? (NV == 1 ? 14 : NV == 2 ? 12 : 8) : lanes == 8 ? (NV == 1 ? 10 : 4) : 7;
  for (const int size : sizes) {
    if (size < T && size <= most && (pass == Pass::transposed2 ? size % 2 == 0 : size != 2)) return size;
  }
  return 0;
}

/// The row kernel with the tile that wastes least on a row of `width` outputs, and what it costs.
template <int d, Pass pass, int NV, int T = narrower(pass, 99, NV)>
RowKernel row_kernel(int width, int& cost) {
  const int padded = pass == Pass::transposed2 ? (width + 1) / 2 * 2 : width;
  const int busy = T * NV < 8 ? 8 : T * NV;  // fewer chains than 8 wait for the latency of the FMA
  cost = T > padded ? 1 << 30 : (padded + T - 1) / T * (busy + 2);
  RowKernel best = row<d, pass, T, NV>;
  if constexpr (constexpr int next = narrower(pass, T, NV); next != 0) {
    int other = 0;
    const RowKernel kernel = row_kernel<d, pass, NV, next>(width, other);
    if (other < cost) {
      cost = other;
      best = kernel;
    }
  }
  return best;
}

/// The kernel for rows of `width` outputs and `vectors` (1, 2 or 3, see `chunk`) vectors of outputs.
template <int d, Pass pass>
RowKernel row_kernel(int vectors, int width) {
  constexpr int V = (block_channels(d, lanes) + lanes - 1) / lanes;
  constexpr int first = chunk(lanes, V), last = final_chunk(lanes, V);
  int cost = 0;
  if constexpr (first != last) {
    if (vectors == last) return row_kernel<d, pass, last>(width, cost);
  }
  return row_kernel<d, pass, first>(width, cost);
}

// ---- backward weights: sums of one kernel row over a strip of rows ----

/// A gradient and the kernel column through which a pixel of inputs met it.
struct TileProduct {
  int kw;
  Vec dy;
};

/// sum[j][kw] += channel j0 + j of pixel x * dy for some kw, one channel after the other to need few registers.
template <int d, int j0, int J, int... j, class... Products>
RESNEXT_INLINE void add_products(const float* x, int tail, Vec (&sum)[J][3], std::integer_sequence<int, j...>,
                                 const Products&... products) {
  const auto add = [&](int i, Vec channel) __attribute__((always_inline)) {
    ((sum[i][products.kw] = fma(channel, products.dy, sum[i][products.kw])), ...);
  };
  if constexpr (spreads<d>) {
    const Vec source = full<d> ? load(x) : load(x, tail);
    (add(j, spread<d, j0 + j>(source)), ...);
  } else {
    (add(j, set1(x[j])), ...);
  }
}

/// sums[j][kw] += dy * x[column kw away, j] over a strip of rows, for one kernel row, one vector of output channels and
/// input channels [j0, j0 + J) of each group. The 3 J sums stay in registers.
template <int d, int stride, int j0, int J>
void strip(const StripTask& task) {
  const std::ptrdiff_t pixel = task.pixel;
  const auto gradient = [&](const float* p) { return full<d> ? load(p) : load(p, task.tail); };
  Vec sum[J][3];
  RESNEXT_UNROLL
  for (int i = 0; i < J * 3; ++i) sum[i / 3][i % 3] = task.assign ? zero() : load(task.sums + i * lanes);
  const float* ahead = task.ahead;
  for (int i = 0; i < task.images * task.rows; ++i) {
    const int image = i / task.rows, y = i % task.rows;
    const float* x = task.x + image * task.x_image + y * task.x_row;
    const float* dy = task.dy + image * task.dy_image + y * task.dy_row;
    Vec before = zero(), here = gradient(dy);
    for (int o = 0; o < task.out_width; ++o) {
      dy += pixel;
      const Vec after = o + 1 < task.out_width ? gradient(dy) : zero();
      prefetch(ahead);
      ahead += task.ahead_pixel;
      if constexpr (stride == 1) {
        add_products<d, j0>(x, task.tail, sum, std::make_integer_sequence<int, J>(), TileProduct{0, after},
                            TileProduct{1, here}, TileProduct{2, before});
        x += pixel;
      } else {
        prefetch(ahead);
        ahead += task.ahead_pixel;
        add_products<d, j0>(x, task.tail, sum, std::make_integer_sequence<int, J>(), TileProduct{1, here});
        if (2 * o + 1 < task.in_width) {
          add_products<d, j0>(x + pixel, task.tail, sum, std::make_integer_sequence<int, J>(), TileProduct{0, after},
                              TileProduct{2, here});
        }
        x += 2 * pixel;
      }
      before = here;
      here = after;
    }
  }
  RESNEXT_UNROLL
  for (int i = 0; i < J * 3; ++i) store(task.sums + i * lanes, sum[i / 3][i % 3]);
}

/// Copies the channels of a block, see GatherKernel. A block of several groups is one vector.
template <int d>
void gather(const float* from, std::ptrdiff_t pixel, int pixels, float* to) {
  constexpr int width = block_channels(d, lanes), whole = width / lanes * lanes;
  for (; pixels > 0; --pixels, from += pixel, to += width) {
    for (int i = 0; i < whole; i += lanes) store(to + i, load(from + i));
    if constexpr (whole < width) store(to + whole, load(from + whole, width - whole), width - whole);
  }
}

template <int d>
SumsKernels sums_kernels(int stride) {
  constexpr int J = strip_channels(d, lanes), rest = d % J == 0 ? J : d % J;
  if (stride == 1) return {strip<d, 1, 0, J>, strip<d, 1, 0, rest>, gather<d>};
  return {strip<d, 2, 0, J>, strip<d, 2, 0, rest>, gather<d>};
}
