/// @file
/// The memory in which plans calculate.
#pragma once

#include <cstddef>

namespace resnext::detail {

/// Backend memory for whatever lives during one run of a plan, shared by the plans of an executor: as large as the
/// largest of them needs. Nothing in it outlives a run.
template <class B>
class Arena {
 public:
  /// At least that many bytes. May move, and loses what was there when it grows.
  std::byte* reserve(std::size_t bytes) {
    if (memory_.size() < bytes) {
      ++version_;
      memory_ = {};  // not both at once
      memory_ = Memory(bytes);
    }
    return memory_.data();
  }
  /// Changes when the memory moves.
  int version() const { return version_; }
  std::size_t size() const { return memory_.size(); }

 private:
  using Memory = typename B::template Buffer<std::byte>;

  Memory memory_;
  int version_ = 0;
};

}  // namespace resnext::detail
