/// @file
/// Batch normalisation with the statistics of the batch, fused with the addition and the ReLU that follow it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>
#include <vector>

#include <resnext/backend/backend.hpp>
#include <resnext/backend/check_shapes.hpp>
#include <resnext/backend/cpu/pointwise.hpp>
#include <resnext/backend/host/stream.hpp>

namespace resnext::detail {

/// Constants of the channels of one ghost batch; scale is gamma / std.
struct NormTask {
  const float *mean, *scale, *beta;
  bool relu;
  bool past_caches;  ///< the output is larger than the caches, and aligned
};

}  // namespace resnext::detail

#define RESNEXT_KERNELS <resnext/backend/cpu/norm-inl.h>
#include <resnext/backend/cpu/for_each_target-inl.h>

#include <resnext/backend/cpu/call-inl.h>
#include <resnext/elementary.hpp>

namespace resnext::detail {

/// Train-mode batch normalisation (Ioffe & Szegedy 2015). It is bound by memory: forward reads x twice, backward reads
/// x and dy twice, and nothing is read for the ReLU unless another map was added.
///
/// Sums are taken around a pivot near the mean, in float over short runs of rows and in double over those, each thread
/// its own rows: bits depend on the number of threads only. `saved` is, for each ghost batch, the mean of every channel
/// and then 1 / sqrt(variance + epsilon).
class CpuBatchNorm {
 public:
  /// @throws ShapeError for an impossible shape or ghost batch, and for one value per channel.
  CpuBatchNorm(const MapShape& shape, const NormOptions& options, std::string_view path)
      : options_(options), channels_(shape.c), width_(static_cast<std::size_t>(shape.c)) {
    check_shape(shape, options, path);
    images_ = shape.n;
    pixels_ = std::int64_t{shape.h} * shape.w;
    parts_ = static_cast<int>(std::clamp<std::int64_t>(rows_of(0) * shape.c / least_run, 1, thread_count()));
    sums_.resize(2 * width_ * static_cast<std::size_t>(parts_));
    totals_.resize(4 * width_);
  }

  std::size_t saved_size() const { return 2 * width_ * groups() * sizeof(float); }
  /// Three constants of every channel, and two sums of every channel for each thread.
  std::size_t scratch_size() const { return (3 + 2 * static_cast<std::size_t>(parts_)) * width_ * sizeof(float); }

  void forward(HostStream&, const float* x, const float* other, const float* gamma, const float* beta,
               float* batch_mean, float* batch_variance, float* y, std::byte* saved_bytes, std::byte* scratch_bytes) {
    float* const saved = reinterpret_cast<float*>(saved_bytes);
    float* const scratch = reinterpret_cast<float*>(scratch_bytes);
    float* const pivot = scratch;
    float* const scale = scratch + width_;
    std::fill(totals_.begin(), totals_.end(), 0.0);
    for (std::size_t group = 0; group < groups(); ++group) {
      const std::int64_t all = rows_of(group), begin = static_cast<std::int64_t>(group) * rows_of(0) * channels_;
      const double count = static_cast<double>(all), share = count / static_cast<double>(images_ * pixels_);
      float* const mean = saved + 2 * group * width_;
      float* const inverse = mean + width_;
      find_pivot(x + begin, all, pivot);
      sum(all, scratch, [&](std::int64_t row, std::int64_t rows, float* first, float* second) {
        RESNEXT_CALL(norm_statistics, x + begin + row * channels_, pivot, rows, channels_, first, second);
      });
      for (std::size_t c = 0; c < width_; ++c) {
        const double shift = totals_[c] / count;
        const double squares = std::max(0.0, totals_[width_ + c] - shift * totals_[c]);
        mean[c] = static_cast<float>(pivot[c] + shift);
        inverse[c] = static_cast<float>(1 / detail::sqrt(squares / count + options_.epsilon));
        scale[c] = gamma[c] * inverse[c];
        totals_[2 * width_ + c] += share * (pivot[c] + shift);
        totals_[3 * width_ + c] += share * squares / (count - 1);
      }
      const NormTask task{mean, scale, beta, options_.relu, past_caches(y)};
      for_each_run_reversed(all, [&](std::int64_t row, std::int64_t rows) {
        const std::int64_t at = begin + row * channels_;
        RESNEXT_CALL(norm_forward, task, x + at, options_.add ? other + at : nullptr, y + at, rows, channels_);
      });
    }
    for (std::size_t c = 0; c < width_; ++c) {
      batch_mean[c] = static_cast<float>(totals_[2 * width_ + c]);
      batch_variance[c] = static_cast<float>(totals_[3 * width_ + c]);
    }
  }

