/// @file
/// What the fuzz targets share: the choices of a mutator, and the memory that a reader may take.
#pragma once

#include <sanitizer/allocator_interface.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <random>
#include <span>
#include <string>
#include <string_view>

#include <resnext/error.hpp>

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);
// Millions of short runs: freed memory is kept from reuse for a while, but not for long.
extern "C" inline const char* __asan_default_options() { return "quarantine_size_mb=8:malloc_context_size=6"; }

namespace fuzz {

/// The choices of one mutation, which follow from the fuzzer's seed.
class Choices {
 public:
  explicit Choices(unsigned seed) : random_(seed) {}

  /// In [0, n); 0 when n is 0.
  std::size_t below(std::size_t n) { return n == 0 ? 0 : random_() % n; }
  bool one_in(std::size_t n) { return below(n) == 0; }
  template <class Range>
  const auto& of(const Range& range) {
    return range[below(std::size(range))];
  }
  /// Bytes, few of them different.
  std::string bytes(std::size_t size) {
    std::string text(size, '\0');
    for (char& c : text) c = static_cast<char>(one_in(4) ? random_() : 'a');
    return text;
  }

 private:
  std::minstd_rand random_;
};

/// libFuzzer's own mutation of a part of an input; the part may grow by `growth` bytes.
inline void mutate_bytes(std::string& part, std::size_t growth = 16) {
  const std::size_t size = part.size();
  part.resize(size + growth);
  part.resize(LLVMFuzzerMutate(reinterpret_cast<std::uint8_t*>(part.data()), size, part.size()));
}

/// Copies a mutated input to where libFuzzer wants it.
inline std::size_t put(std::string_view input, std::uint8_t* data, std::size_t max_size) {
  const std::size_t size = std::min(input.size(), max_size);
  std::copy_n(input.data(), size, data);
  return size;
}

/// What is allocated, counted by the sanitizer: operator new, malloc and zlib alike.
struct Memory {
  static inline std::size_t live = 0, peak = 0, largest = 0;

  static void start() {
    static const int installed = __sanitizer_install_malloc_and_free_hooks(
        [](const volatile void*, std::size_t size) {
          live += size;
          peak = std::max(peak, live);
          largest = std::max(largest, size);
        },
        [](const volatile void* address) {
          if (address != nullptr) live -= std::min(live, __sanitizer_get_allocated_size(const_cast<void*>(address)));
        });
    if (installed == 0) std::abort();
    live = peak = largest = 0;
  }
};

/// Ends the program as a finding.
[[noreturn]] inline void found(std::string_view what) {
  std::fprintf(stderr, "FOUND: %.*s\n", static_cast<int>(what.size()), what.data());
  std::abort();
}
inline void expect(bool law, std::string_view what) {
  if (!law) found(what);
}

/// Lets a reader loose. It may throw FileError and nothing else, may leave nothing allocated, and no allocation of its
/// may exceed the file's size by more than `bound`, nor all of them together 16 times that. It may take a second of the
/// processor's time, which a machine that is busy or was suspended does not lengthen.
/// @param size of the content, asked for only where the file's own size does not explain an allocation
/// @return whether it accepted the file
template <class Read, class Size>
bool run(Read read, std::size_t file_size, Size content_size, std::size_t bound = std::size_t{1} << 16) {
  bool accepted = false;
  Memory::start();
  const std::clock_t began = std::clock();
  try {
    read();
    accepted = true;
  } catch (const resnext::FileError&) {
  }
  if (std::clock() - began > CLOCKS_PER_SEC) found("a file that takes longer than a second");
  const std::size_t largest = Memory::largest, peak = Memory::peak;
  if (largest > file_size + bound || peak > 16 * (file_size + bound)) {
    const std::size_t size = content_size();
    if (largest > size + bound || peak > 16 * (size + bound)) {
      found("an allocation of " + std::to_string(largest) + " bytes (" + std::to_string(peak) + " in all) for " +
            std::to_string(size));
    }
  }
  return accepted;
}
template <class Read>
bool run(Read read, std::size_t file_size) {
  return run(read, file_size, [&] { return file_size; });
}

}  // namespace fuzz
