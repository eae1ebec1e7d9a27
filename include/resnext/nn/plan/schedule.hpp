/// @file
/// The order of a training step: what runs when, and what is forgotten and computed again.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace resnext {

/// What an event of a step is.
enum class TrainingPass : std::uint8_t {
  forward,    ///< of a unit
  recompute,  ///< forward once more, of a unit whose output was forgotten
  loss,       ///< of the last unit's output
  backward    ///< of a unit
};

/// Something that a step does. Its place in the list is the time at which memory is planned.
struct TrainingEvent {
  TrainingPass pass = TrainingPass::forward;  ///< what is done
  int unit = 0;                               ///< to which unit; the last one for the loss
};

/// The events of a step on one batch. With `recompute`, only what lies between the blocks is kept from the forward pass
/// (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost"): before the backward pass of a block its inside
/// is computed again. A block here is whatever lies between two values of which each is all that later units read.
/// @param trained the units that have a backward pass; empty for all
// A template, so that who trains nothing does not compile it.
template <class Unit>
std::vector<TrainingEvent> schedule(const std::vector<Unit>& units, bool recompute,
                                    const std::vector<bool>& trained = {}) {
  const int count = static_cast<int>(units.size());
  const auto is_trained = [&](int unit) { return trained.empty() || trained[static_cast<std::size_t>(unit)]; };
  // Of each value the last unit that reads it. A unit is a cut if nothing before its output is read after it.
  std::vector<int> last_reader(static_cast<std::size_t>(count) + 1, -1);
  const auto reader = [&](int value) -> int& {
    const auto at = static_cast<std::size_t>(value);
    if (at >= last_reader.size()) last_reader.resize(at + 1, -1);
    return last_reader[at];
  };
  for (int i = 0; i < count; ++i) {
    for (const int value : {units[static_cast<std::size_t>(i)].input, units[static_cast<std::size_t>(i)].other}) {
      if (value >= 0) reader(value) = i;
    }
  }
  std::vector<int> ends;  // of the blocks
  int reach = reader(0);  // the last unit that reads anything so far, but the output of the unit before
  for (int i = 0; i < count; ++i) {
    if (reach <= i) ends.push_back(i);
    reach = std::max(reach, reader(units[static_cast<std::size_t>(i)].output));
  }
  if (ends.empty() || ends.back() != count - 1) ends.push_back(count - 1);

  std::vector<TrainingEvent> events;
  for (int i = 0; i < count; ++i) events.push_back({TrainingPass::forward, i});
  events.push_back({TrainingPass::loss, count - 1});
  bool still_there = true;  // the inside of the last block is needed at once
  for (std::size_t block = ends.size(); block-- > 0;) {
    const int begin = block == 0 ? 0 : ends[block - 1] + 1, end = ends[block];
    int first = begin;  // with a backward pass
    while (first <= end && !is_trained(first)) ++first;
    if (first > end) continue;
    if (begin < end && recompute && !std::exchange(still_there, false)) {
      for (int i = begin; i < end; ++i) events.push_back({TrainingPass::recompute, i});
    }
    for (int i = end; i >= first; --i) {
      if (is_trained(i)) events.push_back({TrainingPass::backward, i});
    }
  }
  return events;
}

}  // namespace resnext
