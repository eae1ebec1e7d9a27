/// @file
/// Learning rates as pure functions of the step.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>
#include <utility>
#include <vector>

#include <resnext/error.hpp>
#include <resnext/tensor/number.hpp>

namespace resnext {

/// The learning rate of every step of a run. It has no state: a resumed run asks for the steps it still needs.
///
/// ```cpp
/// auto rate = Schedule::cosine(0.5, steps).warmed_up(5 * steps_per_epoch);
/// trainer.set_learning_rate(rate(step));
/// ```
class Schedule {
 public:
  /// `rate`, multiplied by `factor` at each of the ascending `milestones`, which are steps.
  /// @throws OptionError for a rate or factor that is not positive and finite, or milestones that do not ascend
  static Schedule step_decay(double rate, std::vector<std::int64_t> milestones, double factor = 0.1) {
    check("rate", rate);
    check("factor", factor);
    std::int64_t last = 0;
    for (const std::int64_t milestone : milestones) {
      if (milestone <= last)
        throw_error<OptionError>("schedule: milestones must ascend from 1, found ", milestone, " after ", last);
      last = milestone;
    }
    Schedule schedule(rate);
    schedule.milestones_ = std::move(milestones);
    schedule.factor_ = factor;
    return schedule;
  }

  /// Half a cosine from `rate` at step 0 down to `last` at step `steps` (Loshchilov, Hutter 2017, without restarts).
  /// @throws OptionError for a rate that is not positive and finite, or no steps
  static Schedule cosine(double rate, std::int64_t steps, double last = 0) {
    check("rate", rate);
    if (steps < 1) throw_error<OptionError>("schedule: a cosine needs at least 1 step, found ", steps);
    if (!is_finite(last) || last < 0) throw_error<OptionError>("schedule: expected a last rate from 0, found ", last);
    Schedule schedule(rate);
    schedule.steps_ = steps;
    schedule.last_ = last;
    return schedule;
  }

  /// The same, but the first `steps` rise linearly to it, step 0 having 1 / steps of its rate (Goyal et al. 2017).
  /// @throws OptionError for a negative number of steps
  Schedule warmed_up(std::int64_t steps) const {
    if (steps < 0) throw_error<OptionError>("schedule: expected a warm-up of 0 or more steps, found ", steps);
    Schedule schedule = *this;
    schedule.warmup_ = steps;
    return schedule;
  }

  /// The rate of a step, counted from 0.
  double operator()(std::int64_t step) const {
    const double ramp = step < warmup_ ? static_cast<double>(step + 1) / static_cast<double>(warmup_) : 1.0;
    if (steps_ > 0) {
      const double done = step < steps_ ? static_cast<double>(step) / static_cast<double>(steps_) : 1.0;
      return ramp * (last_ + (rate_ - last_) * 0.5 * (1 + std::cos(std::numbers::pi * done)));
    }
    double rate = ramp * rate_;
    for (const std::int64_t milestone : milestones_) rate *= step >= milestone ? factor_ : 1.0;
    return rate;
  }

 private:
  explicit Schedule(double rate) : rate_(rate) {}

  static void check(const char* what, double value) {
    if (!is_finite(value) || value <= 0)
      throw_error<OptionError>("schedule: expected a positive ", what, ", found ", value);
  }

  double rate_;
  double factor_ = 1;
  std::vector<std::int64_t> milestones_;
  std::int64_t steps_ = 0;  // of a cosine; 0 for step decay
  double last_ = 0;
  std::int64_t warmup_ = 0;
};

/// The paper's ImageNet schedule (Sec. 4): 0.1 for a batch of 256, divided by 10 after 30, 60 and 90 epochs. Its code
/// runs 100 epochs.
inline Schedule paper_imagenet_schedule(std::int64_t steps_per_epoch) {
  return Schedule::step_decay(0.1, {30 * steps_per_epoch, 60 * steps_per_epoch, 90 * steps_per_epoch});
}

/// The paper's CIFAR schedule (Sec. 5.3): 0.1 for a batch of 128, divided by 10 after 150 and 225 of 300 epochs; its
/// code does so three epochs sooner.
inline Schedule paper_cifar_schedule(std::int64_t steps_per_epoch) {
  return Schedule::step_decay(0.1, {150 * steps_per_epoch, 225 * steps_per_epoch});
}

}  // namespace resnext
