/// @file
/// All that a training goes on from, on whatever backend it was.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <resnext/nn/state_dict.hpp>
#include <resnext/tensor/dtype.hpp>

namespace resnext {

/// What an optimiser keeps beside the parameters, in tensors of their names and shapes.
struct OptimizerState {
  std::string name;              ///< `velocity`: momentum buffers; `ema`: the parameters' moving average
  StateDict tensors;             ///< of what is learned
  bool statistics = false;       ///< and of batch norms' running statistics
  Dtype stored_as = Dtype::F32;  ///< in files: F32, or rounded to F16 or BF16
};

/// What was counted over the steps, and what they have made of the loss scale.
struct StepCounters {
  double loss_scale = 1;        ///< the loss's gradient is multiplied by it
  std::int64_t good_steps = 0;  ///< since the loss scale changed
  std::int64_t steps = 0;       ///< in all
  std::int64_t skipped = 0;     ///< of these, those whose gradients overflowed: they changed nothing
};

/// All that a training goes on from, beside its options.
struct TrainerState {
  StateDict parameters;                        ///< learned tensors and running statistics
  std::vector<OptimizerState> optimizer = {};  ///< one without `velocity` begins with zeros, one without `ema` with the
                                               ///< parameters
  std::optional<StepCounters> counters = {};   ///< without them, as a new trainer of these options has them

  /// The optimiser's state of that name, or null.
  const OptimizerState* find(std::string_view name) const {
    const auto at = std::find_if(optimizer.begin(), optimizer.end(), [&](const auto& s) { return s.name == name; });
    return at == optimizer.end() ? nullptr : &*at;
  }
  /// What is to be evaluated: the parameters' moving average where there is one, else the parameters.
  const StateDict& ema() const {
    const OptimizerState* average = find("ema");
    return average == nullptr ? parameters : average->tensors;
  }
};

}  // namespace resnext
