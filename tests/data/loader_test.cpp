#include <doctest/doctest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <new>
#include <resnext/data/loader.hpp>
#include <set>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "files.hpp"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED
#endif
#endif

using namespace resnext;
using namespace testing;

namespace {
std::atomic<long> allocations{0};
}

// Not inlined, or g++ compares malloc with delete and warns.
[[gnu::noinline]] void* operator new(std::size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace {

Dataset make_set(std::size_t n) {
  Dataset set;
  set.name = "made";
  set.height = 6;
  set.width = 5;
  set.channels = 3;
  set.classes = 7;
  const RandomStream random(1, "pixels");
  for (std::size_t i = 0; i < n; ++i) {
    set.labels.push_back(static_cast<std::int32_t>(i % 7));
    for (std::size_t k = 0; k < 90; ++k) set.images.push_back(static_cast<std::uint8_t>(random.below(i * 90 + k, 256)));
  }
  return set;
}

const Augmentation recipe{2, true, {100, 110, 120}, {60, 61, 62}};

/// A batch with its own memory.
struct Copy {
  int epoch, index;
  std::vector<float> images;
  std::vector<std::int32_t> labels;
  std::vector<std::uint32_t> indices;
  bool operator==(const Copy&) const = default;

  explicit Copy(const Batch& batch)
      : epoch(batch.epoch),
        index(batch.index),
        images(batch.images.values.begin(), batch.images.values.end()),
        labels(batch.labels.begin(), batch.labels.end()),
        indices(batch.indices.begin(), batch.indices.end()) {
    CHECK(batch.count == static_cast<int>(indices.size()));
    CHECK(labels.size() == indices.size());
    CHECK(images.size() == indices.size() * 90);
  }
};

std::vector<Copy> take(Loader& loader, int count) {
  std::vector<Copy> batches;
  batches.reserve(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) batches.emplace_back(loader.next());
  return batches;
}

}  // namespace

TEST_CASE("any number of workers gives the same batches, and they are those of the definition") {
  const Dataset set = make_set(103);
  LoaderOptions options{.batch = 10, .seed = 5, .workers = 0};
  Loader synchronous(set, recipe, options);
  CHECK(synchronous.batches() == 11);
  const auto expected = take(synchronous, 40);
  for (const int workers : {1, 2, 5, 16}) {
    options.workers = workers;
    Loader loader(set, recipe, options);
    CHECK(take(loader, 40) == expected);
  }
  const Augmenter augment(recipe, 6, 5, 3, 5);
  std::vector<float> image(90);
  for (const Copy& batch : expected)
    for (std::size_t i = 0; i < batch.indices.size(); ++i) {
      augment(set.image(batch.indices[i]), batch.epoch, batch.indices[i], image);
      REQUIRE(std::equal(image.begin(), image.end(), batch.images.begin() + static_cast<std::ptrdiff_t>(90 * i)));
      REQUIRE(batch.labels[i] == set.labels[batch.indices[i]]);
    }
}

TEST_CASE("an epoch as a range is start and next") {
  const Dataset set = make_set(23);
  Loader loader(set, recipe, {.batch = 10, .workers = 2}), other(set, recipe, {.batch = 10, .workers = 0});
  for (const int epoch : {0, 3, 1}) {
    std::vector<Copy> found;
    for (const Batch& batch : loader.epoch(epoch)) {
      CHECK(batch.images.n == batch.count);
      CHECK(batch.images.h == 6);
      CHECK(batch.images.w == 5);
      CHECK(batch.images.c == 3);
      found.emplace_back(batch);
    }
    other.start(epoch);
    CHECK(found == take(other, 3));
    CHECK(loader.next().epoch == epoch + 1);  // goes on where the range ended
  }
  int batches = 0;
  for (const auto& batch : loader.epoch(2, 2)) {
    CHECK(batch.index == 2);
    ++batches;
  }
  for ([[maybe_unused]] const auto& batch : loader.epoch(2, 3)) ++batches;
  CHECK(batches == 1);
  for (const auto& batch : loader.epoch(0)) {
    if (batch.index == 1) break;
  }
  CHECK(loader.next().index == 2);
  CHECK_THROWS_AS(loader.epoch(-1), OptionError);
}

TEST_CASE("an epoch holds every picture once, in another order each time") {
  const Dataset set = make_set(103);
  Loader loader(set, recipe, {.batch = 10});
  std::set<std::vector<std::uint32_t>> orders;
  for (int epoch = 0; epoch < 5; ++epoch) {
    std::vector<std::uint32_t> order;
    for (const Copy& batch : take(loader, loader.batches())) {
      CHECK(batch.epoch == epoch);
      CHECK(batch.indices.size() == (batch.index == 10 ? 3 : 10));
      order.insert(order.end(), batch.indices.begin(), batch.indices.end());
    }
    orders.insert(order);
    std::ranges::sort(order);
    for (std::uint32_t i = 0; i < 103; ++i) REQUIRE(order[i] == i);
  }
  CHECK(orders.size() == 5);

  Loader dropping(set, recipe, {.batch = 10, .drop_last = true});
  CHECK(dropping.batches() == 10);
  for (const Copy& batch : take(dropping, 25)) CHECK(batch.indices.size() == 10);

  Loader in_order(set, normalisation_only(recipe), {.batch = 50, .shuffle = false});
  for (int epoch = 0; epoch < 2; ++epoch) {
    std::uint32_t at = 0;
    for (const Copy& batch : take(in_order, 3))
      for (const std::uint32_t index : batch.indices) REQUIRE(index == at++);
  }
}

TEST_CASE("the shuffle is fair") {
  const Dataset set = make_set(4);
  Loader loader(set, recipe, {.batch = 4, .workers = 0});
  int counts[4][4] = {};
  for (int epoch = 0; epoch < 8000; ++epoch) {
    const Batch& batch = loader.next();
    for (std::size_t i = 0; i < 4; ++i) ++counts[i][batch.indices[i]];
  }
  for (const auto& row : counts)
    for (const int count : row) CHECK(std::abs(count - 2000) < 200);  // five standard deviations
}

TEST_CASE("a loader started anywhere goes on as the one that was never stopped") {
  const Dataset set = make_set(53);
  for (const int workers : {0, 3}) {
    const LoaderOptions options{.batch = 8, .seed = 3, .workers = workers};
    Loader loader(set, recipe, options);
    const auto all = take(loader, 40);
    Loader resumed(set, recipe, options);
    for (const int from : {0, 5, 7, 13, 33, 2}) {
      resumed.start(from / 7, from % 7);
      const auto some = take(resumed, 5);
      CHECK(std::equal(some.begin(), some.end(), all.begin() + from));
    }
    resumed.start(1, 7);  // the end of an epoch is the start of the next
    CHECK(take(resumed, 1)[0] == all[14]);
    CHECK_THROWS_AS(resumed.start(-1), OptionError);
    CHECK_THROWS_AS(resumed.start(0, 8), OptionError);
  }
}

TEST_CASE("the batches of N ranks are one big batch") {
  const Dataset set = make_set(103);
  for (const int ranks : {2, 3}) {
    Loader whole(set, recipe, {.batch = 5 * ranks, .seed = 5});
    std::vector<std::vector<Copy>> parts;
    for (int rank = 0; rank < ranks; ++rank) {
      Loader loader(set, recipe, {.batch = 5, .seed = 5, .rank = rank, .ranks = ranks});
      CHECK(loader.batches() == whole.batches());
      parts.push_back(take(loader, 2 * whole.batches()));
    }
    for (int i = 0; i < 2 * whole.batches(); ++i) {
      const Copy expected(whole.next());
      std::vector<float> images;
      std::vector<std::uint32_t> indices;
      std::size_t least = 5, most = 0;
      for (const auto& part : parts) {
        const Copy& batch = part[static_cast<std::size_t>(i)];
        images.insert(images.end(), batch.images.begin(), batch.images.end());
        indices.insert(indices.end(), batch.indices.begin(), batch.indices.end());
        least = std::min(least, batch.indices.size());
        most = std::max(most, batch.indices.size());
      }
      CHECK(images == expected.images);
      CHECK(indices == expected.indices);
      CHECK(most - least <= 1);
    }
  }
}

TEST_CASE("a batch stays as it is until the next call, however far the workers are") {
  const Dataset set = make_set(40);
  Loader loader(set, recipe, {.batch = 4, .workers = 3});
  for (int i = 0; i < 20; ++i) {
    const Batch& batch = loader.next();
    const Copy before(batch);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    CHECK(Copy(batch) == before);
  }
}

TEST_CASE("an error of a worker comes out of next() at its place, and the batches after it are good") {
  Dataset set = make_set(40);
  set.labels[13] = 7;
  set.labels[30] = -1;
  for (const int workers : {0, 1, 3}) {
    Loader loader(set, recipe, {.batch = 4, .shuffle = false, .workers = workers});
    for (int epoch = 0; epoch < 2; ++epoch)
      for (int i = 0; i < 10; ++i) {
        const std::string message = message_of<ShapeError>([&] {
          const Batch& batch = loader.next();
          CHECK(batch.index == i);
        });
        if (i == 3) {
          CHECK(message == "loader: made: image 13: expected a label from 0 to 6, found 7");
        } else if (i == 7) {
          CHECK(message == "loader: made: image 30: expected a label from 0 to 6, found -1");
        } else {
          CHECK(message.empty());
        }
      }
  }
}

TEST_CASE("the error of a batch that was prepared ahead and never taken is forgotten") {
  Dataset set = make_set(40);
  set.labels[13] = 7;  // in batch 3
  for (const int workers : {0, 1, 3}) {
    CAPTURE(workers);
    Loader loader(set, recipe, {.batch = 4, .shuffle = false, .workers = workers});
    for (int i = 0; i < 3; ++i) loader.next();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // the workers are at batch 3
    for (const int from : {4, 5, 6, 7}) {
      loader.start(0, from);
      for (int i = from; i < 10; ++i) CHECK(message_of<ShapeError>([&] { CHECK(loader.next().index == i); }) == "");
      for (int i = 0; i < 3; ++i) loader.next();
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }
}

TEST_CASE("a loader that gets not all its threads says so, and ends those it has") {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(SANITIZED)
  MESSAGE("skipped: a sanitizer's memory cannot be limited");
#else
  const Dataset set = make_set(40);
  const pid_t child = ::fork();
  if (child == 0) {
    rlimit limit{};
    std::ifstream pages("/proc/self/statm");
    rlim_t now = 0;
    pages >> now;
    limit.rlim_cur = limit.rlim_max = now * 4096 + (rlim_t{100} << 20);  // room for some stacks, not for 256
    ::setrlimit(RLIMIT_AS, &limit);
    int status = 1;
    const bool limited = ::mmap(nullptr, std::size_t{1} << 30, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED;
    if (!limited) ::_exit(77);  // an emulator of another processor ignores the limit
    try {
      const Loader loader(set, recipe, {.batch = 4, .workers = 256});
    } catch (const std::system_error&) {
      status = 42;
    }
    ::_exit(status);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77) {
    MESSAGE("skipped: memory cannot be limited here");
  } else {
    CHECK(WEXITSTATUS(status) == 42);
  }
#endif
}

TEST_CASE("the steady state allocates nothing") {
  const Dataset set = make_set(103);
  for (const int workers : {0, 2}) {
    Loader loader(set, recipe, {.batch = 10, .workers = workers});
    for (int i = 0; i < 12; ++i) loader.next();
    const long before = allocations;
    for (int i = 0; i < 50; ++i) loader.next();
    loader.start(0);
    for (int i = 0; i < 5; ++i) loader.next();
    CHECK(allocations == before);
  }
}

TEST_CASE("a loader can be left at any moment") {
  const Dataset set = make_set(103);
  for (int i = 0; i < 50; ++i) {
    Loader loader(set, recipe, {.batch = 3, .workers = i % 5});
    for (int k = 0; k < i % 4; ++k) loader.next();
    if (i % 3 == 0) loader.start(i);
  }
}

TEST_CASE("impossible data and options are refused") {
  const Dataset set = make_set(10);
  const auto make = [&](LoaderOptions options) { Loader(set, recipe, options); };
  CHECK_THROWS_AS(make({.batch = 0}), OptionError);
  CHECK_THROWS_AS(make({.workers = -1}), OptionError);
  CHECK_THROWS_AS(make({.rank = 2, .ranks = 2}), OptionError);
  CHECK_THROWS_AS(make({.batch = 11, .drop_last = true}), OptionError);
  CHECK_NOTHROW(make({.batch = 11}));
  Dataset bad = make_set(10);
  bad.images.pop_back();
  CHECK_THROWS_AS(Loader(bad, recipe, {}), ShapeError);
  bad = make_set(1);  // H * W * C is 0 modulo 2^64
  bad.images.clear();
  bad.height = bad.width = 1 << 30;
  bad.channels = 16;
  bad.labels.resize(1);
  CHECK_THROWS_AS(Loader(bad, {0, false, std::vector<float>(16), std::vector<float>(16, 1)}, {}), ShapeError);
  bad = make_set(3);
  bad.channels = 0;
  CHECK_THROWS_AS(mean_and_std(bad), ShapeError);
  CHECK_THROWS_AS(recipe_of(bad), ShapeError);
  const Dataset none = make_set(0);
  CHECK_THROWS_AS(Loader(none, recipe, {}), ShapeError);
}
