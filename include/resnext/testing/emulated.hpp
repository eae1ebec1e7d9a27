/// @file
/// Runs kernels of GPUs on the CPU, for tests: the same functions, compiled by the host's compiler alone.
///
/// ```cpp
/// template <class P>                                   // P: the platform, here Emulated
/// void reverse(const float* x, float* y) {             // what each thread of a block does
///   auto* shared = reinterpret_cast<float*>(P::shared_memory());
///   shared[P::thread()] = x[P::thread()];
///   P::barrier();
///   y[P::thread()] = shared[P::threads() - 1 - P::thread()];
/// }
/// Emulated::launch<reverse<Emulated>>({1}, 64, 64 * sizeof(float), x, y);
/// ```
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <sys/mman.h>

#include <resnext/error.hpp>
#include <resnext/testing/fiber.hpp>

namespace resnext {

/// In which order the threads of a block go on, where a GPU leaves it open.
enum class ThreadOrder : std::uint8_t { ascending, descending, random };
/// When an asynchronous copy arrives: where it is waited for, at once, or either.
enum class CopyArrival : std::uint8_t { late, early, random };

/// A barrier or a wait in the source of a kernel.
struct KernelPlace {
  std::string_view file;  ///< as the compiler names it
  int line = 0;           ///< from 1
  friend bool operator==(const KernelPlace&, const KernelPlace&) = default;
};

/// What a GPU leaves open, and what a test may break.
struct EmulatorOptions {
  ThreadOrder order = ThreadOrder::ascending;  ///< of threads and blocks
  CopyArrival copies = CopyArrival::late;      ///< of asynchronous copies
  std::uint64_t seed = 1;                      ///< of what is random
  KernelPlace skip{};                          ///< this barrier or wait does nothing: a test must notice
};

/// A place in a grid, or its extents.
struct GridIndex {
  unsigned x = 1;  ///< the one that changes first
  unsigned y = 1;  ///< then this
  unsigned z = 1;  ///< then this
};

/// A kernel did what no GPU allows, with where each thread was.
struct KernelError : Error {
  using Error::Error;
};

namespace detail {

/// One block of threads, each a fiber that runs until a barrier, an instruction of its warp, or its end.
class EmulatedBlock {
 public:
  static constexpr int most_threads = 1024, warp_size = 32;
  static constexpr std::size_t most_shared_memory = std::size_t{227} << 10;  // of a block of sm_90

