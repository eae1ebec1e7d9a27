#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include <resnext/model/family.hpp>
#include <resnext/nn/plan/fusion.hpp>

using namespace resnext;

namespace {

std::vector<std::string> describe(std::span<const Layer> layers, Fusion fusion) {
  std::vector<std::string> text;
  for (const Unit& unit : fuse(layers, fusion)) {
    text.push_back(std::string(layers[static_cast<std::size_t>(unit.row)].name.view()) + ": " +
                   std::string(unit_name(unit)));
  }
  return text;
}

constexpr BlockOptions without_shortcut{Shortcut::projection, false};

/// Units read only what was written before them, and every value that a later unit needs is written once.
void check_order(std::span<const Layer> layers, Fusion fusion) {
  std::vector<bool> written(layers.size() + 1, false);
  written[0] = true;
  for (const Unit& unit : fuse(layers, fusion)) {
    CHECK(written[static_cast<std::size_t>(unit.input)]);
    if (unit.other >= 0) CHECK(written[static_cast<std::size_t>(unit.other)]);
    CHECK_FALSE(written[static_cast<std::size_t>(unit.output)]);
    written[static_cast<std::size_t>(unit.output)] = true;
  }
  CHECK(written.back());
}

}  // namespace

TEST_CASE("in inference everything but the pools and the classifier is a convolution") {
  using Net = Network<Template<ImageNetStem<>, Bottleneck<2, 4>, Stage<2>, Classes<5>>>;
  const std::vector<std::string> expected{
      "conv1: convolution + relu",
      "maxpool: max pool",
      "layer1.0.conv1: convolution + relu",
      "layer1.0.conv2: convolution + relu",
      "layer1.0.conv3: convolution",
      "layer1.0.downsample.0: convolution + add + relu",  // the later of the two producers adds
      "layer1.1.conv1: convolution + relu",
      "layer1.1.conv2: convolution + relu",
      "layer1.1.conv3: convolution + add + relu",
      "avgpool: average pool",
      "fc: linear",
  };
  CHECK(describe(Net::layers, Fusion::inference) == expected);
}

TEST_CASE("in training the batch norms add and clip") {
  using Net = Network<Template<CifarStem<>, Bottleneck<2, 4>, Stage<1>, Classes<5>>>;
  const std::vector<std::string> expected{
      "conv1: convolution",
      "bn1: batch norm + relu",
      "layer1.0.conv1: convolution",
      "layer1.0.bn1: batch norm + relu",
      "layer1.0.conv2: convolution",
      "layer1.0.bn2: batch norm + relu",
      "layer1.0.conv3: convolution",
      "layer1.0.bn3: batch norm",
      "layer1.0.downsample.0: convolution",
      "layer1.0.downsample.1: batch norm + add + relu",
      "avgpool: average pool",
      "fc: linear",
  };
  CHECK(describe(Net::layers, Fusion::training) == expected);
}

TEST_CASE("units of every family keep the order of their values") {
  const auto check = [](std::span<const Layer> layers) {
    check_order(layers, Fusion::inference);
    check_order(layers, Fusion::training);
  };
  check(ResNeXt101<32, 4>::layers);
  check(ResNet34::layers);
  check(ResNeXt29<8, 64>::layers);
  check(Network<Template<CifarStem<>, Bottleneck<2, 4, without_shortcut>, Stage<2>, Stage<1>, Classes<5>>>::layers);
}

TEST_CASE("what cannot be fused runs alone") {
  // x -> relu -> r; r + x, where x is the input and must not be overwritten; the sum is read twice.
  std::vector<Layer> rows(4);
  rows[0] = {LayerOp::convolution, "c", 0, -1, 1, 3, 3};
  rows[1] = {LayerOp::add, "a", 1, 0, 2, 3, 3};
  rows[2] = {LayerOp::batch_norm, "b", 2, -1, 3, 3, 3};
  rows[3] = {LayerOp::add, "d", 3, 2, 4, 3, 3};
  CHECK(describe(rows, Fusion::inference) ==
        std::vector<std::string>{"c: convolution", "a: add", "b: batch norm", "d: add"});
  CHECK(describe(rows, Fusion::training) ==
        std::vector<std::string>{"c: convolution", "a: add", "b: batch norm + add"});
  check_order(rows, Fusion::inference);
}

TEST_CASE("a convolution never adds onto a value that it or a later unit reads") {
  std::vector<Layer> rows(3);
  rows[0] = {LayerOp::convolution, "c0", 0, -1, 1, 3, 3};
  rows[1] = {LayerOp::convolution, "c1", 1, -1, 2, 3, 3};  // reads the shortcut itself
  rows[2] = {LayerOp::add, "a", 2, 1, 3, 3, 3};
  CHECK(describe(rows, Fusion::inference) == std::vector<std::string>{"c0: convolution", "c1: convolution", "a: add"});
}
