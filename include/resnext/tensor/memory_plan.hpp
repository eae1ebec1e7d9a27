/// @file
/// Places tensors in one arena so that those that live at different times share memory.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include <resnext/error.hpp>
#include <resnext/sorted_order.hpp>

namespace resnext {

/// A tensor of `size` bytes that is needed from step `first` to step `last`, both included.
struct MemoryInterval {
  std::size_t size = 0;    ///< bytes
  int first = 0;           ///< step that writes it
  int last = 0;            ///< last step that reads it
  std::size_t offset = 0;  ///< set by plan_memory()
};

/// Gives every interval an offset, a multiple of `alignment` bytes; overlapping lifetimes get disjoint memory.
/// Returns the size of the arena. Largest first, each at the lowest offset that is free (Pisarchyk and Lee 2020).
/// @@throws ShapeError for an arena of more than 2^62 bytes
inline std::size_t plan_memory(std::span<MemoryInterval> intervals, std::size_t alignment = 64) {
  const auto larger = [&](std::size_t a, std::size_t b) { return intervals[a].size > intervals[b].size; };
  constexpr std::size_t most_bytes = std::size_t{1} << 62;
  const auto rounded = [&](std::size_t size) { return (size + alignment - 1) / alignment * alignment; };
  std::vector<const MemoryInterval*> placed;  // by offset
  std::size_t total = 0;
  for (const std::size_t index : detail::sorted_order(intervals.size(), larger)) {
    MemoryInterval& interval = intervals[index];
    std::size_t offset = 0;
    for (const MemoryInterval* other : placed) {
      const bool together = interval.first <= other->last && other->first <= interval.last;
      if (!together) continue;
      if (offset <= other->offset && interval.size <= other->offset - offset) break;
      offset = std::max(offset, other->offset + rounded(other->size));
    }
    if (offset > most_bytes || interval.size > most_bytes - offset) {
      throw_error<ShapeError>("memory plan: expected an arena of at most 2^62 bytes, found a tensor of ", interval.size,
                              " at ", offset);
    }
    interval.offset = offset;
    total = std::max(total, offset + rounded(interval.size));
    placed.insert(
        std::upper_bound(placed.begin(), placed.end(), &interval,
                         [](const MemoryInterval* a, const MemoryInterval* b) { return a->offset < b->offset; }),
        &interval);
  }
  return total;
}

}  // namespace resnext
