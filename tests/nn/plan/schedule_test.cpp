// The order of a training step.
#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

#include <resnext/model/family.hpp>
#include <resnext/nn/plan/fusion.hpp>
#include <resnext/nn/plan/schedule.hpp>

using namespace resnext;

namespace {

int time_of(const std::vector<TrainingEvent>& events, TrainingPass pass, int unit) {
  const auto found = std::find_if(events.begin(), events.end(),
                                  [&](const TrainingEvent& e) { return e.pass == pass && e.unit == unit; });
  return found == events.end() ? -1 : static_cast<int>(found - events.begin());
}

int count(const std::vector<TrainingEvent>& events, TrainingPass pass) {
  return static_cast<int>(
      std::count_if(events.begin(), events.end(), [&](const TrainingEvent& e) { return e.pass == pass; }));
}

/// A step in which every value that a unit reads is there when it reads it.
void check(const std::vector<Unit>& units, const std::vector<TrainingEvent>& events) {
  const int n = static_cast<int>(units.size());
  CHECK(count(events, TrainingPass::forward) == n);
  CHECK(count(events, TrainingPass::backward) == n);
  CHECK(count(events, TrainingPass::loss) == 1);
  const int loss = time_of(events, TrainingPass::loss, n - 1);
  for (int i = 0; i < n; ++i) {
    const int forward = time_of(events, TrainingPass::forward, i),
              backward = time_of(events, TrainingPass::backward, i);
    const int again = time_of(events, TrainingPass::recompute, i);
    CHECK(forward < loss);
    CHECK(loss < backward);
    if (i > 0) CHECK(time_of(events, TrainingPass::forward, i - 1) < forward);
    if (i > 0) CHECK(backward < time_of(events, TrainingPass::backward, i - 1));
    if (again >= 0) CHECK((loss < again && again < backward));
  }
}

}  // namespace

TEST_CASE("a step is forward, loss, backward") {
  const auto units = fuse(ResNeXt50<32, 4>::layers, Fusion::training);
  const auto events = schedule(units, false);
  check(units, events);
  CHECK(events.size() == 2 * units.size() + 1);
}

TEST_CASE("the inside of all blocks but the last is computed again, just before it is needed") {
  const auto units = fuse(ResNeXt50<32, 4>::layers, Fusion::training);
  const auto events = schedule(units, true);
  check(units, events);
  int inside = 0;
  for (int i = 0; i < static_cast<int>(units.size()); ++i) {
    const auto name = ResNeXt50<32, 4>::layers[static_cast<std::size_t>(units[static_cast<std::size_t>(i)].row)].name;
    const bool in_block = name.view().starts_with("layer") && !name.view().starts_with("layer4.2");
    const bool again = time_of(events, TrainingPass::recompute, i) >= 0;
    CAPTURE(name.view());
    if (!in_block) CHECK_FALSE(again);
    inside += again;
  }
  // 16 blocks of six units, two more in the first of each stage; of 15 blocks all but the last unit
  CHECK(inside == 15 * 5 + 4 * 2);
  CHECK(count(events, TrainingPass::recompute) == inside);
}

TEST_CASE("what has no blocks has nothing inside of them") {
  std::vector<Layer> rows(3);
  rows[0] = {LayerOp::convolution, "a", 0, -1, 1, 3, 4, 3, 1, 1, 1};
  rows[1] = {LayerOp::relu, "b", 1, -1, 2, 4, 4};
  rows[2] = {LayerOp::convolution, "c", 2, -1, 3, 4, 4, 3, 1, 1, 1};
  const auto units = fuse(rows, Fusion::training);
  const auto events = schedule(units, true);
  check(units, events);
  CHECK(count(events, TrainingPass::recompute) == 0);
}
