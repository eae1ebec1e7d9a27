/// @file
/// What stays the same through a training run.
#pragma once

#include <cstddef>
#include <functional>
#include <string_view>

#include <resnext/error.hpp>
#include <resnext/model/layer.hpp>
#include <resnext/nn/value_formats.hpp>
#include <resnext/tensor/number.hpp>

namespace resnext {

/// Which learned tensors weight decay applies to.
enum class Decay {
  all,          ///< everything, as facebookresearch/ResNeXt does
  weights_only  ///< not BN's scale and shift nor biases (He et al. 2019, "Bag of Tricks")
};

/// How a learned tensor is updated.
struct ParameterGroup {
  double rate = 1;      ///< times the learning rate
  double decay = 1;     ///< times the weight decay
  bool frozen = false;  ///< stays what it is, and has no gradient. A batch norm with both tensors frozen normalises by
                        ///< its running statistics, which stay too
};

/// Stochastic gradient descent as torch.optim.SGD has it: g += decay w; v = momentum v + g;
/// w -= rate (nesterov ? g + momentum v : v).
struct SgdOptions {
  double momentum = 0.9;       ///< what stays of the velocity
  double weight_decay = 1e-4;  ///< share of the weight that is added to its gradient
  bool nesterov = false;       ///< look ahead by one more momentum
};

/// What stays the same through a training run. The defaults are the paper's, but for Nesterov's momentum, which its
/// code uses and its text does not mention.
struct TrainerOptions {
  SgdOptions sgd{};                                             ///< momentum and weight decay
  Decay decay = Decay::all;                                     ///< what the decay applies to
  std::function<ParameterGroup(const StateEntry&)> group_of{};  ///< rate and decay of a tensor, or that it is frozen
  double clip_norm = 0;        ///< the longest gradient of all that is not frozen, longer ones are shortened; 0: any
  double label_smoothing = 0;  ///< 0 for one-hot targets; 0.1 in later recipes
  int ghost_batch = 0;         ///< images that share batch statistics, in the end of a batch fewer; 0 for the whole
                               ///< batch. The paper has 32 a GPU
  double norm_momentum = 0.1;  ///< share of a batch in batch norms' running statistics
  double ema_decay = 0;        ///< share that a step leaves of the moving average of all parameters, running statistics
                               ///< too, such as 0.9999; 0: there is none
  double loss_scale = 1;       ///< for backends with 16-bit gradients; where they overflow it is halved, down to 1
  int micro_batch = 0;         ///< images that are in memory at once: a batch is run in such parts, each with batch
                               ///< statistics of its own, and their gradients are added; 0 for the whole batch
  bool recompute = false;  ///< forget the inside of blocks after the forward pass, and compute it again: less memory,
                           ///< a third more time
  int scale_growth = 0;    ///< good steps after which the loss scale is doubled; 0: never
  std::size_t bucket_bytes = std::size_t{25} << 20;  ///< gradients that are communicated at once
  ValueFormats formats{};  ///< how the network's values are stored, if not all as the backend's `Scalar`
};

namespace detail {

/// The options, if they are possible.
inline const TrainerOptions& checked(const TrainerOptions& options) {
  const auto check = [](bool possible, std::string_view name, std::string_view expected, double found) {
    if (!possible) throw_error<OptionError>("trainer: ", name, ": expected ", expected, ", found ", found);
  };
  const auto [momentum, weight_decay, nesterov] = options.sgd;
  check(is_finite(momentum) && momentum >= 0 && momentum < 1, "sgd.momentum", "a number from 0 to below 1", momentum);
  check(weight_decay >= 0 && is_finite(weight_decay), "sgd.weight_decay", "a finite number from 0", weight_decay);
  check(is_finite(options.label_smoothing) && options.label_smoothing >= 0 && options.label_smoothing < 1,
        "label_smoothing", "a number from 0 to below 1", options.label_smoothing);
  check(options.ghost_batch >= 0, "ghost_batch", "a number of images, or 0 for the whole batch", options.ghost_batch);
  check(options.micro_batch >= 0, "micro_batch", "a number of images, or 0 for the whole batch", options.micro_batch);
  check(options.loss_scale >= 1 && is_finite(options.loss_scale), "loss_scale", "a finite number from 1",
        options.loss_scale);
  check(options.scale_growth >= 0, "scale_growth", "a number of steps, or 0 for never", options.scale_growth);
  check(options.clip_norm >= 0 && is_finite(options.clip_norm), "clip_norm", "a finite number, or 0 for any",
        options.clip_norm);
  check(options.bucket_bytes > 0, "bucket_bytes", "a number of bytes above 0", 0);
  check(is_finite(options.ema_decay) && options.ema_decay >= 0 && options.ema_decay < 1, "ema_decay",
        "a number from 0 to below 1", options.ema_decay);
  check(is_finite(options.norm_momentum) && options.norm_momentum > 0 && options.norm_momentum <= 1, "norm_momentum",
        "a number above 0, at most 1", options.norm_momentum);
  return options;
}

}  // namespace detail

}  // namespace resnext
