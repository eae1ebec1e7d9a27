#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

#include <resnext/random.hpp>
#include <resnext/tensor/number.hpp>

using namespace resnext;

TEST_CASE("finite, infinite and not a number are told apart by bits, in every exponent") {
  for (std::uint32_t high = 0; high < 0x10000; ++high) {
    for (const std::uint32_t low : {0u, 1u, 0xFFFFu}) {
      const auto x = std::bit_cast<float>(high << 16 | low);
      REQUIRE(is_finite(x) == std::isfinite(x));
      REQUIRE(is_nan(x) == std::isnan(x));
      const auto y = std::bit_cast<double>(std::uint64_t{high} << 48 | low);
      REQUIRE(is_finite(y) == std::isfinite(y));
      REQUIRE(is_nan(y) == std::isnan(y));
    }
  }
}

namespace {

/// All values of a type of 16 bits that are finite and not negative, in their order, which is that of their bits.
template <class T>
std::vector<double> magnitudes(std::uint16_t infinity) {
  std::vector<double> values;
  for (std::uint16_t bits = 0; bits < infinity; ++bits) values.push_back(double{float{T::from_bits(bits)}});
  return values;
}

/// What rounds to the nearest, of two equally near ones to the even one, and goes to infinity where the next power of two
/// would be nearer: judged by the distances alone.
template <class T, class From>
void check_rounding(const std::vector<double>& values, std::uint16_t infinity, From x) {
  const double magnitude = std::fabs(double{x});
  const auto above = std::upper_bound(values.begin(), values.end(), magnitude);
  const auto below = static_cast<std::uint16_t>(above - values.begin() - 1);
  const double low = values[below], high = above == values.end() ? 2 * low - values[below - 1u] : *above;
  const bool up = magnitude - low > high - magnitude || (magnitude - low == high - magnitude && below % 2 == 1);
  const auto expected = std::min<std::uint16_t>(static_cast<std::uint16_t>(below + up), infinity);
  INFO(double{x});
  REQUIRE(T(x).bits == (expected | (std::signbit(x) ? 0x8000 : 0)));
}

template <class T>
void check_type(std::uint16_t infinity, int least_exponent) {
  constexpr double endless = std::numeric_limits<double>::infinity();
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {  // what it can hold stays what it is
    const T x = T::from_bits(static_cast<std::uint16_t>(bits));
    if (is_nan(x)) {
      REQUIRE((bits & 0x7FFF) > infinity);
      REQUIRE(is_nan(T(float{x})));
      REQUIRE(is_nan(T(double{float{x}})));
      continue;
    }
    REQUIRE(T(float{x}).bits == bits);
    REQUIRE(T(double{float{x}}).bits == bits);
  }
  CHECK(T(static_cast<float>(endless)).bits == infinity);
  CHECK(T(-endless).bits == (infinity | 0x8000));
  CHECK(T(std::numeric_limits<double>::max()).bits == infinity);
  CHECK(T(-std::numeric_limits<double>::denorm_min()).bits == 0x8000);

  const auto values = magnitudes<T>(infinity);
  for (std::size_t i = 0; i + 1 < values.size(); ++i) {  // between two neighbours, and next to the middle
    const double middle = (values[i] + values[i + 1]) / 2;
    for (const double x : {middle, std::nextafter(middle, endless), std::nextafter(middle, 0.0)}) {
      check_rounding<T>(values, infinity, x);
      check_rounding<T>(values, infinity, static_cast<float>(-x));
    }
  }
  const double largest = values.back(), step = largest - values[values.size() - 2];
  check_rounding<T>(values, infinity, std::nextafter(largest + step / 2, 0.0));
  CHECK(T(largest + step / 2).bits == infinity);
  const RandomStream random(5, "numbers");
  for (std::uint32_t i = 0; i < 200000; ++i) {
    const int exponent = least_exponent - 4 + static_cast<int>(random.below(2 * i, 60));
    const double x = std::ldexp(1 + random.uniform(2 * i + 1), exponent);
    if (x < largest) check_rounding<T>(values, infinity, x);
    if (x < largest) check_rounding<T>(values, infinity, static_cast<float>(x));
  }
}

}  // namespace

TEST_CASE("a half is its sign, 11 bits of significand and a power of two") {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float found = float16::from_bits(static_cast<std::uint16_t>(bits));
    const int exponent = static_cast<int>(bits >> 10 & 0x1F), fraction = static_cast<int>(bits & 0x3FF);
    REQUIRE(std::signbit(found) == (bits >> 15 != 0));
    if (exponent == 31) {
      REQUIRE((fraction == 0 ? std::isinf(found) : std::isnan(found)));
      continue;
    }
    const double magnitude = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
    REQUIRE(std::fabs(double{found}) == magnitude);
  }
}

TEST_CASE("a bfloat16 is the upper half of a float") {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    REQUIRE(std::bit_cast<std::uint32_t>(float{bfloat16::from_bits(static_cast<std::uint16_t>(bits))}) == bits << 16);
  }
}

TEST_CASE("types of 16 bits are made by rounding to the nearest, once") {
  static_assert(sizeof(bfloat16) == 2 && std::is_trivially_copyable_v<bfloat16> && std::is_trivial_v<float16>);
  static_assert(!std::is_convertible_v<float, bfloat16> && std::is_convertible_v<bfloat16, float>);
  check_type<bfloat16>(0x7F80, -133);
  check_type<float16>(0x7C00, -24);
  // 1 + 2^-8 is between two of them; a float between loses the tail that decides, and rounding twice would go down
  CHECK(bfloat16(1 + 0x1p-8 + 0x1p-40).bits == 0x3F81);
  CHECK(bfloat16(1 + 0x1p-8).bits == 0x3F80);
  CHECK(float16(65519.99f).bits == 0x7BFF);
  CHECK(float16(65520.0f).bits == 0x7C00);
}

TEST_CASE("products of extents from outside: exact, 0 where one is, nothing where they are negative or too large") {
  CHECK(checked_product({}) == 1);
  CHECK(checked_product({2, 3, 5}, 4) == 120);
  CHECK(checked_product({1LL << 30, 0, 1LL << 30}) == 0);
  CHECK(!checked_product({1LL << 40, 0, 1LL << 40}));
  CHECK(!checked_product({1LL << 22, 1LL << 21, 1LL << 21, 3}));
  CHECK(!checked_product({2, -1}));
  CHECK(!checked_product({0, -1}));
  CHECK(checked_product({std::numeric_limits<std::int64_t>::max()}) == (std::uint64_t{1} << 63) - 1);
}
