/// @file
/// What a training run counts.
#pragma once

namespace resnext {

/// Sums since they were last read.
struct TrainingMetrics {
  double loss = 0;     ///< sum over images of the cross-entropy
  double correct = 0;  ///< images whose label had the largest logit
  double images = 0;   ///< how many

  /// Of an image; 0 without images.
  double mean_loss() const { return images > 0 ? loss / images : 0; }
  /// The share of correct images; 0 without images.
  double accuracy() const { return images > 0 ? correct / images : 0; }
};

}  // namespace resnext
