/// @file
/// What goes out of a network.
#pragma once

#include <span>

#include <resnext/model/layer.hpp>

namespace resnext {

/// An output of a network on the host: logits `[N, 1, 1, K]` or a map `[N, H, W, C]`.
template <class Number>
struct OutputMap {
  int n = 0;                       ///< images
  Extent extent;                   ///< rows, columns, channels
  std::span<const Number> values;  ///< valid until the executor's next call
};

}  // namespace resnext
