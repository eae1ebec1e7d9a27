// Training with the reference backend against PyTorch.
#include <doctest/doctest.h>

#include <resnext/reference.hpp>
#include <resnext/resnext.hpp>

#include "support/golden.hpp"
#include "support/golden_networks.hpp"

using namespace resnext;

namespace {

template <class B>
void check_own() {
  support::for_each_own(
      []<class Net>(const support::Golden& golden) { support::check_training<Net, B>(golden, support::sharp); });
}
template <class B>
void check_shared() {
  support::for_each_training([]<class Net>(const support::Golden& golden, auto... tolerance) {
    support::check_training<Net, B>(golden, tolerance...);
  });
}

}  // namespace

TEST_CASE("Reference<float> trains small networks as PyTorch does") { check_own<Reference<float>>(); }
TEST_CASE("Reference<double> trains small networks as PyTorch does") { check_own<Reference<double>>(); }
TEST_CASE("Reference<float> trains the families as PyTorch does") { check_shared<Reference<float>>(); }
TEST_CASE("Reference<double> trains the families as PyTorch does") { check_shared<Reference<double>>(); }
