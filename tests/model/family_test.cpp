// The networks of the paper have the paper's sizes: exact counts of every variant, found by another program.
#include <doctest/doctest.h>

#include <cstdint>
#include <type_traits>

#include <resnext/model/family.hpp>

namespace {

using namespace resnext;

#define VARIANT(edge, parameter_count, mac_count, activation_count, key_count, ...) \
  static_assert(__VA_ARGS__::parameters == parameter_count);                        \
  static_assert(__VA_ARGS__::macs(edge, edge) == mac_count);                        \
  static_assert(__VA_ARGS__::activations(edge, edge) == activation_count);          \
  static_assert(__VA_ARGS__::entries.size() == key_count);
#include "variants.inc"
#undef VARIANT

static_assert(std::is_same_v<ResNet50, ResNeXt50<1, 64>>, "ResNet is ResNeXt of cardinality 1");
static_assert(std::is_same_v<ResNet101, ResNeXt101<1, 64>>);
static_assert(std::is_same_v<ResNet152, ResNeXt152<1, 64>>);

/// Weights and multiply-adds of the convolutions of a block that has no projection, in the first stage.
template <class Net>
struct BlockCost {
  std::int64_t weights = 0;
  std::int64_t macs = 0;
  int group_width = 0;

  constexpr BlockCost(int h, int w) {
    const auto extents = Net::extents(h, w);
    for (const Layer& layer : Net::layers) {
      if (layer.op != LayerOp::convolution || !layer.name.view().starts_with("layer1.1.")) continue;
      weights += std::int64_t{layer.out} * (layer.in / layer.groups) * layer.kernel * layer.kernel;
      macs += layer_macs(layer, extents[static_cast<std::size_t>(layer.output)]);
      if (layer.kernel == 3) group_width = layer.out;
    }
  }
};

template <int C, int d>
constexpr bool table_2(int group_width, std::int64_t weights) {
  constexpr BlockCost<ResNeXt50<C, d>> cost(224, 224);
  return cost.group_width == group_width && cost.weights == weights && cost.macs == weights * 56 * 56 &&
         cost.weights == C * (256 * d + 3 * 3 * d * d + d * 256);  // Eq. 4
}

static_assert(table_2<1, 64>(64, 69'632));
static_assert(table_2<2, 40>(80, 69'760));
static_assert(table_2<4, 24>(96, 69'888));
static_assert(table_2<8, 14>(112, 71'456));
static_assert(table_2<32, 4>(128, 70'144));
static_assert(table_2<1, 100>(100, 141'200));
static_assert(table_2<2, 64>(128, 139'264));
static_assert(table_2<64, 4>(256, 140'288));

TEST_CASE("counts at run time equal those found while compiling") {
  using Net = ResNeXt50<32, 4>;
  volatile int edge = 224;
  CHECK(Net::macs(edge, edge) == 4'230'479'872);
  CHECK(Net::activations(edge, edge) == 14'401'512);
}

TEST_CASE("multiply-adds of a convolutional network grow with the area; its classifier does not") {
  using Net = ResNeXt29<8, 64>;
  constexpr std::int64_t classifier = 1024 * 10;
  CHECK(Net::macs(64, 96) - classifier == 6 * (Net::macs(32, 32) - classifier));
  CHECK(Net::parameters == 34'426'698);
}

}  // namespace