  void backward(HostStream&, const float* x, const float* y, const float* dy, const float* dy2, const float* gamma,
                const float* beta, const std::byte* saved_bytes, float* dx, float* dother, float* dgamma, float* dbeta,
                std::byte* scratch_bytes) {
    const float* const saved = reinterpret_cast<const float*>(saved_bytes);
    float* const scratch = reinterpret_cast<float*>(scratch_bytes);
    float* const scale = scratch;
    float* const slope = scratch + width_;
    float* const offset = scratch + 2 * width_;
    std::fill(totals_.begin(), totals_.end(), 0.0);
    for (std::size_t group = 0; group < groups(); ++group) {
      const std::int64_t all = rows_of(group), begin = static_cast<std::int64_t>(group) * rows_of(0) * channels_;
      const double count = static_cast<double>(all);
      const float* const mean = saved + 2 * group * width_;
      const float* const inverse = mean + width_;
      for (std::size_t c = 0; c < width_; ++c) scale[c] = gamma[c] * inverse[c];
      const NormTask task{mean, scale, beta, options_.relu, false};
      const auto from = [&](const float* map, std::int64_t at) { return map == nullptr ? nullptr : map + at; };
      sum(all, scratch, [&](std::int64_t row, std::int64_t rows, float* first, float* second) {
        const std::int64_t at = begin + row * channels_;
        RESNEXT_CALL(norm_backward_sums, task, x + at, options_.add ? y + at : nullptr, dy + at, from(dy2, at),
                     options_.add ? dother + at : nullptr, rows, channels_, first, second);
      });
      for (std::size_t c = 0; c < width_; ++c) {
        const double inverse_c = inverse[c], scale_c = double{gamma[c]} * inverse_c;
        const double projection = totals_[width_ + c] * inverse_c;
        slope[c] = static_cast<float>(-scale_c * projection * inverse_c / count);
        offset[c] = static_cast<float>(-scale_c * totals_[c] / count);
        totals_[2 * width_ + c] += totals_[c];
        totals_[3 * width_ + c] += projection;
      }
      // where a map was added, dother is the gradient before the ReLU by now
      const NormTask second{mean, scale, beta, options_.relu && !options_.add, dx != dy && past_caches(dx)};
      for_each_run_reversed(all, [&](std::int64_t row, std::int64_t rows) {
        const std::int64_t at = begin + row * channels_;
        RESNEXT_CALL(norm_backward, second, x + at, nullptr, options_.add ? dother + at : dy + at,
                     options_.add ? nullptr : from(dy2, at), slope, offset, dx + at, rows, channels_);
      });
    }
    for (std::size_t c = 0; c < width_; ++c) {
      dbeta[c] = static_cast<float>(totals_[2 * width_ + c]);
      dgamma[c] = static_cast<float>(totals_[3 * width_ + c]);
    }
  }

 private:
  /// Ghost batches, and the rows of one.
  std::size_t groups() const { return static_cast<std::size_t>(options_.ghost_batches(images_)); }
  std::int64_t rows_of(std::size_t group) const { return options_.images(images_, static_cast<int>(group)) * pixels_; }

  /// True for an output that no cache would keep until it is read, and whose vectors are aligned.
  bool past_caches(const float* output) const {
    constexpr std::int64_t kept = 20 << 20;  // bytes
    const std::int64_t bytes = images_ * pixels_ * channels_ * static_cast<std::int64_t>(sizeof(float));
    return bytes > kept && channels_ % 16 == 0 && reinterpret_cast<std::uintptr_t>(output) % 64 == 0;
  }

  /// Rows whose sums are taken in float.
  static constexpr std::int64_t run = 128;

  /// Calls `f(part, first row, rows)` for the rows of each thread, of `all` that a ghost batch has.
  template <class F>
  void for_each_part(std::int64_t all, const F& f) const {
    parallel_for(parts_, [&](int part) {
      const std::int64_t begin = all * part / parts_;
      f(part, begin, all * (part + 1) / parts_ - begin);
    });
  }

  /// Calls `f(first row, rows)` for runs of rows, last first: what the pass before read last is still in the cache.
  template <class F>
  void for_each_run_reversed(std::int64_t all, const F& f) const {
    for_each_part(all, [&](int, std::int64_t begin, std::int64_t rows) {
      for (std::int64_t end = begin + rows; end > begin; end -= std::min(run, end - begin)) {
        const std::int64_t row = std::max(begin, end - run);
        f(row, end - row);
      }
    });
  }

  /// The mean of a few rows that lie far apart: close enough to the mean for sums around it not to cancel.
  void find_pivot(const float* x, std::int64_t all, float* pivot) const {
    const std::int64_t samples = std::min<std::int64_t>(all, 16);
    std::fill_n(pivot, width_, 0.0f);
    for (std::int64_t sample = 0; sample < samples; ++sample) {
      const float* row = x + all * sample / samples * channels_;
      for (std::size_t c = 0; c < width_; ++c) pivot[c] += row[c];
    }
    for (std::size_t c = 0; c < width_; ++c) pivot[c] /= static_cast<float>(samples);
  }

  /// Adds up two sums of every channel over all rows into the first half of `totals_`. `kernel(row, rows, first,
  /// second)` adds to float sums.
  template <class Kernel>
  void sum(std::int64_t all, float* scratch, const Kernel& kernel) {
    for_each_part(all, [&](int part, std::int64_t row, std::int64_t rows) {
      float* const short_sums = scratch + (3 + 2 * static_cast<std::size_t>(part)) * width_;
      double* const sums = sums_.data() + 2 * static_cast<std::size_t>(part) * width_;
      std::fill_n(sums, 2 * width_, 0.0);
      for (const std::int64_t end = row + rows; row < end; row += run) {
        std::fill_n(short_sums, 2 * width_, 0.0f);
        kernel(row, std::min(run, end - row), short_sums, short_sums + width_);
        for (std::size_t i = 0; i < 2 * width_; ++i) sums[i] += short_sums[i];
      }
    });
    std::copy_n(sums_.data(), 2 * width_, totals_.data());
    for (int part = 1; part < parts_; ++part) {
      const double* sums = sums_.data() + 2 * static_cast<std::size_t>(part) * width_;
      for (std::size_t i = 0; i < 2 * width_; ++i) totals_[i] += sums[i];
    }
  }

  NormOptions options_;
  int channels_;
  std::size_t width_;
  int images_ = 1;
  std::int64_t pixels_ = 1;
  int parts_ = 1;
  std::vector<double> sums_;    // [part][2][c]
  std::vector<double> totals_;  // two sums of this ghost batch, then two of all
};

}  // namespace resnext::detail

#undef RESNEXT_CALL
