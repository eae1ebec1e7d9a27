/// @file
/// How executors on several ranks meet: the contract, and the communicator of one rank alone.
#pragma once

#include <concepts>
#include <cstdint>

namespace resnext {

/// Sums buffers over the ranks of a data-parallel job. `all_reduce` starts the transfer and returns; it orders itself
/// with the backend's stream (`stream.defer(wait)` on a host, an event on a device), and whoever needs the sum calls
/// `stream.join()` first. The buffer must not be touched in between.
template <class Comm, class B>
concept Communicator = requires(Comm& communicator, typename B::Gradient* values, std::int64_t size,
                                typename B::Stream& stream) {
  { communicator.rank() } -> std::convertible_to<int>;
  { communicator.size() } -> std::convertible_to<int>;
  communicator.all_reduce(values, size, stream);
};

/// One rank: every sum is already there.
struct Solo {
  /// Of 1.
  int rank() const { return 0; }
  /// Ranks.
  int size() const { return 1; }
  /// Nothing to do.
  template <class Gradient, class Stream>
  void all_reduce(Gradient*, std::int64_t, Stream&) {}
};

}  // namespace resnext
