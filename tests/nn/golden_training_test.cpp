// Training with the reference backend against PyTorch.
#include <doctest/doctest.h>

#include <resnext/reference.hpp>
#include <resnext/resnext.hpp>

#include "support/golden.hpp"
#include "support/golden_networks.hpp"

using namespace resnext;

TEST_CASE("Reference<float> trains as PyTorch does") {
  support::for_each_training([]<class Net>(const support::Golden& golden, support::TrainingTolerance tolerance) {
    support::check_training<Net, Reference<float>>(golden, tolerance);
  });
}
TEST_CASE("Reference<double> trains as PyTorch does") {
  support::for_each_training([]<class Net>(const support::Golden& golden, support::TrainingTolerance tolerance) {
    support::check_training<Net, Reference<double>>(golden, tolerance);
  });
}