  EmulatedBlock() {
    void* const memory = mmap(nullptr, most_threads * stack_size, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw_error<Error>("emulator: no memory for the stacks of a block");
    stacks_ = static_cast<std::byte*>(memory);
    for (std::size_t t = 0; t < most_threads; ++t) mprotect(stacks_ + t * stack_size, guard_size, PROT_NONE);
  }
  ~EmulatedBlock() { munmap(stacks_, most_threads * stack_size); }
  EmulatedBlock(const EmulatedBlock&) = delete;
  EmulatedBlock& operator=(const EmulatedBlock&) = delete;

  /// The one that runs on this thread of the host.
  static EmulatedBlock& current() {
    if (running == nullptr) throw_error<Error>("emulator: this is for kernels, and none runs");
    return *running;
  }

  void run(const std::function<void()>& kernel, GridIndex index, GridIndex grid, int threads, std::size_t shared,
           const EmulatorOptions& options) {
    kernel_ = &kernel;
    index_ = index;
    grid_ = grid;
    options_ = options;
    // Exactly as large as asked for, so that AddressSanitizer sees what is beyond; NaN in every type.
    void* memory = nullptr;
    if (posix_memalign(&memory, 128, std::max<std::size_t>(shared, 1)) != 0) throw std::bad_alloc();
    shared_.reset(static_cast<std::byte*>(memory));
    std::memset(memory, 0xff, shared);
    threads_.resize(static_cast<std::size_t>(threads));
    warps_.assign(threads_.size() / warp_size, {});
    ready_.assign(warps_.size(), 0);
    waiting_ = ended_ = 0;
    failure_.clear();
    for (int t = 0; t < threads; ++t) {
      Thread& thread = at(t);
      set(t, State::ready);
      thread.place = {};
      thread.copies.clear();
      thread.fiber.prepare(stacks_ + static_cast<std::size_t>(t) * stack_size, stack_size, [] { running->main(); });
    }
    running = this;
    enter(pick(), caller_);
    running = nullptr;
    if (!failure_.empty()) throw KernelError(failure_);
  }
  void seed(std::uint64_t seed) { random_ = seed * 0x9E3779B97F4A7C15u | 1; }
  std::uint64_t random() {  // xorshift64, Marsaglia 2003
    random_ ^= random_ << 13;
    random_ ^= random_ >> 7;
    random_ ^= random_ << 17;
    return random_;
  }

  int thread() const { return thread_; }
  int threads() const { return static_cast<int>(threads_.size()); }
  GridIndex index() const { return index_; }
  GridIndex grid() const { return grid_; }
  std::byte* shared_memory() { return shared_.get(); }
  /// All barriers and waits that blocks ran into.
  const std::vector<KernelPlace>& synchronizations() const { return synchronizations_; }

  void barrier(KernelPlace place) {
    if (skips(place)) return;
    if (waiting_ > 0 && barrier_ != place) {
      at(thread_).place = place;
      fail("threads of one block wait at different barriers");
    }
    barrier_ = place;
    ++waiting_;
    at(thread_).place = place;
    set(thread_, State::block);
    release_if_complete();
    leave();
  }

  /// Waits for the 32 lanes of the warp; `combine` then works on the arguments of all of them at once.
  void collective(void* arguments, void (*combine)(void* const*), KernelPlace place) {
    Warp& warp = warps_[static_cast<std::size_t>(thread_ / warp_size)];
    Thread& me = at(thread_);
    me.place = place;
    if (warp.arrived > 0 && (warp.place != place || warp.combine != combine)) {
      fail("lanes of one warp are at different instructions of the warp");
    }
    warp.place = place;
    warp.combine = combine;
    warp.arguments[static_cast<std::size_t>(thread_ % warp_size)] = arguments;
    set(thread_, State::warp);
    if (++warp.arrived == warp_size) {
      warp.arrived = 0;
      combine(warp.arguments.data());
      const int first = thread_ / warp_size * warp_size;
      for (int t = first; t < first + warp_size; ++t) set(t, State::ready);
    }
    leave();
  }

  /// Starts an asynchronous copy, or one of zeros. Until the wait nobody may look: there is NaN.
  void copy(void* to, const void* from, std::size_t size, bool valid) {
    const Copy copy{to, from, size, valid};
    const bool late =
        options_.copies == CopyArrival::late || (options_.copies == CopyArrival::random && random() % 2 == 0);
    if (!late) return finish(copy);
    std::memset(to, 0xff, size);
    at(thread_).copies.push_back(copy);
  }
  void commit() { at(thread_).copies.push_back({}); }
  /// Finishes all groups of this thread but the newest `keep`.
  void wait(int keep, KernelPlace place) {
    if (skips(place)) return;
    auto& copies = at(thread_).copies;
    auto end = copies.end();
    for (int groups = 0; end != copies.begin(); --end) {
      if (std::prev(end)->to == nullptr && ++groups > keep) break;
    }
    std::for_each(copies.begin(), end, finish);
    copies.erase(copies.begin(), end);
  }

  /// Ends the launch with this message and where all threads are.
  [[noreturn]] void fail(std::string_view what) {
    static constexpr std::array<std::string_view, 4> words = {"can go on", "waits for its warp", "waits at a barrier",
                                                              "has ended"};
    failure_ = std::string("emulator: ").append(what);
    failure_ += ": block (" + std::to_string(index_.x) + ", " + std::to_string(index_.y) + ", " +
                std::to_string(index_.z) + "), thread " + std::to_string(thread_);
    for (std::size_t t = 0; t < threads_.size(); ++t) {  // a line for each run of threads at one place
      const Thread& thread = threads_[t];
      if (t > 0 && threads_[t - 1].state == thread.state && threads_[t - 1].place == thread.place) continue;
      failure_ += "\n  from thread " + std::to_string(t) + ": ";
      failure_ += words[static_cast<std::size_t>(thread.state)];
      if (thread.place.line == 0) continue;
      failure_.append(", last at ").append(thread.place.file) += ":" + std::to_string(thread.place.line);
    }
    at(thread_).fiber.switch_to(caller_, true);
    std::abort();  // it does not come back
  }

 private:
  static constexpr std::size_t stack_size = std::size_t{256} << 10, guard_size = 4096;

  enum class State : std::uint8_t { ready, warp, block, ended };
  struct Copy {
    void* to = nullptr;  // null: the end of a group
    const void* from = nullptr;
    std::size_t size = 0;
    bool valid = false;
  };
  struct Thread {
    Fiber fiber;
    State state = State::ready;
    KernelPlace place;  // where it waited last
    std::vector<Copy> copies;
  };
  struct Warp {
    int arrived = 0;
    KernelPlace place;
    void (*combine)(void* const*) = nullptr;
    std::array<void*, warp_size> arguments{};
  };
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };

