/// @file
/// Memory of the CPU backend.
#pragma once

#include <algorithm>
#include <cstddef>

#include <resnext/backend/cpu/parallel.hpp>
#include <resnext/tensor/buffer.hpp>

namespace resnext {

/// A `HostBuffer` whose pages are dealt out to thread_count() in turn, in pieces of the size of a huge page. An arena
/// is used by all threads in changing parts, so on a machine with several memories each should hold an equal share of
/// it; and the first touch takes a fraction of the time.
template <class T>
class CpuBuffer : public HostBuffer<T> {
 public:
  CpuBuffer() = default;
  /// @throws std::bad_alloc when the system has not that much memory.
  explicit CpuBuffer(std::size_t size) : HostBuffer<T>(size, touch) {}

 private:
  static void touch(unsigned char* begin, std::size_t bytes) {
    constexpr std::size_t piece = std::size_t{2} << 20;
    const std::size_t pieces = (bytes + piece - 1) / piece;
    const auto parts = std::min(pieces, static_cast<std::size_t>(thread_count()));
    parallel_for(static_cast<int>(parts), [&](int part) {
      for (auto at = static_cast<std::size_t>(part); at < pieces; at += parts) {
        detail::touch_pages(begin + at * piece, std::min(piece, bytes - at * piece));
      }
    });
  }
};

}  // namespace resnext
