/// @file
/// What a run tells about itself.
#pragma once

#include <cstdint>
#include <optional>

#include <resnext/eval/top_k.hpp>
#include <resnext/nn/training_metrics.hpp>

namespace resnext {

/// What a run has reached in the middle of an epoch.
struct TrainingProgress {
  int epoch = 0;                 ///< this one, from 0
  int epochs = 0;                ///< of how many
  int batch = 0;                 ///< done in this epoch
  int batches = 0;               ///< of how many
  TrainingMetrics metrics{};     ///< of the epoch so far
  double images_per_second = 0;  ///< of this rank
  double seconds_left = 0;       ///< of training, for all epochs
};

/// What an epoch has brought.
struct EpochResult {
  int epoch = 0;                 ///< from 0
  std::int64_t step = 0;         ///< steps done in the whole run
  double learning_rate = 0;      ///< of the last step
  TrainingMetrics train{};       ///< of the epoch
  std::optional<Accuracy> test;  ///< of the test set, where there is one
  double seconds = 0;            ///< of training
  double images_per_second = 0;  ///< in training
};

}  // namespace resnext
