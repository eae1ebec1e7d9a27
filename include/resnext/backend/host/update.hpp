/// @file
/// What becomes of a step's gradients where backend memory is host memory.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <type_traits>
#include <vector>

#include <resnext/backend/backend.hpp>
#include <resnext/backend/host/stream.hpp>
#include <resnext/elementary.hpp>
#include <resnext/tensor/number.hpp>

namespace resnext::detail {

inline double& control_of(double* control, StepControl which) { return control[static_cast<int>(which)]; }

/// Writes the verdict on a step whose gradients are finite, or are not; see `StepVerdict` and `Metric`.
inline void judge_step(bool finite, std::int64_t images, double* control, double* metrics) {
  double& loss = metrics[static_cast<int>(Metric::loss)];
  StepVerdict verdict = finite ? StepVerdict::update : StepVerdict::skip;
  if (!is_finite(loss)) {
    verdict = StepVerdict::stop;
  } else if (!finite && control_of(control, StepControl::loss_scale) <= 1) {
    verdict = StepVerdict::stop;
    loss = std::numeric_limits<double>::quiet_NaN();
    metrics[static_cast<int>(Metric::images)] -= static_cast<double>(images);
  }
  control_of(control, StepControl::verdict) = static_cast<double>(verdict);
}

/// One step of a segment: g = scale gradient + decay w; v = momentum v + g; w -= rate (nesterov ? g + momentum v : v).
struct SgdStep {
  double rate, scale, decay, momentum;
  bool nesterov;
};

/// `Sgd::step` for each segment, then the weights as operators read them, the running statistics and the averages.
template <class Scalar, class Master, class Gradient, class Sgd>
class HostUpdate {
 public:
  HostUpdate(const UpdateOptions& options, std::span<const UpdateSegment> segments, std::size_t statistics)
      : options_(options), segments_(segments.begin(), segments.end()), statistics_(statistics) {}

  void run(HostStream&, double* control, const UpdateArrays<Scalar, Master, Gradient>& arrays) const {
    double &scale = control_of(control, StepControl::loss_scale), &good = control_of(control, StepControl::good_steps);
    if (static_cast<StepVerdict>(control_of(control, StepControl::verdict)) != StepVerdict::update) {
      if (scale <= 1) return;
      scale = std::max(1.0, scale / 2);
      good = 0;
      ++control_of(control, StepControl::skipped);
      ++control_of(control, StepControl::step);
      return;
    }
    apply(control, arrays);
    ++control_of(control, StepControl::step);
    const double interval = control_of(control, StepControl::growth_interval);
    if (++good >= interval && interval > 0) {
      if (2 * scale <= most_scale) scale *= 2;
      good = 0;
    }
  }

 private:
  static constexpr double most_scale = 0x1p24;

  void apply(double* control, const UpdateArrays<Scalar, Master, Gradient>& a) const {
    double scale = 1 / (control_of(control, StepControl::loss_scale) * control_of(control, StepControl::ranks));
    if (options_.clip_norm > 0) {
      double squares = 0;
      for (const UpdateSegment& s : segments_) {
        squares += Sgd::sum_of_squares(a.gradients + s.offset, static_cast<std::int64_t>(s.size));
      }
      const double norm = scale * detail::sqrt(squares);
      if (norm > options_.clip_norm) scale *= options_.clip_norm / norm;
    }
    for (const UpdateSegment& s : segments_) {
      const double rate = control_of(control, StepControl::learning_rate) * s.rate;
      Master* const first = a.weights + s.offset;
      const auto size = static_cast<std::int64_t>(s.size);
      Sgd::step({rate, scale, s.weight_decay, options_.momentum, options_.nesterov}, size, first,
                a.gradients + s.offset, a.velocities + s.offset);
      if (a.averages != nullptr) Sgd::average(options_.ema_decay, size, first, a.averages + s.offset);
      if constexpr (!std::is_same_v<Scalar, Master>) {
        std::transform(first, first + s.size, a.operands + s.offset,
                       [](Master weight) { return static_cast<Scalar>(weight); });
      }
    }
    const double take = options_.statistics_momentum;
    std::transform(a.statistics, a.statistics + statistics_, a.batch_statistics, a.statistics,
                   [=](double kept, double fresh) { return static_cast<Master>((1 - take) * kept + take * fresh); });
    if (a.average_statistics == nullptr) return;
    Sgd::average(options_.ema_decay, static_cast<std::int64_t>(statistics_), a.statistics, a.average_statistics);
  }

  UpdateOptions options_;
  std::vector<UpdateSegment> segments_;
  std::size_t statistics_;
};

}  // namespace resnext::detail
