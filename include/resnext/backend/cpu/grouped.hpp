/// @file
/// The grouped 3x3 convolution of the paper's Fig. 3(c), the one operator that makes a ResNeXt: own kernels, because
/// libraries that learn the group width at run time lose a factor of two to six at narrow groups.
#pragma once

#include <cstddef>
#include <utility>

#include <resnext/backend/check_shapes.hpp>
#include <resnext/backend/cpu/grouped_rows.hpp>
#include <resnext/backend/cpu/grouped_sums.hpp>
#include <resnext/backend/cpu/grouped_tasks.hpp>
#include <resnext/backend/cpu/isa.hpp>
#include <resnext/backend/cpu/parallel.hpp>
#include <resnext/error.hpp>

#define RESNEXT_KERNELS <resnext/backend/cpu/grouped-inl.h>
#include <resnext/backend/cpu/for_each_target-inl.h>

namespace resnext {
namespace detail {

inline void check(const GroupedShape& s, int d) {
  if (s.n < 1 || s.h < 1 || s.w < 1 || s.channels < d || s.channels % d != 0 || (s.stride != 1 && s.stride != 2)) {
    throw_error<ShapeError>("grouped convolution: expected positive extents, channels in groups of ", d,
                            " and stride 1 or 2, found [", s.n, ", ", s.h, ", ", s.w, ", ", s.channels, "] and stride ",
                            s.stride);
  }
  check_extents("grouped convolution", {{"n", s.n}, {"h", s.h}, {"w", s.w}, {"channels", s.channels}});
  check_map("grouped convolution", s.n, s.h, s.w, s.channels);
  check_map("grouped convolution", s.n, s.channels, 1, 1);  // units of work are at most blocks of all images
}

/// Calls run(begin, end, part) with an even share of the units for every part.
template <class Run>
void run_parallel(long long units, int parts, const Run& run) {
  parallel_for(parts,
               [&](int t) { run(static_cast<int>(units * t / parts), static_cast<int>(units * (t + 1) / parts), t); });
}

inline void run_parallel(const GroupedRows& work) {
  run_parallel(work.units(), thread_count(), [&](int begin, int end, int) { work.run(begin, end); });
}

template <int d, Pass pass>
GroupedRows::Choose choose_rows([[maybe_unused]] Isa isa) {
#if defined(__x86_64__) || defined(__i386__)
  if (isa == Isa::avx512) return avx512::row_kernel<d, pass>;
  if (isa == Isa::avx2) return avx2::row_kernel<d, pass>;
#endif
  return portable::row_kernel<d, pass>;
}

template <int d>
SumsKernels choose_sums([[maybe_unused]] Isa isa, int stride) {
#if defined(__x86_64__) || defined(__i386__)
  if (isa == Isa::avx512) return avx512::sums_kernels<d>(stride);
  if (isa == Isa::avx2) return avx2::sums_kernels<d>(stride);
#endif
  return portable::sums_kernels<d>(stride);
}

}  // namespace detail

/// The grouped 3x3 convolution with groups of `d` channels, fp32, NHWC, padding 1, stride 1 or 2 (Sec. 3 of the paper).
///
/// Weights are torchvision's [C * d, d, 3, 3] and are packed once for one instruction set; the same `isa` must be given
/// to the call that uses them. All outputs are assigned. No call allocates. Rounding does not depend on the number of
/// threads. Calls throw ShapeError for impossible extents.
template <int d>
struct GroupedConvolution {
  static_assert(d >= 1);

  /// Floats of packed weights for `channels` = C * d channels.
  static std::size_t packed_size(int channels, Isa isa = resnext::isa()) {
    return blocking(channels, isa).packed_size();
  }

  /// Packs weights [channels, d, 3, 3] for `forward`.
  static void pack_forward(const float* weights, int channels, float* packed, Isa isa = resnext::isa()) {
    detail::pack_grouped(weights, blocking(channels, isa), false, false, packed);
  }

  /// The forward pass as work for an existing parallel region: `run(begin, end)` of ranges that cover [0, units()).
  static detail::GroupedRows forward_work(const GroupedShape& shape, const float* x, const float* packed,
                                          const float* bias, bool relu, float* y, Isa isa = resnext::isa()) {
    detail::check(shape, d);
    isa = detail::fitting(isa, shape.channels, d);
    return {shape,
            blocking(shape.channels, isa),
            false,
            x,
            packed,
            bias,
            relu,
            y,
            shape.stride == 1 ? detail::choose_rows<d, detail::Pass::stride1>(isa)
                              : detail::choose_rows<d, detail::Pass::stride2>(isa)};
  }

  /// y [n, out_h, out_w, channels] = x [n, h, w, channels] * weights + bias [channels] (may be null), rectified if
  /// `relu`.
  static void forward(const GroupedShape& shape, const float* x, const float* packed, const float* bias, bool relu,
                      float* y, Isa isa = resnext::isa()) {
    detail::run_parallel(forward_work(shape, x, packed, bias, relu, y, isa));
  }

  /// Packs weights [channels, d, 3, 3] for `backward_data` of a convolution of this stride.
  static void pack_backward_data(const float* weights, int channels, int stride, float* packed,
                                 Isa isa = resnext::isa()) {
    detail::pack_grouped(weights, blocking(channels, isa), true, stride == 1, packed);
  }

  /// dx [n, h, w, channels] from dy [n, out_h, out_w, channels]; `shape` is that of the forward pass.
  static void backward_data(const GroupedShape& shape, const float* dy, const float* packed, float* dx,
                            Isa isa = resnext::isa()) {
    detail::check(shape, d);
    isa = detail::fitting(isa, shape.channels, d);
    detail::run_parallel(detail::GroupedRows(shape, blocking(shape.channels, isa), true, dy, packed, nullptr, false, dx,
                                             shape.stride == 1
                                                 ? detail::choose_rows<d, detail::Pass::stride1>(isa)
                                                 : detail::choose_rows<d, detail::Pass::transposed2>(isa)));
  }

  /// Floats of scratch that `backward_weights` needs for work in `parts`, one for a thread.
  static std::size_t scratch_size(const GroupedShape& shape, Isa isa = resnext::isa(), int parts = thread_count()) {
    const detail::Blocking cut = blocking(shape.channels, isa);
    return cut.packed_size() + static_cast<unsigned>(parts) * detail::GroupedSums::buffer_floats(shape, cut);
  }

  /// dw [channels, d, 3, 3] = sum over the batch of x [n, h, w, channels] times dy [n, out_h, out_w, channels].
  /// `scratch` has scratch_size(shape, isa, parts) floats, of the same parts; its content does not matter.
  static void backward_weights(const GroupedShape& shape, const float* x, const float* dy, float* dw, float* scratch,
                               Isa isa = resnext::isa(), int parts = thread_count()) {
    detail::check(shape, d);
    isa = detail::fitting(isa, shape.channels, d);
    const detail::Blocking cut = blocking(shape.channels, isa);
    const std::size_t buffer = detail::GroupedSums::buffer_floats(shape, cut);
    const detail::GroupedSums work(shape, cut, x, dy, scratch, detail::choose_sums<d>(isa, shape.stride));
    detail::run_parallel(work.units(), parts, [&](int begin, int end, int part) {
      work.run(begin, end, scratch + cut.packed_size() + static_cast<unsigned>(part) * buffer);
    });
    detail::run_parallel(cut.blocks, parts, [&](int begin, int end, int) { work.unpack(begin, end, dw); });
  }

 private:
  static detail::Blocking blocking(int channels, Isa isa) { return {channels, d, detail::fitting(isa, channels, d)}; }
};

}  // namespace resnext
