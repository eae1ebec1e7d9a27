// Eval mode of the reference backend against PyTorch.
#include <doctest/doctest.h>

#include <resnext/reference.hpp>
#include <resnext/resnext.hpp>

#include "support/golden.hpp"
#include "support/golden_networks.hpp"

using namespace resnext;

TEST_CASE("Reference<float> classifies as PyTorch does") {
  support::for_each_inference(
      []<class Net>(const support::Golden& golden) { support::check_inference<Net, Reference<float>>(golden); });
}
TEST_CASE("Reference<double> classifies as PyTorch does") {
  support::for_each_inference(
      []<class Net>(const support::Golden& golden) { support::check_inference<Net, Reference<double>>(golden); });
}
