/// @file
/// Executors without templates, for programs that choose network and backend when they run. This header needs no
/// backend: `resnext/nn/make_executors.hpp` makes them, in the one file of a program that is compiled with networks and
/// backends.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <resnext/model/layer.hpp>
#include <resnext/nn/profile.hpp>
#include <resnext/nn/state_dict.hpp>
#include <resnext/nn/trainer_state.hpp>
#include <resnext/nn/training_metrics.hpp>
#include <resnext/tensor/images.hpp>

namespace resnext {

/// Some network on some backend, and what is known of both.
class AnyExecutor {
 public:
  AnyExecutor() = default;
  AnyExecutor(const AnyExecutor&) = delete;
  AnyExecutor& operator=(const AnyExecutor&) = delete;
  virtual ~AnyExecutor() = default;

  /// The network's layer table.
  virtual std::span<const Layer> layers() const = 0;
  /// Learned numbers.
  virtual std::int64_t parameter_count() const = 0;
  /// Multiply-adds of an image of h x w.
  virtual std::int64_t macs(int h, int w) const = 0;
  /// Logits of an image, K.
  virtual int classes() const = 0;
  /// Channels of an image, C.
  virtual int inputs() const = 0;
  /// The backend's name, for instance `Cpu<float>`.
  virtual std::string_view backend() const = 0;
  /// Libraries that the backend stands on, with their versions; empty when there are none.
  virtual std::string libraries() const = 0;
  /// GFLOP/s that this machine reaches with the backend at most, measured now; 0 when the backend does not know.
  virtual double peak_gflops() const = 0;
};

/// `Classifier<Net, B>` for some network on some backend. One serves one thread.
class AnyClassifier : public AnyExecutor {
 public:
  /// Logits `[N, K]` of images `[N, H, W, C]`, valid until the next call.
  /// @throws ShapeError when the images do not fit the network
  virtual std::span<const float> operator()(const Images& images) = 0;
  /// The same, with the time of every unit added to `profile`, which is for batches of one extent.
  virtual std::span<const float> profile(const Images& images, Profile& profile) = 0;
  /// Other parameters of the same network from here on; plans stay.
  /// @throws ShapeError when they are another network's
  virtual void replace(const StateDict& parameters) = 0;
};

/// `Trainer<Net, B, Comm>` for some network on some backend. One serves one thread.
class AnyTrainer : public AnyExecutor {
 public:
  /// The rate of the steps that follow; before the first step there must be one.
  virtual void set_learning_rate(double rate) = 0;
  /// One step on images `[N, H, W, C]` with labels in [0, K).
  /// @throws ShapeError when they do not fit the network or each other, OptionError when no learning rate was set
  /// @param profile gets the time of every unit unless it is null
  virtual void step(const Images& images, std::span<const std::int32_t> labels, Profile* profile = nullptr) = 0;
  /// Waits, reads the sums of this rank since the last call, and clears them.
  virtual TrainingMetrics read_metrics() = 0;
  /// Where a step on these images first meets what is infinite or not a number, for a run that ends here: see Trainer.
  virtual std::optional<std::string> first_not_finite(const Images& images, std::span<const std::int32_t> labels) = 0;
  /// Waits and copies the learned tensors and running statistics to the host.
  virtual StateDict parameters() = 0;
  /// What is to be evaluated: the moving average of parameters() where the options ask for it, else parameters().
  virtual StateDict ema() = 0;
  /// All that a run goes on from, beside its options.
  virtual TrainerState state() = 0;
  /// Goes on from a state that state() gave.
  /// @throws ShapeError when it is another network's, OptionError when it is another optimiser's
  virtual void restore(const TrainerState& state) = 0;
  /// A classifier of ema() as it is now, on the same backend.
  virtual std::unique_ptr<AnyClassifier> classifier() = 0;
  /// Of this process among those that train together, from 0.
  virtual int rank() const = 0;
  /// Processes that train together.
  virtual int ranks() const = 0;
};

}  // namespace resnext
