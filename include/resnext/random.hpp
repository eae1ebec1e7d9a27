/// @file
/// Counter-based randomness: a value depends only on its seed, stream and position, never on who asks first.
#pragma once

#include <cstdint>
#include <numbers>
#include <string_view>

#include <resnext/elementary.hpp>

namespace resnext {

namespace detail {

/// FNV-1a of a byte string, 64 bits.
constexpr std::uint64_t fnv1a(std::string_view bytes) {
  std::uint64_t hash = 0xCBF29CE484222325u;
  for (const char byte : bytes) hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001B3u;
  return hash;
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): a bijection of 64 bits that passes BigCrush on a counter.
constexpr std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

}  // namespace detail

/// A stream of random numbers addressed by position. Copies are equal; there is no hidden state.
class RandomStream {
 public:
  /// The stream `name` (a parameter's name, "flip", "shuffle", ...) of `seed`.
  constexpr RandomStream(std::uint64_t seed, std::string_view name) : key_(detail::mix(seed) ^ detail::fnv1a(name)) {}
  /// The stream numbered `key`, for instance a hash.
  constexpr explicit RandomStream(std::uint64_t key) : key_(key) {}

  /// A child stream, for instance one an epoch or one an image.
  constexpr RandomStream operator[](std::uint64_t child) const {
    return RandomStream(detail::mix(key_ ^ detail::mix(child + 0x632BE59BD9B4E019u)));
  }
  /// 64 random bits at position i.
  constexpr std::uint64_t bits(std::uint64_t i) const { return detail::mix(key_ + i * 0x9E3779B97F4A7C15u); }
  /// Uniform in [0, 1), a multiple of 2^-24: exact in float.
  constexpr float uniform(std::uint64_t i) const { return static_cast<float>(bits(i) >> 40) * 0x1p-24f; }
  /// Uniform integer in [0, n), n > 0 (Lemire's multiply-shift in two 32-bit halves; bias below 2^-32 n).
  constexpr std::uint32_t below(std::uint64_t i, std::uint32_t n) const {
    return static_cast<std::uint32_t>(((bits(i) >> 32) * n) >> 32);
  }
  /// Standard normal (Box-Muller on positions 2i and 2i + 1).
  double normal(std::uint64_t i) const {
    const double u = (static_cast<double>(bits(2 * i) >> 11) + 0.5) * 0x1p-53;
    const double v = static_cast<double>(bits(2 * i + 1) >> 11) * 0x1p-53;
    return detail::sqrt(-2.0 * detail::log(u)) * detail::cos(2.0 * std::numbers::pi * v);
  }

 private:
  std::uint64_t key_;
};

}  // namespace resnext
