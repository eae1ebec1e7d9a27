/// @file
/// Batch normalisation with the statistics of the batch, with those of the past, and the element-wise rest.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string_view>
#include <vector>

#include <resnext/backend/backend.hpp>
#include <resnext/backend/check_shapes.hpp>
#include <resnext/backend/host/stream.hpp>
#include <resnext/backend/reference/rounding.hpp>
#include <resnext/tensor/number.hpp>
#include <resnext/tensor/typed_pointer.hpp>

namespace resnext::detail {

/// Train-mode batch normalisation (Ioffe & Szegedy 2015), sums and element-wise arithmetic in double.
/// `saved` is, for each ghost batch, the mean of every channel and then 1 / sqrt(variance + epsilon).
template <class T>
class ReferenceBatchNorm {
 public:
  using C = Calculated<T>;

  ReferenceBatchNorm(const MapShape& shape, const NormOptions& options, std::string_view path)
      : options_(options),
        formats_(known_formats<T>(shape.formats)),
        size_(shape.size()),
        channels_(static_cast<std::size_t>(shape.c)) {
    check_shape(shape, options, path);
    const int groups = options.ghost_batches(shape.n);
    for (int group = 0; group < groups; ++group) {
      rows_.push_back(static_cast<std::size_t>(options.images(shape.n, group)) * static_cast<std::size_t>(shape.h) *
                      static_cast<std::size_t>(shape.w));
    }
    groups_ = rows_.size();
    for (auto* sums : {&first_, &second_, &first_total_, &second_total_}) sums->resize(channels_);
  }

  std::size_t saved_size() const { return 2 * groups_ * channels_ * sizeof(C); }
  std::size_t scratch_size() const {  // x and its gradient, other's, y, and its gradients
    return 2 * Workspace::copy_bytes<C>(formats_.x.type, size_) +
           (options_.add ? Workspace::copy_bytes<C>(formats_.other.type, size_) : 0) +
           3 * Workspace::copy_bytes<C>(formats_.y.type, size_);
  }

  void forward(HostStream&, ConstTypedPointer from, ConstTypedPointer added, const C* gamma, const C* beta,
               C* batch_mean, C* batch_variance, TypedPointer to, std::byte* saved, std::byte* scratch) {
    Workspace space(scratch);
    const C* const x = space.read<C>(from, size_);
    const C* const other = options_.add ? space.read<C>(added, size_) : nullptr;
    C* const y = space.write<C>(to, size_);
    auto &mean = first_, &variance = second_;
    const double channels = static_cast<double>(channels_);
    clear(first_total_, second_total_);
    for (std::size_t group = 0; group < groups_; ++group) {
      const double count = static_cast<double>(rows_[group]), share = count * channels / static_cast<double>(size_);
      clear(mean, variance);
      for_each(group, [&](std::size_t i, std::size_t c) { mean[c] += x[i]; });
      for (double& value : mean) value /= count;
      for_each(group, [&](std::size_t i, std::size_t c) { variance[c] += (x[i] - mean[c]) * (x[i] - mean[c]); });
      for (std::size_t c = 0; c < channels_; ++c) {
        first_total_[c] += share * mean[c];
        second_total_[c] += share * variance[c] / (count - 1);
        saved_mean(saved, group)[c] = static_cast<C>(mean[c]);
        saved_scale(saved, group)[c] = static_cast<C>(1 / std::sqrt(variance[c] / count + options_.epsilon));
        variance[c] = gamma[c] / std::sqrt(variance[c] / count + options_.epsilon);  // from here on: the scale
      }
      for_each(group, [&](std::size_t i, std::size_t c) {
        double value = (x[i] - mean[c]) * variance[c] + beta[c];
        if (options_.add) value += other[i];
        y[i] = static_cast<C>(options_.relu ? rectified(value) : value);
      });
    }
    store(y, to, size_);
    for (std::size_t c = 0; c < channels_; ++c) {
      batch_mean[c] = static_cast<C>(first_total_[c]);
      batch_variance[c] = static_cast<C>(second_total_[c]);
    }
  }

