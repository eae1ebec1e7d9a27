// Guide: a template of your own. Everything here is checked by the compiler; running it only prints the result.

#include <iostream>

#include <resnext/model/family.hpp>

using namespace resnext;

// [grammar]
using Mine = Network<Template<ImageNetStem<48>,              // 7x7 to 48 channels, max pool: a map of H / 4 x W / 4
                              Bottleneck<16, 6>,             // C = 16 paths, d = 6 wide in stage one
                              Stage<2>, Stage<8>, Stage<2>,  // so many blocks at one map size
                              Classes<37>>>;                 // average pool and 37 logits
// [grammar]

// [rules]
// Rule 1: the blocks of a stage share their hyper-parameters.
static_assert(Mine::find("layer2.0.conv2")->in == Mine::find("layer2.7.conv2")->in);

// Rule 2: where the map is halved the width doubles, and the cardinality stays.
static_assert(Mine::find("layer1.0.conv2")->in == 16 * 6 && Mine::find("layer1.0.conv2")->stride == 1);
static_assert(Mine::find("layer2.0.conv2")->in == 16 * 12 && Mine::find("layer2.0.conv2")->stride == 2);
static_assert(Mine::find("layer3.0.conv2")->in == 16 * 24 && Mine::find("layer3.0.conv2")->groups == 16);

// Stage k has 4 n << k outputs. Planes<n> is not given, so n = 64.
static_assert(Mine::find("layer1.0.conv3")->out == 256 && Mine::find("layer3.1.conv3")->out == 1024);
// [rules]

// [planes]
// torchvision's ResNet(Bottleneck, ..., groups=4, width_per_group=32) with planes 8, 16: d = 32 * 8 / 64 = 4.
using Tiny = Network<Template<CifarStem<8, 1>, Bottleneck<4, 4>, Planes<8>, Stage<1>, Stage<1>, Classes<10>>>;
static_assert(Tiny::find("layer1.0.conv3")->out == 4 * 8);
// [planes]

// [options]
inline constexpr BlockOptions plain{.residual = false};  // the ablation of Sec. 5.1: no shortcuts
using Plain = Network<ImageNetTemplate<Bottleneck<32, 4, plain>, 3, 4, 6, 3>>;
static_assert(Plain::parameters < ResNeXt50<32, 4>::parameters);  // the projections are gone
// [options]

// [stem]
/// 3x3 of stride 2, BN, ReLU: for pictures of about 64 x 64.
template <int Channels, int Inputs = 3>
struct HalvingStem {
  static constexpr TemplatePart part = TemplatePart::stem;
  static constexpr int channels = Channels;
  static constexpr int inputs = Inputs;

  static constexpr int rows(TableBuilder& table, int input) {
    const int convolved = table.convolution("conv1", input, Inputs, Channels, 3, 2);
    return table.relu("relu", table.batch_norm("bn1", convolved, Channels), Channels);
  }
};

using Medium = Network<Template<HalvingStem<32>, Bottleneck<8, 8>, Planes<32>, Stage<2>, Stage<2>, Classes<200>>>;
static_assert(Medium::extents(64, 64)[3].h == 32);
// [stem]

int main() {
  // [print]
  constexpr auto extents = Mine::extents(224, 224);
  for (const Layer& layer : Mine::layers) {
    if (layer.op != LayerOp::convolution) continue;
    const Extent out = extents[static_cast<std::size_t>(layer.output)];
    std::cout << layer.name.view() << ": " << out.h << " x " << out.w << " x " << out.c << ", " << layer.groups
              << (layer.groups == 1 ? " path\n" : " paths\n");
  }
  std::cout << Mine::parameters << " parameters, " << Mine::macs(224, 224) << " multiply-adds\n";
  // [print]
}
