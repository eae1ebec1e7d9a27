/// @file
/// The plans of an executor, one for each of the last few batch extents.
#pragma once

#include <cstddef>
#include <list>
#include <utility>

#include <resnext/model/layer.hpp>

namespace resnext::detail {

/// Keeps at most `most` plans, those that were asked for last. They stay where they are while others come and go.
template <class Plan, std::size_t most>
class PlanCache {
 public:
  /// The plan for n images of that extent, or null.
  Plan* find(int n, Extent image) {
    for (auto at = plans_.begin(); at != plans_.end(); ++at) {
      if (!at->fits(n, image)) continue;
      plans_.splice(plans_.begin(), plans_, at);
      return &plans_.front();
    }
    return nullptr;
  }
  /// A new plan.
  template <class... Arguments>
  Plan& add(Arguments&&... arguments) {
    if (plans_.size() == most) plans_.pop_back();
    return plans_.emplace_front(std::forward<Arguments>(arguments)...);
  }

 private:
  std::list<Plan> plans_;  // most recently used first
};

}  // namespace resnext::detail