  Thread& at(int thread) { return threads_[static_cast<std::size_t>(thread)]; }
  void set(int thread, State state) {
    at(thread).state = state;
    std::uint32_t& ready = ready_[static_cast<std::size_t>(thread / warp_size)];
    const std::uint32_t lane = std::uint32_t{1} << thread % warp_size;
    ready = state == State::ready ? ready | lane : ready & ~lane;
  }

  bool skips(KernelPlace place) {
    if (std::find(synchronizations_.begin(), synchronizations_.end(), place) == synchronizations_.end()) {
      synchronizations_.push_back(place);
    }
    return options_.skip == place;
  }

  static void finish(const Copy& copy) {
    if (copy.to == nullptr) return;
    if (copy.valid) {
      std::memcpy(copy.to, copy.from, copy.size);
    } else {
      std::memset(copy.to, 0, copy.size);
    }
  }

  /// The thread that goes on, or -1.
  int pick() {
    const bool down = options_.order == ThreadOrder::descending, shuffled = options_.order == ThreadOrder::random;
    const std::uint64_t draw = shuffled ? random() : 0;
    const std::size_t count = ready_.size(), start = shuffled ? static_cast<std::size_t>(draw % count) : 0;
    const int turn = static_cast<int>(draw >> 40) % warp_size;
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t warp = down ? count - 1 - i : (start + i) % count;
      const std::uint32_t ready = ready_[warp];
      if (ready == 0) continue;
      const int lane = down ? warp_size - 1 - std::countl_zero(ready)
                            : (turn + std::countr_zero(std::rotr(ready, turn))) % warp_size;
      return static_cast<int>(warp) * warp_size + lane;
    }
    return -1;
  }
  void enter(int next, Fiber& from, bool for_good = false) {
    thread_ = next;
    from.switch_to(at(next).fiber, for_good);
  }
  void leave() {
    const int me = thread_, next = pick();
    if (next < 0) fail("no thread can go on");
    if (next != me) enter(next, at(me).fiber);
  }
  void release_if_complete() {
    if (waiting_ == 0 || waiting_ + ended_ != threads()) return;
    waiting_ = 0;
    for (int t = 0; t < threads(); ++t) {
      if (at(t).state == State::block) set(t, State::ready);
    }
  }
  void main() {
    Fiber::started(caller_);
    (*kernel_)();
    Thread& me = at(thread_);
    const bool all_copied =
        std::all_of(me.copies.begin(), me.copies.end(), [](const Copy& c) { return c.to == nullptr; });
    if (!all_copied) fail("a thread ends with asynchronous copies that it never waited for");
    set(thread_, State::ended);
    if (++ended_ == threads()) me.fiber.switch_to(caller_, true);
    release_if_complete();
    const int next = pick();
    if (next < 0) fail("no thread can go on");
    enter(next, me.fiber, true);
  }

  static inline thread_local EmulatedBlock* running = nullptr;

  const std::function<void()>* kernel_ = nullptr;
  EmulatorOptions options_;
  GridIndex index_, grid_;
  std::byte* stacks_ = nullptr;
  std::unique_ptr<std::byte, Free> shared_;
  Fiber caller_;
  std::vector<Thread> threads_;
  std::vector<Warp> warps_;
  std::vector<std::uint32_t> ready_;  // of each warp, bit i for lane i
  std::vector<KernelPlace> synchronizations_;
  KernelPlace barrier_;
  int thread_ = 0, waiting_ = 0, ended_ = 0;
  std::uint64_t random_ = 1;
  std::string failure_;
};

}  // namespace detail

