/// @file
/// What works on each element alone: addition, ReLU, scale and shift, the optimizer's step.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include <resnext/backend/backend.hpp>
#include <resnext/backend/check_shapes.hpp>
#include <resnext/backend/cpu/isa.hpp>
#include <resnext/backend/cpu/parallel.hpp>
#include <resnext/backend/host/stream.hpp>
#include <resnext/backend/host/update.hpp>
#include <resnext/tensor/number.hpp>

namespace resnext::detail {

/// The numbers of one optimizer step.
struct SgdTask {
  float rate, scale, decay, momentum;
  bool nesterov;
};

}  // namespace resnext::detail

#define RESNEXT_KERNELS <resnext/backend/cpu/pointwise-inl.h>
#include <resnext/backend/cpu/for_each_target-inl.h>

#include <resnext/backend/cpu/call-inl.h>

namespace resnext::detail {

/// Cuts [0, size) into a run for each thread, in multiples of `grain`, and calls `f(begin, end)`; small work is not
/// cut.
template <class F>
void parallel_runs(std::int64_t size, std::int64_t least, std::int64_t grain, const F& f) {
  const int parts =
      static_cast<int>(std::clamp<std::int64_t>(size / std::max<std::int64_t>(least, 1), 1, thread_count()));
  const std::int64_t part = ((size + parts - 1) / parts + grain - 1) / grain * grain;
  parallel_for(parts, [&](int t) {
    const std::int64_t begin = std::min(size, t * part);
    const std::int64_t end = std::min(size, begin + part);
    if (begin < end) f(begin, end);
  });
}

/// Floats of a cache line, which two threads should not write.
inline constexpr std::int64_t cache_line = 16;
/// Floats below which a second thread costs more than it brings.
inline constexpr std::int64_t least_run = 16 * 1024;

/// y = x + other (may be null), rectified if asked.
inline void pointwise(const float* x, const float* other, float* y, std::int64_t size, bool relu) {
  parallel_runs(size, least_run, cache_line, [&](std::int64_t begin, std::int64_t end) {
    RESNEXT_CALL(pointwise, x + begin, other == nullptr ? nullptr : other + begin, y + begin, end - begin, relu);
  });
}

/// True if no value is infinite or not a number.
inline bool all_finite(const float* x, std::int64_t size) {
  std::atomic<bool> finite{true};
  parallel_runs(size, least_run, cache_line, [&](std::int64_t begin, std::int64_t end) {
    if (!RESNEXT_CALL(all_finite, x + begin, end - begin)) finite.store(false, std::memory_order_relaxed);
  });
  return finite.load(std::memory_order_relaxed);
}

/// One pass over the parameters.
struct CpuSgd {
  static void step(const SgdStep& step, std::int64_t size, float* weights, const float* gradient, float* velocity) {
    const SgdTask task{static_cast<float>(step.rate), static_cast<float>(step.scale), static_cast<float>(step.decay),
                       static_cast<float>(step.momentum), step.nesterov};
    parallel_runs(size, least_run, cache_line, [&](std::int64_t begin, std::int64_t end) {
      RESNEXT_CALL(sgd, task, weights + begin, gradient + begin, velocity + begin, end - begin);
    });
  }
  /// Memory is what it waits for, on every instruction set.
  static void average(double decay, std::int64_t size, const float* x, float* average) {
    const auto take = static_cast<float>(1 - decay);
    parallel_runs(size, least_run, cache_line, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) average[i] += take * (x[i] - average[i]);
    });
  }
  /// In double, cut alike for any number of threads, which so get the same bits.
  template <class Number>
  static double sum_of_squares(const Number* x, std::int64_t size) {
    constexpr int parts = 64;
    std::array<double, parts> sums;
    parallel_for(parts, [&](int i) {
      double sum = 0;
      for (std::int64_t at = size * i / parts; at < size * (i + 1) / parts; ++at) sum += double{x[at]} * x[at];
      sums[static_cast<std::size_t>(i)] = sum;
    });
    double sum = 0;
    for (const double part : sums) sum += part;
    return sum;
  }
};

/// y = x scale + shift for every channel, then ReLU if asked: a batch norm of fixed statistics.
class CpuScaleShift {
 public:
  CpuScaleShift(const MapShape& shape, bool relu) : shape_(shape), relu_(relu) {
    check_shape(shape, "scale and shift");
  }

  void run(HostStream&, const float* x, const float* scale, const float* shift, float* y) const {
    const std::int64_t c = shape_.c;
    parallel_runs(shape_.size() / c, least_run / c, 1, [&](std::int64_t begin, std::int64_t end) {
      RESNEXT_CALL(scale_shift, x + begin * c, scale, shift, y + begin * c, end - begin, shape_.c, relu_);
    });
  }

 private:
  MapShape shape_;
  bool relu_;
};

/// Addition and/or ReLU. Where the sum is exactly zero the gradient of ReLU is zero; where it is not a number the
/// gradient passes, as in torch.nn.ReLU.
class CpuPointwise {
 public:
  CpuPointwise(const MapShape& shape, bool add, bool relu) : add_(add), relu_(relu) {
    check_shape(shape, "addition or ReLU");
    size_ = shape.size();
  }

  void forward(HostStream&, const float* x, const float* other, float* y) const {
    pointwise(x, add_ ? other : nullptr, y, size_, relu_);
  }

  void backward(HostStream&, const float* y, const float* dy, float* dx) const {
    if (!relu_) {
      if (dx != dy) pointwise(dy, nullptr, dx, size_, false);
      return;
    }
    parallel_runs(size_, least_run, cache_line, [&](std::int64_t begin, std::int64_t end) {
      RESNEXT_CALL(rectify_backward, y + begin, dy + begin, dx + begin, end - begin);
    });
  }

 private:
  std::int64_t size_ = 0;
  bool add_, relu_;
};

}  // namespace resnext::detail

#undef RESNEXT_CALL
