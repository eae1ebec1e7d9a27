// What the emulator promises of threads, barriers, warps and copies, and that it says where a kernel is wrong.
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <resnext/random.hpp>
#include <resnext/tensor/number.hpp>
#include <resnext/testing/emulated.hpp>

#include "files.hpp"

using namespace resnext;

namespace {

const std::vector<EmulatorOptions> modes = {
    {.order = ThreadOrder::ascending, .copies = CopyArrival::late},
    {.order = ThreadOrder::descending, .copies = CopyArrival::late},
    {.order = ThreadOrder::ascending, .copies = CopyArrival::early},
    {.order = ThreadOrder::descending, .copies = CopyArrival::early},
    {.order = ThreadOrder::random, .copies = CopyArrival::random, .seed = 1},
    {.order = ThreadOrder::random, .copies = CopyArrival::random, .seed = 2},
};

/// Options for the launches of a scope.
class Mode {
 public:
  explicit Mode(const EmulatorOptions& options) { Emulated::options() = options; }
  ~Mode() { Emulated::options() = {}; }
};

template <class P>
void reverse_blocks(const float* x, float* y) {
  auto* const shared = reinterpret_cast<float*>(P::shared_memory());
  const int first = static_cast<int>(P::block_index().x) * P::threads();
  shared[P::thread()] = x[first + P::thread()];
  P::barrier();
  y[first + P::thread()] = shared[P::threads() - 1 - P::thread()];
}

/// Sums 8 tiles of 4 floats a thread, of which the next is on its way while one is read.
template <class P>
void sum_tiles(const float* x, float* y) {
  constexpr int tiles = 8;
  const int each = P::threads() * 4;
  auto* const shared = reinterpret_cast<float*>(P::shared_memory());  // [2][threads][4]
  const auto fetch = [&](int tile) {
    const int at = P::thread() * 4;
    P::copy_16_async(shared + tile % 2 * each + at, x + (tile < tiles ? tile * each : 0) + at, tile < tiles);
    P::commit_copies();
  };
  float sum = 0;
  fetch(0);
  for (int tile = 0; tile < tiles; ++tile) {
    fetch(tile + 1);
    P::template wait_for_copies<1>();
    P::barrier();
    const int neighbour = (P::thread() + 1) % P::threads();
    for (int i = 0; i < 4; ++i) sum += shared[tile % 2 * each + neighbour * 4 + i];
    P::barrier();
  }
  P::template wait_for_copies<0>();
  y[P::thread()] = sum;
}

template <class P>
void warp_sums(const std::int32_t* x, std::int32_t* y, std::uint32_t* odd) {
  std::int32_t sum = x[P::thread()];
  const std::uint32_t bits = P::ballot(sum % 2 != 0);
  for (int mask = 1; mask < 32; mask *= 2) sum += P::shuffle_xor(sum, mask);
  y[P::thread()] = sum;
  odd[P::thread()] = bits;
}

/// c[16, 8] = a[16, 16] b[16, 8] by one warp, and once more as two halves of k.
template <class P, class T>
void product(const T* a, const T* b, float* c, float* halves) {
  auto* const shared = reinterpret_cast<T*>(P::shared_memory());  // a, then the transpose of b
  for (int i = P::thread(); i < 256; i += 32) shared[i] = a[i];
  for (int i = P::thread(); i < 128; i += 32) shared[256 + i % 8 * 16 + i / 8] = b[i];
  P::barrier();
  std::array<std::uint32_t, 4> left{};
  std::array<std::uint32_t, 2> right{};
  const int lane = P::thread();
  P::load_matrices(left, shared + lane % 16 * 16 + lane / 16 * 8);
  P::load_matrices(right, shared + 256 + lane % 8 * 16 + lane / 8 % 2 * 8);
  std::array<float, 4> sum{}, sum_of_halves{};
  P::template multiply_16x8x16<T>(sum, left, right);
  P::template multiply_16x8x8<T>(sum_of_halves, {left[0], left[1]}, right[0]);
  P::template multiply_16x8x8<T>(sum_of_halves, {left[2], left[3]}, right[1]);
  for (std::size_t i = 0; i < 4; ++i) {
    const std::size_t row = static_cast<std::size_t>(lane / 4) + i / 2 * 8;
    const std::size_t at = row * 8 + static_cast<std::size_t>(lane % 4 * 2) + i % 2;
    c[at] = sum[i];
    halves[at] = sum_of_halves[i];
  }
}

template <class T>
void check_product() {
  const RandomStream random(1, "product");
  std::vector<T> a(256), b(128);
  for (std::size_t i = 0; i < a.size(); ++i) a[i] = T(static_cast<float>(random.uniform(i)) - 0.5f);
  for (std::size_t i = 0; i < b.size(); ++i) b[i] = T(static_cast<float>(random.uniform(1000 + i)) - 0.5f);
  for (const EmulatorOptions& options : modes) {
    const Mode mode(options);
    std::vector<float> c(128), halves(128);
    Emulated::launch<product<Emulated, T>>({}, 32, 384 * sizeof(T), a.data(), b.data(), c.data(), halves.data());
    for (std::size_t row = 0; row < 16; ++row) {
      for (std::size_t column = 0; column < 8; ++column) {
        double sum = 0;
        for (std::size_t k = 0; k < 16; ++k) sum += static_cast<double>(a[row * 16 + k]) * b[k * 8 + column];
        CHECK(c[row * 8 + column] == static_cast<float>(sum));
        CHECK(halves[row * 8 + column] == doctest::Approx(sum).epsilon(1e-6));
      }
    }
  }
}

template <class P>
void divergent_barriers(int) {
  if (P::thread() % 2 == 0) P::barrier();
  P::barrier();
}

template <class P>
void half_a_warp(int) {
  if (P::thread() < 16) P::ballot(true);
  P::barrier();
}

template <class P>
void forgotten_copy(float* x) {
  P::copy_16_async(P::shared_memory(), x);
}

/// True where all modes give y as without emulation.
template <class Run>
bool right_in_all_modes(KernelPlace skip, const Run& run) {
  for (EmulatorOptions options : modes) {
    options.skip = skip;
    const Mode mode(options);
    if (!run()) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("threads of a block exchange through shared memory, blocks are independent") {
  std::vector<float> x(3 * 96);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i);
  for (const EmulatorOptions& options : modes) {
    const Mode mode(options);
    std::vector<float> y(x.size());
    Emulated::launch<reverse_blocks<Emulated>>({3}, 96, 96 * sizeof(float), x.data(), y.data());
    for (std::size_t i = 0; i < x.size(); ++i) CHECK(y[i] == x[i / 96 * 96 + 95 - i % 96]);
  }
}

TEST_CASE("every barrier and wait that a kernel needs is missed when it does nothing") {
  constexpr int threads = 64;
  std::vector<float> x(8 * threads * 4);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 97);
  const auto run = [&] {
    std::vector<float> y(threads);
    try {
      Emulated::launch<sum_tiles<Emulated>>({}, threads, std::size_t{2} * threads * 16, x.data(), y.data());
    } catch (const KernelError&) {
      return false;
    }
    for (std::size_t t = 0; t < threads; ++t) {
      float sum = 0;
      for (std::size_t tile = 0; tile < 8; ++tile) {
        for (std::size_t i = 0; i < 4; ++i) sum += x[tile * threads * 4 + (t + 1) % threads * 4 + i];
      }
      if (y[t] != sum) return false;
    }
    return true;
  };
  const std::size_t before = Emulated::synchronizations().size();
  CHECK(right_in_all_modes({}, run));
  const std::vector<KernelPlace> places(Emulated::synchronizations().begin() + static_cast<std::ptrdiff_t>(before),
                                        Emulated::synchronizations().end());
  CHECK(places.size() == 4);
  for (const KernelPlace& place : places) {
    CAPTURE(place.line);
    CHECK_FALSE(right_in_all_modes(place, run));
  }
}

TEST_CASE("lanes of a warp exchange values and bits") {
  std::array<std::int32_t, 64> x{}, y{};
  std::array<std::uint32_t, 64> odd{};
  for (std::size_t i = 0; i < 64; ++i) x[i] = static_cast<std::int32_t>(i * i % 7);
  for (const EmulatorOptions& options : modes) {
    const Mode mode(options);
    Emulated::launch<warp_sums<Emulated>>({}, 64, 0, x.data(), y.data(), odd.data());
    for (std::size_t i = 0; i < 64; ++i) {
      std::int32_t sum = 0;
      std::uint32_t bits = 0;
      for (std::size_t l = 0; l < 32; ++l) {
        sum += x[i / 32 * 32 + l];
        bits |= static_cast<std::uint32_t>(x[i / 32 * 32 + l] % 2) << l;
      }
      CHECK(y[i] == sum);
      CHECK(odd[i] == bits);
    }
  }
}

TEST_CASE("products of matrices have the fragments of tensor cores") {
  check_product<bfloat16>();
  check_product<float16>();
}

TEST_CASE("what no GPU allows is said, with where the threads are") {
  const auto message = [](auto launch) { return testing::message_of<KernelError>(launch); };
  const std::string barriers = message([] { Emulated::launch<divergent_barriers<Emulated>>({}, 32, 0, 0); });
  CHECK(barriers.find("threads of one block wait at different barriers: block (0, 0, 0), thread 1") !=
        std::string::npos);
  CHECK(barriers.find("emulated_test.cpp:") != std::string::npos);
  const std::string warp = message([] { Emulated::launch<half_a_warp<Emulated>>({}, 32, 0, 0); });
  CHECK(warp.find("no thread can go on") != std::string::npos);
  CHECK(warp.find("from thread 0: waits for its warp, last at ") != std::string::npos);
  CHECK(warp.find("from thread 16: waits at a barrier, last at ") != std::string::npos);
  std::array<float, 4> x{};
  CHECK(message([&] {
          Emulated::launch<forgotten_copy<Emulated>>({}, 32, 512, x.data());
        }).find("a thread ends with asynchronous copies that it never waited for") != std::string::npos);
  CHECK_THROWS_WITH_AS((Emulated::launch<half_a_warp<Emulated>>({}, 48, 0, 0)),
                       "emulator: expected blocks of 32 to 1024 threads in whole warps, found 48", Error);
  CHECK_THROWS_WITH_AS(Emulated::barrier(), "emulator: this is for kernels, and none runs", Error);
  // and the next launch works
  std::vector<float> in(32, 1), out(32);
  Emulated::launch<reverse_blocks<Emulated>>({}, 32, 32 * sizeof(float), in.data(), out.data());
  CHECK(out == in);
}
