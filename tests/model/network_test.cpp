#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <resnext/model/family.hpp>

namespace {

using namespace resnext;

using Tiny = Network<
    Template<ImageNetStem<8>, Bottleneck<4, 4>, Planes<8>, Stage<1>, Stage<1>, Stage<1>, Stage<1>, Classes<10>>>;
using Odd = Network<Template<CifarStem<5, 1>, Bottleneck<3, 7>, Planes<6>, Stage<2>, Stage<1>, Classes<2>>>;

constexpr BlockOptions always_projected{Shortcut::projection_always};
constexpr BlockOptions without_shortcuts{Shortcut::projection, false};
using Projected = Network<CifarTemplate<Bottleneck<4, 8, always_projected>, 3>>;
using Plain = Network<CifarTemplate<Bottleneck<4, 8, without_shortcuts>, 3>>;

/// Shape of a state-dict entry; empty where there is none.
template <class Net>
std::vector<int> shape(std::string_view name) {
  for (const StateEntry& entry : Net::entries) {
    if (entry.name().view() == name) return {entry.shape.begin(), entry.shape.begin() + entry.rank};
  }
  return {};
}

template <class Net>
Extent extent(std::string_view name, int h, int w) {
  const auto* row = Net::find(name);
  REQUIRE(row != nullptr);
  return Net::extents(h, w)[static_cast<std::size_t>(row->output)];
}

using Shape = std::vector<int>;

TEST_CASE_TEMPLATE("a table reads only what is written, and channels and maps fit", Net, ResNeXt50<32, 4>, ResNet34,
                   ResNeXt29<8, 64>, Tiny, Odd, Projected, Plain) {
  const auto extents = Net::extents(61, 47);
  std::vector<int> channels{Net::inputs};
  std::vector<int> readers(Net::layers.size() + 1, 0);
  for (const Layer& layer : Net::layers) {
    CAPTURE(std::string(layer.name));
    const auto input = static_cast<std::size_t>(layer.input);
    REQUIRE(layer.output == static_cast<int>(channels.size()));
    REQUIRE(layer.input < layer.output);
    CHECK(channels[input] == layer.in);
    CHECK(extents[static_cast<std::size_t>(layer.output)].c == layer.out);
    CHECK(layer.in % layer.groups == 0);
    ++readers[input];
    if (layer.op == LayerOp::add) {
      REQUIRE(layer.other >= 0);
      REQUIRE(layer.other < layer.output);
      CHECK(extents[input] == extents[static_cast<std::size_t>(layer.other)]);
      ++readers[static_cast<std::size_t>(layer.other)];
    } else {
      CHECK(layer.other == -1);
    }
    channels.push_back(layer.out);
  }
  readers.back() = 1;  // the logits
  CHECK(std::ranges::find(readers, 0) == readers.end());
}

TEST_CASE_TEMPLATE("names are unique", Net, ResNeXt50<32, 4>, ResNet18, Projected) {
  std::vector<std::string> names;
  for (const Layer& layer : Net::layers) names.emplace_back(layer.name.view());
  std::ranges::sort(names);
  CHECK(std::ranges::adjacent_find(names) == names.end());
}

TEST_CASE("the state dict has torchvision's names, order and shapes") {
  using Net = ResNeXt50<32, 4>;
  const std::vector<std::string> first_block{"conv1", "bn1", "conv2",        "bn2",
                                             "conv3", "bn3", "downsample.0", "downsample.1"};
  std::vector<std::string> expected{"conv1.weight"};
  const auto add_batch_norm = [&](const std::string& prefix) {
    for (const char* part : {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}) {
      expected.push_back(prefix + "." + part);
    }
  };
  add_batch_norm("bn1");
  const int depths[] = {3, 4, 6, 3};
  for (int stage = 0; stage < 4; ++stage) {
    for (int block = 0; block < depths[stage]; ++block) {
      const std::string prefix = "layer" + std::to_string(stage + 1) + "." + std::to_string(block) + ".";
      for (int part = 0; part < (block == 0 ? 8 : 6); ++part) {
        const std::string name = prefix + first_block[static_cast<std::size_t>(part)];
        if (part % 2 == 0) {
          expected.push_back(name + ".weight");
        } else {
          add_batch_norm(name);
        }
      }
    }
  }
  expected.insert(expected.end(), {"fc.weight", "fc.bias"});
  std::vector<std::string> found;
  for (const StateEntry& entry : Net::entries) found.emplace_back(entry.name().view());
  CHECK(found == expected);

  CHECK(shape<Net>("conv1.weight") == Shape{64, 3, 7, 7});
  CHECK(shape<Net>("bn1.running_var") == Shape{64});
  CHECK(shape<Net>("bn1.num_batches_tracked") == Shape{});
  CHECK(shape<Net>("layer1.0.conv1.weight") == Shape{128, 64, 1, 1});
  CHECK(shape<Net>("layer1.0.conv2.weight") == Shape{128, 4, 3, 3});
  CHECK(shape<Net>("layer1.0.downsample.0.weight") == Shape{256, 64, 1, 1});
  CHECK(shape<Net>("layer3.0.conv2.weight") == Shape{512, 16, 3, 3});
  CHECK(shape<Net>("layer4.2.conv3.weight") == Shape{2048, 1024, 1, 1});
  CHECK(shape<Net>("layer4.0.downsample.1.bias") == Shape{2048});
  CHECK(shape<Net>("fc.weight") == Shape{1000, 2048});
  CHECK(shape<Net>("fc.bias") == Shape{1000});
  CHECK(shape<ResNet18>("layer2.0.conv1.weight") == Shape{128, 64, 3, 3});
  CHECK(shape<ResNet18>("layer1.0.downsample.0.weight").empty());
  CHECK(shape<ResNeXt29<8, 64>>("layer3.0.conv2.weight") == Shape{2048, 256, 3, 3});
}

TEST_CASE("the first stage's output width is a choice: everything but C and d scales with it") {
  CHECK(shape<Tiny>("conv1.weight") == Shape{8, 3, 7, 7});
  CHECK(shape<Tiny>("layer1.0.conv1.weight") == Shape{16, 8, 1, 1});
  CHECK(shape<Tiny>("layer1.0.conv2.weight") == Shape{16, 4, 3, 3});
  CHECK(shape<Tiny>("layer1.0.conv3.weight") == Shape{32, 16, 1, 1});
  CHECK(shape<Tiny>("layer4.0.conv2.weight") == Shape{128, 32, 3, 3});
  CHECK(shape<Tiny>("layer4.0.conv3.weight") == Shape{256, 128, 1, 1});
  CHECK(shape<Tiny>("fc.weight") == Shape{10, 256});
}

TEST_CASE("a stage halves the map and doubles the width, at any size of image") {
  using Net = ResNeXt50<32, 4>;
  CHECK(extent<Net>("conv1", 224, 224) == Extent{112, 112, 64});
  CHECK(extent<Net>("maxpool", 224, 224) == Extent{56, 56, 64});
  CHECK(extent<Net>("layer1.2.relu", 224, 224) == Extent{56, 56, 256});
  CHECK(extent<Net>("layer2.3.relu", 224, 224) == Extent{28, 28, 512});
  CHECK(extent<Net>("layer3.5.relu", 224, 224) == Extent{14, 14, 1024});
  CHECK(extent<Net>("layer4.0.conv1", 224, 224) == Extent{14, 14, 1024});  // the 3x3 has the stride, not the 1x1
  CHECK(extent<Net>("layer4.2.relu", 224, 224) == Extent{7, 7, 2048});
  CHECK(extent<Net>("avgpool", 224, 224) == Extent{1, 1, 2048});
  CHECK(extent<Net>("fc", 224, 224) == Extent{1, 1, 1000});
  CHECK(extent<Net>("layer4.2.relu", 320, 320) == Extent{10, 10, 2048});
  CHECK(extent<Net>("layer4.2.relu", 225, 193) == Extent{8, 7, 2048});
  CHECK(extent<Net>("layer4.2.relu", 1, 1) == Extent{1, 1, 2048});
  CHECK(extent<ResNeXt29<8, 64>>("layer3.2.relu", 32, 32) == Extent{8, 8, 1024});
  CHECK(extent<ResNeXt29<8, 64>>("layer3.2.relu", 33, 31) == Extent{9, 8, 1024});
}

TEST_CASE_TEMPLATE("the two rules of Sec. 3.1", Net, ResNeXt50<32, 4>, ResNeXt101<3, 22>, ResNet34, Tiny, Odd) {
  const auto extents = Net::extents(224, 224);
  std::string_view stage;
  Layer before;
  for (const Layer& layer : Net::layers) {
    if (layer.op != LayerOp::convolution || layer.name.view().substr(0, 5) != "layer" || layer.kernel != 3) continue;
    CAPTURE(std::string(layer.name));
    const auto map = extents[static_cast<std::size_t>(layer.output)];
    if (layer.name.view().substr(0, 7) == stage) {  // one size of map: the same hyper-parameters
      CHECK(layer.out == before.out);
      CHECK(layer.groups == before.groups);
      CHECK(map == extents[static_cast<std::size_t>(before.output)]);
    } else if (!stage.empty()) {  // half the map: twice the width, the same cardinality
      CHECK(layer.out == 2 * before.out);
      CHECK(layer.groups == before.groups);
      CHECK(map.h * 2 == extents[static_cast<std::size_t>(before.output)].h);
    }
    stage = layer.name.view().substr(0, 7);
    before = layer;
  }
}

TEST_CASE("shortcuts: a projection where the shape changes, in every block, or none") {
  const auto count = [](const auto& layers, LayerOp op, std::string_view part) {
    return std::ranges::count_if(layers, [&](const Layer& layer) {
      return layer.op == op && layer.name.view().find(part) != std::string_view::npos;
    });
  };
  using Usual = Network<CifarTemplate<Bottleneck<4, 8>, 3>>;
  CHECK(count(Usual::layers, LayerOp::convolution, "downsample") == 3);
  CHECK(count(Usual::layers, LayerOp::add, "add") == 9);
  CHECK(count(Projected::layers, LayerOp::convolution, "downsample") == 9);
  CHECK(count(Projected::layers, LayerOp::add, "add") == 9);
  CHECK(count(Plain::layers, LayerOp::convolution, "downsample") == 0);
  CHECK(count(Plain::layers, LayerOp::add, "add") == 0);
  // Two more projections in each stage: a square matrix and its batch norm.
  constexpr auto projection = [](std::int64_t width) { return 2 * (width * width + 2 * width); };
  CHECK(Projected::parameters == Usual::parameters + projection(256) + projection(512) + projection(1024));
  // Without any: three projections fewer.
  CHECK(Plain::parameters ==
        Usual::parameters - (64 * 256 + 2 * 256) - (256 * 512 + 2 * 512) - (512 * 1024 + 2 * 1024));
}

TEST_CASE("aggregating paths of two layers is a dense block of width C * d (Fig. 4)") {
  using Aggregated = Network<ImageNetTemplate<Basic<32, 4>, 2, 2, 2, 2>>;
  using Dense = Network<ImageNetTemplate<Basic<1, 128>, 2, 2, 2, 2>>;
  REQUIRE(Aggregated::layers.size() == Dense::layers.size());
  CHECK(Aggregated::parameters == Dense::parameters);
  CHECK(Aggregated::macs(224, 224) == Dense::macs(224, 224));
  CHECK(shape<Aggregated>("layer1.0.conv1.weight") == Shape{128, 64, 3, 3});
  CHECK(shape<Aggregated>("layer1.0.conv2.weight") == Shape{64, 128, 3, 3});
}

// A row by name, while compiling and after.
static_assert(ResNeXt50<32, 4>::find("layer2.0.conv2")->groups == 32);
static_assert(ResNeXt50<32, 4>::find("layer2.0.conv2")->stride == 2);
static_assert(ResNeXt50<32, 4>::find("layer2.0.conv4") == nullptr);
static_assert(Odd::find("") == nullptr && Odd::find("layer1") == nullptr);

TEST_CASE_TEMPLATE("every row is found by its name, and no other", Net, ResNeXt50<32, 4>, ResNet18, Odd) {
  for (const Layer& layer : Net::layers) CHECK(Net::find(std::string(layer.name)) == &layer);
  CHECK(Net::find("layer9.0.conv1") == nullptr);
  CHECK(Net::find("fc.weight") == nullptr);
}

// Another number of classes changes the classifier and nothing else.
static_assert(std::is_same_v<WithClasses<ResNeXt50<32, 4>, 10>, ResNeXt50<32, 4, 10>>);
static_assert(std::is_same_v<WithClasses<ResNeXt29<8, 64>, 100>, ResNeXt29<8, 64, 100>>);
static_assert(std::is_same_v<WithClasses<ResNet34, 1000>, ResNet34>);
static_assert(WithClasses<ResNet18, 7>::classes == 7 && WithClasses<ResNet18, 7>::find("fc")->in == 512);
static_assert(ResNet18::parameters - WithClasses<ResNet18, 7>::parameters == 993 * 513);
static_assert(std::is_same_v<WithClasses<WithClasses<Odd, 5>, 2>, Odd>, "Planes<n> stays");
static_assert(WithClasses<Projected, 3>::entries.size() == Projected::entries.size());

// The largest networks that are accepted also compile.
using Deepest =
    Network<Template<CifarStem<>, Bottleneck<4, 4>, Stage<100>, Stage<200>, Stage<99>, Stage<1>, Classes<10>>>;
static_assert(Deepest::entries.size() == 6 + 400 * 18 + 4 * 6 + 2);
using Widest = Network<Template<CifarStem<1 << 20, 1>, Bottleneck<1 << 10, 1 << 9>, Planes<1 << 17>, Stage<1>, Stage<1>,
                                Classes<1 << 20>>>;
static_assert(Widest::parameters > std::int64_t{1} << 42);

}  // namespace
