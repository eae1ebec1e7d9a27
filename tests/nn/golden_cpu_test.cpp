// Whole networks on the CPU backend against PyTorch.
#include <doctest/doctest.h>

#include <resnext/cpu.hpp>
#include <resnext/resnext.hpp>

#include "support/golden.hpp"
#include "support/golden_networks.hpp"

using namespace resnext;
using support::Golden;

TEST_CASE("Cpu<float> classifies and trains small networks as PyTorch does") {
  support::for_each_own([]<class Net>(const Golden& golden) {
    support::check_inference<Net, Cpu<float>>(golden);
    support::check_training<Net, Cpu<float>>(golden, support::sharp);
  });
}

TEST_CASE("Cpu<float> classifies the families as PyTorch does") {
  support::for_each_inference(
      []<class Net>(const Golden& golden) { support::check_inference<Net, Cpu<float>>(golden); });
}

TEST_CASE("Cpu<float> trains the families as PyTorch does") {
  support::for_each_training([]<class Net>(const Golden& golden, support::TrainingTolerance tolerance) {
    support::check_training<Net, Cpu<float>>(golden, tolerance);
  });
}
