#include <doctest/doctest.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include <resnext/backend/cpu/cpu.hpp>
#include <resnext/random.hpp>

using namespace resnext;

namespace {

/// A network with one grouped convolution of width 32.
struct Wide {
  static constexpr std::array<Layer, 1> layers = {Layer{LayerOp::convolution, "conv", 0, -1, 1, 256, 256, 3, 1, 1, 8}};
};

/// Runs `f` in a thread of its own, which has OpenMP settings of its own.
template <class F>
void in_new_thread(const F& f) {
  std::thread(f).join();
}

}  // namespace

TEST_CASE("a run for a thread is made of whole cache lines") {
  for (const std::int64_t size : {1, 15, 16, 17, 32'768, 32'769, 100'003}) {
    std::mutex mutex;
    std::vector<std::pair<std::int64_t, std::int64_t>> runs;
    detail::parallel_runs(size, 16, detail::cache_line, [&](std::int64_t begin, std::int64_t end) {
      const std::lock_guard lock(mutex);
      runs.emplace_back(begin, end);
    });
    std::sort(runs.begin(), runs.end());
    std::int64_t at = 0;
    for (const auto& [begin, end] : runs) {
      CHECK(begin == at);
      CHECK(begin % 16 == 0);
      at = end;
    }
    CHECK(at == size);
  }
}

TEST_CASE("memory that all threads touched first is zeroed, aligned and movable, like any other") {
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{524'288}, std::size_t{3'000'001}}) {
    CpuBuffer<float> buffer(size);
    CHECK(reinterpret_cast<std::uintptr_t>(buffer.data()) % 64 == 0);
    CHECK(std::count(buffer.begin(), buffer.end(), 0.0f) == static_cast<std::ptrdiff_t>(size));
    CpuBuffer<float> moved(std::move(buffer));
    CHECK(moved.size() == size);
  }
  // no page is left to fault: what was touched is there
  CpuBuffer<unsigned char> buffer(9'000'000);
  std::vector<unsigned char> resident((buffer.size() + 4095) / 4096);
  REQUIRE(mincore(buffer.data(), buffer.size(), resident.data()) == 0);
  CHECK(std::all_of(resident.begin(), resident.end(), [](unsigned char page) { return (page & 1) != 0; }));
}

#ifdef _OPENMP

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool sanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr bool sanitized = true;
#else
constexpr bool sanitized = false;
#endif
#else
constexpr bool sanitized = false;
#endif

TEST_CASE("the threads that will work on a buffer share its first touch") {
  if (thread_count() < 2 || sanitized) {  // a sanitizer's own memory is one thread's
    MESSAGE("skipped: there is one thread, or a sanitizer");
    return;
  }
  parallel_for(thread_count(), [](int) {});  // they are there
  const auto faults = [](int who) {
    rusage usage{};
    REQUIRE(getrusage(who, &usage) == 0);
    return usage.ru_minflt;
  };
  const long all = faults(RUSAGE_SELF), mine = faults(RUSAGE_THREAD);
  const CpuBuffer<float> buffer(std::size_t{64} << 20);
  const long of_all = faults(RUSAGE_SELF) - all, of_mine = faults(RUSAGE_THREAD) - mine;
  CHECK(of_all >= 32);
  CHECK(4 * of_mine < 3 * of_all);
}

TEST_CASE("operators built for one thread run in a thread that has all, in the memory they asked for") {
  const ConvolutionShape shapes[] = {
      {2, 7, 7, 256, 256, 3, 1, 1, 8}, {2, 14, 14, 64, 128, 1, 1, 0, 1}, {2, 14, 14, 24, 40, 3, 2, 1, 1}};
  using B = Cpu<float>;
  for (const ConvolutionShape& s : shapes) {
    const auto size = [](std::int64_t n) { return static_cast<std::size_t>(n); };
    const auto run = [&](B::Convolution& op) {
      CpuStream stream;
      constexpr std::size_t guard = 256 * 1024;
      std::vector<float> x(size(s.input_size()), 0.5f), dy(size(s.output_size()), 0.25f);
      std::vector<float> w(size(s.weight_size()), 0.125f), dx(x.size()), y(dy.size()), dw(w.size());
      for (std::size_t i = 0; i < x.size(); ++i) x[i] = RandomStream(1, "x").uniform(i);
      HostBuffer<std::byte> scratch(op.scratch_size() + guard);
      std::fill_n(scratch.data() + op.scratch_size(), guard, std::byte{7});
      op.forward(stream, x.data(), w.data(), y.data(), nullptr, scratch.data());
      op.backward_data(stream, dy.data(), w.data(), dx.data(), nullptr, scratch.data());
      op.backward_weights(stream, x.data(), dy.data(), dw.data(), scratch.data());
      CHECK(std::count(scratch.begin() + op.scratch_size(), scratch.end(), std::byte{7}) == guard);
      y.insert(y.end(), dx.begin(), dx.end());
      y.insert(y.end(), dw.begin(), dw.end());
      return y;
    };
    in_new_thread([&] {
      omp_set_num_threads(1);
      B::Convolution op(s, B::training_registry<Wide>(), "conv");
      const auto expected = run(op);
      in_new_thread([&] {
        omp_set_num_threads(4);
        CHECK(run(op) == expected);
        CHECK(omp_get_max_threads() == 4);
      });
    });
  }
}

TEST_CASE("set_thread_count means the process") {  // the last one here: it stays so
  set_thread_count(3);
  in_new_thread([] {
    CHECK(thread_count() == 3);
    std::mutex mutex;
    int most = 0;
    parallel_for(64, [&](int) {
      const std::lock_guard lock(mutex);
      most = std::max(most, omp_get_num_threads());
    });
    CHECK(most == 3);
    CHECK(detail::with_onednn("here", "a question", [] { return omp_get_max_threads(); }) == 3);
  });
  set_thread_count(-5);
  CHECK(thread_count() == 1);
  in_new_thread([] { CHECK(thread_count() == 1); });
}

#endif
