#include <doctest/doctest.h>

#include <cstdint>
#include <vector>

#include <resnext/random.hpp>
#include <resnext/tensor/buffer.hpp>
#include <resnext/tensor/memory_plan.hpp>

using namespace resnext;

TEST_CASE("tensors that live together never share memory, and the arena holds them all") {
  const Random random(7, "memory plan");
  for (std::uint64_t round = 0; round < 50; ++round) {
    std::vector<Interval> intervals;
    for (std::uint64_t i = 0; i < 60; ++i) {
      const Random r = random[round][i];
      const int first = static_cast<int>(r.below(0, 40));
      intervals.push_back({r.below(1, 1000), first, first + static_cast<int>(r.below(2, 8)), 0});
    }
    const std::size_t total = plan_memory(intervals, 16);
    for (std::size_t a = 0; a < intervals.size(); ++a) {
      CHECK(intervals[a].offset % 16 == 0);
      CHECK(intervals[a].offset + intervals[a].size <= total);
      for (std::size_t b = a + 1; b < intervals.size(); ++b) {
        const Interval &x = intervals[a], &y = intervals[b];
        const bool together = x.first <= y.last && y.first <= x.last;
        const bool apart = x.offset + x.size <= y.offset || y.offset + y.size <= x.offset;
        CHECK((!together || apart));
      }
    }
  }
}

TEST_CASE("a chain of equal tensors needs the memory of two") {
  std::vector<Interval> chain;
  for (int step = 0; step < 30; ++step) chain.push_back({160, step, step + 1, 0});
  CHECK(plan_memory(chain, 16) == 320);
}

TEST_CASE("a buffer is zeroed, aligned and movable") {
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{5000}, std::size_t{3} << 20}) {
    Buffer<float> buffer(size);
    CHECK(buffer.size() == size);
    CHECK(reinterpret_cast<std::uintptr_t>(buffer.data()) % 64 == 0);
    for (const float value : buffer) REQUIRE(value == 0.0f);
    if (size > 0) buffer[size - 1] = 3.0f;
    Buffer<float> moved(std::move(buffer));
    CHECK(moved.size() == size);
    if (size > 0) CHECK(moved[size - 1] == 3.0f);
  }
}
