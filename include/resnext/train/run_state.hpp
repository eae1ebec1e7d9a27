/// @file
/// Where a run stands.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <resnext/nn/training_metrics.hpp>

namespace resnext {

/// Where a run stands, and what it was asked to do.
struct RunState {
  int epoch = 0;                                 ///< of the batch that comes next, from 0
  int batch = 0;                                 ///< that comes next, from 0
  std::int64_t step = 0;                         ///< steps done
  TrainingMetrics metrics{};                     ///< sums over the epoch's batches so far
  std::map<std::string, std::string> options{};  ///< whatever decides the run's numbers, in words: seed, batch, ...
  std::vector<std::string> class_names{};        ///< for whoever classifies with the checkpoint
  std::string id{};                              ///< tells runs apart: `new_run_id()`, kept over all resumes
};

}  // namespace resnext
