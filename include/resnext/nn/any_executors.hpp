/// @file
/// Executors without templates, for programs that choose network and backend when they run. This header needs no
/// backend: `resnext/nn/make_executors.hpp` makes them, in the one file of a program that is compiled with networks and
/// backends.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include <resnext/nn/state_dict.hpp>
#include <resnext/nn/training_metrics.hpp>
#include <resnext/tensor/images.hpp>

namespace resnext {

/// `Classifier<Net, B>` for some network on some backend. One serves one thread.
class AnyClassifier {
 public:
  AnyClassifier() = default;
  AnyClassifier(const AnyClassifier&) = delete;
  AnyClassifier& operator=(const AnyClassifier&) = delete;
  virtual ~AnyClassifier() = default;

  /// Logits `[N, K]` of images `[N, H, W, C]`, valid until the next call.
  /// @throws ShapeError when the images do not fit the network
  virtual std::span<const float> operator()(const Images& images) = 0;
  /// Logits of an image, K.
  virtual int classes() const = 0;
  /// Channels of an image, C.
  virtual int inputs() const = 0;
  /// The backend's name, for instance `Cpu<float>`.
  virtual std::string_view backend() const = 0;
};

/// `Trainer<Net, B>` for some network on some backend, one process. One serves one thread.
class AnyTrainer {
 public:
  AnyTrainer() = default;
  AnyTrainer(const AnyTrainer&) = delete;
  AnyTrainer& operator=(const AnyTrainer&) = delete;
  virtual ~AnyTrainer() = default;

  /// The rate of the steps that follow; before the first step there must be one.
  virtual void set_learning_rate(double rate) = 0;
  /// One step on images `[N, H, W, C]` with labels in [0, K).
  /// @throws ShapeError when they do not fit the network or each other, OptionError when no learning rate was set
  virtual void step(const Images& images, std::span<const std::int32_t> labels) = 0;
  /// Waits, reads the sums since the last call, and clears them.
  virtual TrainingMetrics read_metrics() = 0;
  /// Waits and copies the learned tensors and running statistics to the host.
  virtual StateDict parameters() = 0;
  /// Momentum buffers: with parameters(), all that a run's state consists of.
  virtual StateDict velocities() = 0;
  /// Goes on from a state that parameters() and velocities() gave.
  /// @throws ShapeError when it is another network's
  virtual void restore(const StateDict& parameters, const StateDict& velocities) = 0;
  /// Logits of an image, K.
  virtual int classes() const = 0;
  /// Channels of an image, C.
  virtual int inputs() const = 0;
  /// The backend's name, for instance `Cpu<float>`.
  virtual std::string_view backend() const = 0;
};

}  // namespace resnext
