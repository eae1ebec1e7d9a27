/// @file
/// A stack that can be left in the middle of a function and entered again.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RESNEXT_FIBERS_UNDER_ASAN
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define RESNEXT_FIBERS_UNDER_ASAN
#endif
#if defined(RESNEXT_FIBERS_UNDER_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace resnext::detail {

#if defined(__x86_64__)
/// Saves what a call keeps on this stack and goes on with another one: 6 ns, where swapcontext asks the system and
/// takes 170. Opaque to the compiler, so memory may have changed when it returns.
extern "C" void resnext_switch_fiber(void** leave, void* enter);
asm(R"(
  .pushsection .text
  .weak resnext_switch_fiber
  .type resnext_switch_fiber, @function
resnext_switch_fiber:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size resnext_switch_fiber, .-resnext_switch_fiber
  .popsection
)");
#endif

/// One of several functions that run in turn on one thread, or the one that they were started from. A function must not
/// return, and no exception may leave it.
class Fiber {
 public:
  /// Begins at `entry` when it is switched to, on `size` bytes of stack. What ran there before is forgotten.
  void prepare(std::byte* stack, std::size_t size, void (*entry)()) {
    stack_ = stack;
    size_ = size;
#if defined(RESNEXT_FIBERS_UNDER_ASAN)
    __asan_unpoison_memory_region(stack, size);  // frames that were never left
#endif
#if defined(__x86_64__)
    void** const top = std::bit_cast<void**>(stack + size);
    top[-1] = nullptr;  // where `entry` would return to
    top[-2] = std::bit_cast<void*>(entry);
    std::fill_n(top - 8, 6, nullptr);
    at_ = top - 8;
#else
    getcontext(&at_);
    at_.uc_stack.ss_sp = stack;
    at_.uc_stack.ss_size = size;
    at_.uc_link = nullptr;
    makecontext(&at_, entry, 0);
#endif
  }
  /// Goes on with `next`, from the fiber that runs, which is this one. `for_good` where nobody comes back to it.
  void switch_to(Fiber& next, [[maybe_unused]] bool for_good = false) {
#if defined(RESNEXT_FIBERS_UNDER_ASAN)
    __sanitizer_start_switch_fiber(for_good ? nullptr : &fake_, next.stack_, next.size_);
#endif
#if defined(__x86_64__)
    resnext_switch_fiber(&at_, next.at_);
#else
    swapcontext(&at_, &next.at_);
#endif
#if defined(RESNEXT_FIBERS_UNDER_ASAN)
    __sanitizer_finish_switch_fiber(fake_, nullptr, nullptr);
#endif
  }
  /// The first thing that `entry` does, with the fiber that all were started from.
  static void started([[maybe_unused]] Fiber& from) {
#if defined(RESNEXT_FIBERS_UNDER_ASAN)
    const void* bottom = nullptr;
    std::size_t size = 0;
    __sanitizer_finish_switch_fiber(nullptr, &bottom, &size);
    if (from.stack_ != nullptr) return;
    from.stack_ = static_cast<std::byte*>(const_cast<void*>(bottom));
    from.size_ = size;
#endif
  }

 private:
  std::byte* stack_ = nullptr;
  std::size_t size_ = 0;
#if defined(__x86_64__)
  void* at_ = nullptr;
#else
  ucontext_t at_{};
#endif
#if defined(RESNEXT_FIBERS_UNDER_ASAN)
  void* fake_ = nullptr;
#endif
};

}  // namespace resnext::detail

#undef RESNEXT_FIBERS_UNDER_ASAN
