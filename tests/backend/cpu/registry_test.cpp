#include <doctest/doctest.h>

#include <array>
#include <vector>

#include <resnext/backend/cpu/cpu.hpp>

#include "instances/grouped.hpp"

using namespace resnext;

namespace {

constexpr Layer convolution(int in, int out, int kernel, int stride, int groups) {
  return {LayerOp::convolution, LayerName("conv"), 0, -1, 1, in, out, kernel, stride, kernel / 2, groups};
}

struct Mixed {
  static constexpr std::array layers = {
      convolution(64, 64, 3, 1, 16),    // 4
      convolution(64, 128, 1, 1, 1),    // dense
      convolution(128, 128, 3, 2, 16),  // 8
      convolution(64, 64, 3, 2, 16),    // 4 again
      convolution(64, 64, 3, 1, 1),     // dense
      convolution(64, 128, 3, 1, 16),   // in differs from out
      convolution(64, 64, 5, 1, 32),    // not 3x3
      convolution(64, 64, 3, 3, 32),    // another stride
      Layer{LayerOp::batch_norm, LayerName("bn"), 0, -1, 1, 66, 66, 3, 1, 1, 11},
      convolution(21, 21, 3, 1, 3),  // 7
  };
};
struct Other {
  static constexpr std::array layers = {convolution(8, 8, 3, 1, 2), convolution(16, 16, 3, 1, 2),
                                        convolution(14, 14, 3, 1, 2)};
};
struct Dense {
  static constexpr std::array layers = {convolution(64, 64, 3, 1, 1)};
};

std::vector<int> widths(const KernelRegistry& registry) {
  std::vector<int> result;
  for (const GroupedKernel& kernel : registry.grouped()) result.push_back(kernel.width);
  return result;
}

}  // namespace

TEST_CASE("a registry holds each width of grouped 3x3 convolutions once, and nothing else") {
  CHECK(widths(Cpu<float>::inference_registry<Mixed>()) == std::vector{4, 8, 7});
  CHECK(widths(Cpu<float>::training_registry<Mixed>()) == std::vector{4, 8, 7});
  CHECK(widths(Cpu<float>::inference_registry<Dense>()).empty());
}

TEST_CASE("only the training registry has backward kernels") {
  for (const GroupedKernel& kernel : Cpu<float>::inference_registry<Mixed>().grouped()) {
    CHECK((kernel.forward != nullptr));
    CHECK((kernel.backward_data == nullptr));
    CHECK((kernel.backward_weights == nullptr));
  }
  for (const GroupedKernel& kernel : Cpu<float>::training_registry<Mixed>().grouped()) {
    CHECK((kernel.backward_data != nullptr));
    CHECK((kernel.backward_weights != nullptr));
  }
}

TEST_CASE("networks with the same widths share their kernels") {
  CHECK(Cpu<float>::inference_registry<Mixed>().grouped().data() ==
        Cpu<float>::inference_registry<Other>().grouped().data());
}
