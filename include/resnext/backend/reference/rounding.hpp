/// @file
/// Operators that calculate in one type and store in another.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace resnext::detail {

/// What numbers of type T are calculated in: those of 16 bits in float.
template <class T>
using Calculated = std::conditional_t<sizeof(T) == 2, float, T>;

/// Scratch memory that is handed out piece by piece.
class Workspace {
 public:
  explicit Workspace(std::byte* begin) : next_(begin) {}

  template <class T>
  T* take(std::int64_t count) {
    T* const piece = reinterpret_cast<T*>(next_);
    next_ += bytes<T>(count);
    return piece;
  }
  /// What `take` uses up.
  template <class T>
  static constexpr std::size_t bytes(std::int64_t count) {
    return (static_cast<std::size_t>(count) * sizeof(T) + 63) / 64 * 64;
  }
  /// What `read` and `write` use up.
  template <class T>
  static constexpr std::size_t copy_bytes(std::int64_t count) {
    return sizeof(T) == 2 ? bytes<float>(count) : 0;
  }

  /// Numbers to calculate with: they themselves, or a copy.
  template <class T>
  const Calculated<T>* read(const T* from, std::int64_t count) {
    if constexpr (sizeof(T) == 2) {
      auto* const copy = take<float>(count);
      std::copy_n(from, count, copy);
      return copy;
    } else {
      return from;
    }
  }
  /// Where results are calculated that `store` then rounds: in their place, if nothing is to be rounded.
  template <class T>
  Calculated<T>* write(T* to, std::int64_t count) {
    if constexpr (sizeof(T) == 2) {
      return take<float>(count);
    } else {
      return to;
    }
  }

 private:
  std::byte* next_;
};

template <class T>
void store(const Calculated<T>* from, T* to, std::int64_t count) {
  if constexpr (sizeof(T) == 2) std::transform(from, from + count, to, [](float x) { return T(x); });
}

}  // namespace resnext::detail
