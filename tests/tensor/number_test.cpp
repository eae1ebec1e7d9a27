#include <doctest/doctest.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

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

TEST_CASE("a half is its sign, 11 bits of significand and a power of two") {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float found = half_to_float(static_cast<std::uint16_t>(bits));
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