/// The platform of kernels under test. What a kernel may use of it means what the instruction of a GPU of that name
/// means; blocks have one dimension, of whole warps.
struct Emulated {
  /// For the launches that follow on this thread of the host.
  static EmulatorOptions& options() {
    static thread_local EmulatorOptions chosen;
    return chosen;
  }
  /// Barriers and waits that any launch on this thread of the host ran into.
  static const std::vector<KernelPlace>& synchronizations() { return block().synchronizations(); }

  /// Runs a kernel to its end, one block after the other.
  /// @param shared bytes of shared memory a block
  /// @throws Error for a launch that no GPU takes, KernelError where the kernel is wrong
  template <auto kernel, class... Arguments>
  static void launch(GridIndex grid, int threads, std::size_t shared, const Arguments&... arguments) {
    using Block = detail::EmulatedBlock;
    if (threads < 1 || threads > Block::most_threads || threads % Block::warp_size != 0) {
      throw_error<Error>("emulator: expected blocks of 32 to 1024 threads in whole warps, found ", threads);
    }
    if (shared > Block::most_shared_memory) {
      throw_error<Error>("emulator: expected at most ", Block::most_shared_memory, " bytes of shared memory, found ",
                         shared);
    }
    const std::function<void()> body = [&] { kernel(arguments...); };
    std::vector<GridIndex> order;
    for (unsigned z = 0; z < grid.z; ++z) {
      for (unsigned y = 0; y < grid.y; ++y) {
        for (unsigned x = 0; x < grid.x; ++x) order.push_back({x, y, z});
      }
    }
    const EmulatorOptions& chosen = options();
    block().seed(chosen.seed);
    if (chosen.order == ThreadOrder::descending) std::reverse(order.begin(), order.end());
    if (chosen.order == ThreadOrder::random) {
      for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[block().random() % i]);
    }
    for (const GridIndex& index : order) block().run(body, index, grid, threads, shared, chosen);
  }

  /// This thread's number in its block.
  static int thread() { return detail::EmulatedBlock::current().thread(); }
  /// Threads of a block.
  static int threads() { return detail::EmulatedBlock::current().threads(); }
  /// The block's place in the grid.
  static GridIndex block_index() { return detail::EmulatedBlock::current().index(); }
  /// The grid's extents.
  static GridIndex grid() { return detail::EmulatedBlock::current().grid(); }
  /// That of the block, aligned to 128 bytes, NaN at first.
  static std::byte* shared_memory() { return detail::EmulatedBlock::current().shared_memory(); }

  /// Waits for all threads of the block that have not ended.
  static void barrier(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    detail::EmulatedBlock::current().barrier({file, line});
  }
  /// The value of the lane whose number differs in the bits of `mask`.
  template <class T>
  static T shuffle_xor(T value, int mask, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    struct Lane {
      T in, out;
      int mask;
    } lane{value, value, mask};
    collective(
        lane,
        [](void* const* lanes) {
          for (int i = 0; i < warp_size; ++i) of<Lane>(lanes, i).out = of<Lane>(lanes, i ^ of<Lane>(lanes, i).mask).in;
        },
        file, line);
    return lane.out;
  }
  /// Bit i is what lane i has.
  static std::uint32_t ballot(bool value, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    struct Lane {
      bool in;
      std::uint32_t out;
    } lane{value, 0};
    collective(
        lane,
        [](void* const* lanes) {
          std::uint32_t all = 0;
          for (int i = 0; i < warp_size; ++i) all |= std::uint32_t{of<Lane>(lanes, i).in} << i;
          for (int i = 0; i < warp_size; ++i) of<Lane>(lanes, i).out = all;
        },
        file, line);
    return lane.out;
  }

  /// Starts the copy of 16 bytes from global to shared memory, or of zeros.
  static void copy_16_async(void* shared, const void* global, bool valid = true) {
    detail::EmulatedBlock::current().copy(shared, global, 16, valid);
  }
  /// Ends a group of copies.
  static void commit_copies() { detail::EmulatedBlock::current().commit(); }
  /// Waits for all groups of this thread but the newest `keep`. Other threads see them after a barrier.
  template <int keep>
  static void wait_for_copies(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    detail::EmulatedBlock::current().wait(keep, {file, line});
  }

  /// Four 8 x 8 matrices of 16-bit numbers: lane l gives the address of row l % 8 of matrix l / 8.
  static void load_matrices(std::array<std::uint32_t, 4>& matrices, const void* row,
                            const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    load_rows(matrices, row, file, line);
  }
  /// The same of two; lanes 0 to 15 give the rows.
  static void load_matrices(std::array<std::uint32_t, 2>& matrices, const void* row,
                            const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    load_rows(matrices, row, file, line);
  }
  /// c[16, 8] += a[16, 16] b[16, 8], of `bfloat16` or `float16`, in the fragments of mma.m16n8k16.
  template <class T>
  static void multiply_16x8x16(std::array<float, 4>& c, const std::array<std::uint32_t, 4>& a,
                               const std::array<std::uint32_t, 2>& b, const char* file = __builtin_FILE(),
                               int line = __builtin_LINE()) {
    multiply<16, T>(c.data(), a.data(), b.data(), file, line);
  }
  /// c[16, 8] += a[16, 8] b[8, 8], in those of mma.m16n8k8.
  template <class T>
  static void multiply_16x8x8(std::array<float, 4>& c, const std::array<std::uint32_t, 2>& a, std::uint32_t b,
                              const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    multiply<8, T>(c.data(), a.data(), &b, file, line);
  }

 private:
  static constexpr int warp_size = detail::EmulatedBlock::warp_size;

  static detail::EmulatedBlock& block() {
    static thread_local detail::EmulatedBlock one;
    return one;
  }
  template <class Lane>
  static Lane& of(void* const* lanes, int lane) {
    return *static_cast<Lane*>(lanes[lane]);
  }
  template <class Lane>
  static void collective(Lane& lane, void (*combine)(void* const*), const char* file, int line) {
    detail::EmulatedBlock::current().collective(&lane, combine, {file, line});
  }

  template <std::size_t count>
  static void load_rows(std::array<std::uint32_t, count>& matrices, const void* row, const char* file, int line) {
    struct Lane {
      std::uint32_t* matrices;
      const std::byte* row;
    } lane{matrices.data(), static_cast<const std::byte*>(row)};
    collective(
        lane,
        [](void* const* lanes) {
          for (int i = 0; i < static_cast<int>(count); ++i) {
            for (int l = 0; l < warp_size; ++l) {
              std::memcpy(of<Lane>(lanes, l).matrices + i, of<Lane>(lanes, 8 * i + l / 4).row + l % 4 * 4, 4);
            }
          }
        },
        file, line);
  }
  /// Every product and sum in double, rounded once: at least as exact as a tensor core.
  template <int k, class T>
  static void multiply(float* c, const std::uint32_t* a, const std::uint32_t* b, const char* file, int line) {
    struct Lane {
      float* c;
      const std::uint32_t *a, *b;
    } lane{c, a, b};
    collective(
        lane,
        [](void* const* lanes) {
          std::array<std::array<double, k>, 16> left{};
          std::array<std::array<double, 8>, k> right{};
          const auto number = [](std::uint32_t pair, int i) {
            return static_cast<double>(T::from_bits(static_cast<std::uint16_t>(pair >> 16 * i)));
          };
          const auto u = [](int i) { return static_cast<std::size_t>(i); };
          for (int l = 0; l < warp_size; ++l) {
            const Lane& me = of<Lane>(lanes, l);
            for (int half = 0; half < 2; ++half) {
              for (int i = 0; i < k / 4; ++i) {
                left[u(l / 4 + i % 2 * 8)][u(l % 4 * 2 + i / 2 * 8 + half)] = number(me.a[i], half);
              }
              for (int i = 0; i < k / 8; ++i) right[u(l % 4 * 2 + 8 * i + half)][u(l / 4)] = number(me.b[i], half);
            }
          }
          for (int l = 0; l < warp_size; ++l) {
            for (int i = 0; i < 4; ++i) {
              float& to = of<Lane>(lanes, l).c[i];
              double sum = to;
              for (std::size_t t = 0; t < k; ++t) sum += left[u(l / 4 + i / 2 * 8)][t] * right[t][u(l % 4 * 2 + i % 2)];
              to = static_cast<float>(sum);
            }
          }
        },
        file, line);
  }
};

}  // namespace resnext
