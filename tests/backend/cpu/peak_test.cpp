#include <doctest/doctest.h>

#include <resnext/backend/cpu/peak.hpp>

#include <resnext/backend/cpu/call-inl.h>

using namespace resnext;

TEST_CASE("the loop multiplies and adds as often as it says") {
  // Each chain is x -> 0.999 x + 0.001, whose fixed point is 1.
  const auto chains = static_cast<double>(RESNEXT_CALL(flops_of_round)) / 2;
  CHECK(RESNEXT_CALL(multiply_add, 20'000) == doctest::Approx(chains).epsilon(1e-3));
  CHECK(RESNEXT_CALL(multiply_add, 0) > 5 * chains);  // 0, 1, ..., 11
}

TEST_CASE("the peak is one that a processor can have") {
  const double peak = detail::measured_peak_gflops();
  CHECK(peak > 0.01 * thread_count());
  CHECK(peak < 1000.0 * thread_count());
}