  void backward(HostStream&, ConstTypedPointer from, ConstTypedPointer to, ConstTypedPointer first_gradient,
                ConstTypedPointer second_gradient, const C* gamma, const C* /*beta*/, const std::byte* saved,
                TypedPointer x_gradient, TypedPointer other_gradient, C* dgamma, C* dbeta, std::byte* scratch) {
    Workspace space(scratch);
    const C* const x = space.read<C>(from, size_);
    const C* const y = options_.relu ? space.read<C>(to, size_) : nullptr;
    const C* const dy = space.read<C>(first_gradient, size_);
    const C* const dy2 = second_gradient ? space.read<C>(second_gradient, size_) : nullptr;
    C* const dx = space.write<C>(x_gradient, size_);
    C* const dother = options_.add ? space.write<C>(other_gradient, size_) : nullptr;
    auto &sum = first_, &projection = second_;
    const auto gradient = [&](std::size_t i) {
      if (options_.relu && y[i] <= 0 && !is_nan(y[i])) return 0.0;
      return dy2 == nullptr ? double{dy[i]} : double{dy[i]} + double{dy2[i]};
    };
    clear(first_total_, second_total_);
    for (std::size_t group = 0; group < groups_; ++group) {
      const double count = static_cast<double>(rows_[group]);
      const C *mean = saved_mean(saved, group), *scale = saved_scale(saved, group);
      const auto normalised = [&](std::size_t i, std::size_t c) { return (double{x[i]} - mean[c]) * scale[c]; };
      clear(sum, projection);
      for_each(group, [&](std::size_t i, std::size_t c) {
        sum[c] += gradient(i);
        projection[c] += gradient(i) * normalised(i, c);
      });
      for (std::size_t c = 0; c < channels_; ++c) {
        first_total_[c] += sum[c];
        second_total_[c] += projection[c];
      }
      for_each(group, [&](std::size_t i, std::size_t c) {
        const double g = gradient(i);  // read before either write: both outputs may be dy
        const double centred = g - sum[c] / count - normalised(i, c) * projection[c] / count;
        dx[i] = static_cast<C>(double{gamma[c]} * scale[c] * centred);
        if (options_.add) dother[i] = static_cast<C>(g);
      });
    }
    store(dx, x_gradient, size_);
    if (options_.add) store(dother, other_gradient, size_);
    for (std::size_t c = 0; c < channels_; ++c) {
      dbeta[c] = static_cast<C>(first_total_[c]);
      dgamma[c] = static_cast<C>(second_total_[c]);
    }
  }

 private:
  C* saved_mean(std::byte* saved, std::size_t group) const {
    return reinterpret_cast<C*>(saved) + 2 * group * channels_;
  }
  const C* saved_mean(const std::byte* saved, std::size_t group) const {
    return reinterpret_cast<const C*>(saved) + 2 * group * channels_;
  }
  template <class Bytes>
  auto* saved_scale(Bytes* saved, std::size_t group) const {
    return saved_mean(saved, group) + channels_;
  }

  static void clear(std::vector<double>& a, std::vector<double>& b) {
    std::fill(a.begin(), a.end(), 0.0);
    std::fill(b.begin(), b.end(), 0.0);
  }

  /// Calls `visit(position, channel)` for every element of a ghost batch.
  template <class Visit>
  void for_each(std::size_t group, Visit visit) const {
    std::size_t i = group * rows_[0] * channels_;
    for (std::size_t row = 0; row < rows_[group]; ++row) {
      for (std::size_t c = 0; c < channels_; ++c, ++i) visit(i, c);
    }
  }

  NormOptions options_;
  KnownFormats formats_;
  std::int64_t size_;
  std::size_t channels_, groups_ = 1;
  std::vector<std::size_t> rows_;  // of each ghost batch
  std::vector<double> first_, second_, first_total_, second_total_;
};

/// y = x scale + shift for every channel, then ReLU if asked: a batch norm of fixed statistics.
template <class T>
class ReferenceScaleShift {
 public:
  using C = Calculated<T>;

  ReferenceScaleShift(const MapShape& shape, bool relu)
      : shape_(shape), formats_(known_formats<T>(shape.formats)), relu_(relu) {
    check_shape(shape, "scale and shift");
  }

  void run(HostStream&, ConstTypedPointer x, const C* scale, const C* shift, TypedPointer y) const {
    const Reader<C> from(x, formats_.x);
    const Writer<C> to(y, formats_.y);
    for (std::int64_t i = 0; i < shape_.size(); ++i) {
      const C value = from[i] * scale[i % shape_.c] + shift[i % shape_.c];
      to(i, relu_ ? rectified(value) : value);
    }
  }

 private:
  MapShape shape_;
  KnownFormats formats_;
  bool relu_;
};

/// Addition and/or ReLU. Where the sum is exactly zero the gradient of ReLU is zero; where it is not a number the
/// gradient passes, as in torch.nn.ReLU.
template <class T>
class ReferencePointwise {
 public:
  using C = Calculated<T>;

  ReferencePointwise(const MapShape& shape, bool add, bool relu)
      : formats_(known_formats<T>(shape.formats)), add_(add), relu_(relu) {
    check_shape(shape, "addition or ReLU");
    size_ = shape.size();
  }

  void forward(HostStream&, ConstTypedPointer x, ConstTypedPointer other, TypedPointer y) const {
    const Reader<C> from(x, formats_.x), added(other, formats_.other);
    const Writer<C> to(y, formats_.y);
    for (std::int64_t i = 0; i < size_; ++i) {
      const C value = add_ ? from[i] + added[i] : from[i];
      to(i, relu_ ? rectified(value) : value);
    }
  }

  void backward(HostStream&, ConstTypedPointer y, ConstTypedPointer dy, TypedPointer dx) const {
    const Reader<C> out(y, {}), gradient(dy, {});
    const Writer<C> to(dx, {});
    for (std::int64_t i = 0; i < size_; ++i) {
      to(i, relu_ && out[i] <= 0 && !is_nan(out[i]) ? C(0) : gradient[i]);
    }
  }

 private:
  KnownFormats formats_;
  std::int64_t size_ = 0;
  bool add_, relu_;
};

}  // namespace resnext::detail
