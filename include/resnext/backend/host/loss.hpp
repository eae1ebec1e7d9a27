/// @file
/// Softmax and cross-entropy.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include <resnext/backend/backend.hpp>
#include <resnext/backend/check_shapes.hpp>
#include <resnext/backend/host/stream.hpp>
#include <resnext/elementary.hpp>
#include <resnext/error.hpp>
#include <resnext/tensor/number.hpp>

namespace resnext::detail {

/// Mean cross-entropy against smoothed targets, `1 - smoothing + smoothing / classes` for the label and
/// `smoothing / classes` for the rest (Szegedy et al. 2016, Sec. 7). Everything is computed in double.
template <class T>
class HostCrossEntropy {
 public:
  explicit HostCrossEntropy(const LossShape& shape) : shape_(shape) { check_shape(shape, "cross-entropy"); }

  /// `metrics` gains the sum of the losses of the images, how many were classified correctly, and their number; see
  /// `Metric`. Logits that are not finite make the loss NaN, and a loss that is not finite makes every gradient NaN.
  /// @throws ShapeError for a label outside [0, classes).
  void run(HostStream&, const T* logits, const std::int32_t* labels, const double* control, T* dlogits,
           double* metrics) const {
    const int classes = shape_.classes;
    const double scale =
        control[static_cast<int>(StepControl::loss_scale)] / control[static_cast<int>(StepControl::images)];
    const double rest = shape_.smoothing / classes;
    T* const gradients = dlogits;
    bool finite = is_finite(metrics[static_cast<int>(Metric::loss)]);
    for (int image = 0; image < shape_.n; ++image, logits += classes, dlogits += classes) {
      const int label = labels[image];
      if (label < 0 || label >= classes) {
        throw_error<ShapeError>("label ", image, " of the batch: expected 0 to ", classes - 1, ", found ", label);
      }
      finite = finite && std::all_of(logits, logits + classes, [](T logit) { return is_finite(logit); });
      const T* const best = std::max_element(logits, logits + classes);
      const double largest = *best;
      double sum = 0;
      for (int k = 0; k < classes; ++k) sum += detail::exp(logits[k] - largest);
      double loss = 0;
      for (int k = 0; k < classes; ++k) {
        const double target = rest + (k == label ? 1 - shape_.smoothing : 0);
        loss -= target * (logits[k] - largest - detail::log(sum));
        dlogits[k] = static_cast<T>(scale * (detail::exp(logits[k] - largest) / sum - target));
      }
      finite = finite && is_finite(loss);
      metrics[static_cast<int>(Metric::loss)] += loss;
      metrics[static_cast<int>(Metric::correct)] += best - logits == label ? 1 : 0;
    }
    if (finite) {
      metrics[static_cast<int>(Metric::images)] += shape_.n;
    } else {
      metrics[static_cast<int>(Metric::loss)] = std::numeric_limits<double>::quiet_NaN();
      std::fill(gradients, dlogits, std::numeric_limits<T>::quiet_NaN());
    }
  }

 private:
  LossShape shape_;
};

}  // namespace resnext::detail
