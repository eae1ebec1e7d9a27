#include <doctest/doctest.h>

#include <cstdint>
#include <limits>
#include <vector>

#include <resnext/random.hpp>
#include <resnext/tensor/buffer.hpp>
#include <resnext/tensor/images.hpp>
#include <resnext/tensor/memory_plan.hpp>

using namespace resnext;

TEST_CASE("tensors that live together never share memory, and the arena holds them all") {
  const RandomStream random(7, "memory plan");
  for (std::uint64_t round = 0; round < 50; ++round) {
    std::vector<MemoryInterval> intervals;
    for (std::uint64_t i = 0; i < 60; ++i) {
      const RandomStream r = random[round][i];
      const int first = static_cast<int>(r.below(0, 40));
      intervals.push_back({r.below(1, 1000), first, first + static_cast<int>(r.below(2, 8)), 0});
    }
    const std::size_t total = plan_memory(intervals, 16);
    for (std::size_t a = 0; a < intervals.size(); ++a) {
      CHECK(intervals[a].offset % 16 == 0);
      CHECK(intervals[a].offset + intervals[a].size <= total);
      for (std::size_t b = a + 1; b < intervals.size(); ++b) {
        const MemoryInterval &x = intervals[a], &y = intervals[b];
        const bool together = x.first <= y.last && y.first <= x.last;
        const bool apart = x.offset + x.size <= y.offset || y.offset + y.size <= x.offset;
        CHECK((!together || apart));
      }
    }
  }
}

TEST_CASE("a chain of equal tensors needs the memory of two") {
  std::vector<MemoryInterval> chain;
  for (int step = 0; step < 30; ++step) chain.push_back({160, step, step + 1, 0});
  CHECK(plan_memory(chain, 16) == 320);
}

TEST_CASE("tensors that no memory can hold are refused") {
  std::vector<MemoryInterval> one{{std::numeric_limits<std::size_t>::max() - 8, 0, 1, 0}};
  CHECK_THROWS_AS(plan_memory(one, 16), ShapeError);
  std::vector<MemoryInterval> sum(5, MemoryInterval{std::size_t{1} << 60, 0, 1, 0});
  CHECK_THROWS_AS(plan_memory(sum, 16), ShapeError);
  sum.resize(3);
  CHECK(plan_memory(sum, 16) == std::size_t{3} << 60);
}

TEST_CASE("images are as many numbers as their extents say, whatever those are") {
  CHECK_THROWS_WITH_AS(Images({}, 1 << 22, 1 << 21, 1 << 21, 3),
                       "images [N, H, W, C] = [4194304, 2097152, 2097152, 3] have more than 2^63 values", ShapeError);
  CHECK_THROWS_WITH_AS(Images({}, 1 << 16, 1 << 16, 1 << 16, 1 << 16), doctest::Contains("more than 2^63 values"),
                       ShapeError);  // 2^64 is 0
  CHECK_THROWS_WITH_AS(Images({}, 1 << 20, 1 << 20, 1 << 20, 1), doctest::Contains("but 0 were given"), ShapeError);
}

TEST_CASE("a buffer is zeroed, aligned and movable") {
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{5000}, std::size_t{3} << 20}) {
    HostBuffer<float> buffer(size);
    CHECK(buffer.size() == size);
    CHECK(reinterpret_cast<std::uintptr_t>(buffer.data()) % 64 == 0);
    for (const float value : buffer) REQUIRE(value == 0.0f);
    if (size > 0) buffer[size - 1] = 3.0f;
    HostBuffer<float> moved(std::move(buffer));
    CHECK(moved.size() == size);
    if (size > 0) CHECK(moved[size - 1] == 3.0f);
  }
}
