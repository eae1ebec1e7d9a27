/// @file
/// In which order things stand when they are sorted.
#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <vector>

namespace resnext::detail {

/// The numbers 0 to `count` - 1, sorted; those that are equal stay as they are. A compiler makes one sort for all who
/// ask here, where each std::sort costs it several milliseconds in every file that includes one.
inline std::vector<std::size_t> sorted_order(std::size_t count,
                                             const std::function<bool(std::size_t, std::size_t)>& less) {
  std::vector<std::size_t> order(count);
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  // equal ones in the order of their numbers
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return a < b ? !less(b, a) : less(a, b); });
  return order;
}

}  // namespace resnext::detail
