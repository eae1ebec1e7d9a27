// Prints networks the way Table 1 of the paper does: the stages with their maps and blocks, and what the whole costs.
//
//     table                                  # ResNeXt-50 32x4d
//     table resnet50 resnext50_32x4d         # side by side, as in the paper
//     table resnext101_64x4d --size 320      # for another size of image
//     table --equal-cost                     # Table 2: cardinality against width at the same cost
//     table --list                           # every network that this program knows
//
// Exit status: 0 done, 1 an error, 2 wrong options.
//
// A network is a type, and everything printed here is read from its layer table, which the compiler built. So a network
// of your own needs one line, in the catalogue below, and no second description anywhere.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <resnext/resnext.hpp>

using namespace resnext;

namespace {

/// What a network's type says, as values: this is how a list of different types becomes an array.
struct Model {
  std::string name;
  int size;  ///< edge of the images that it was made for
  std::span<const Layer> layers;
  int inputs;
  std::int64_t parameters;
  std::int64_t (*macs)(int, int);
  std::int64_t (*activations)(int, int);
};

template <class Net>
Model model(std::string name, int size = 224) {
  return {std::move(name), size, Net::layers, Net::inputs, Net::parameters, Net::macs, Net::activations};
}

using Mine = Network<Template<ImageNetStem<48>, Bottleneck<16, 6>, Stage<2>, Stage<8>, Stage<2>, Classes<37>>>;
using Small =
    Network<Template<CifarStem<16, 1>, Bottleneck<8, 4>, Planes<16>, Stage<2>, Stage<2>, Stage<2>, Classes<10>>>;

const std::vector<Model> catalogue{
    model<ResNet18>("resnet18"),
    model<ResNet34>("resnet34"),
    model<ResNet50>("resnet50"),
    model<ResNeXt50<2, 40>>("resnext50_2x40d"),
    model<ResNeXt50<4, 24>>("resnext50_4x24d"),
    model<ResNeXt50<8, 14>>("resnext50_8x14d"),
    model<ResNeXt50<32, 4>>("resnext50_32x4d"),
    model<ResNet101>("resnet101"),
    model<ResNeXt101<2, 40>>("resnext101_2x40d"),
    model<ResNeXt101<4, 24>>("resnext101_4x24d"),
    model<ResNeXt101<8, 14>>("resnext101_8x14d"),
    model<ResNeXt101<32, 4>>("resnext101_32x4d"),
    model<ResNeXt101<1, 100>>("resnet101_wide"),
    model<ResNeXt101<2, 64>>("resnext101_2x64d"),
    model<ResNeXt101<64, 4>>("resnext101_64x4d"),
    model<ResNeXt101<32, 8>>("resnext101_32x8d"),
    model<ResNet152>("resnet152"),
    model<ResNeXt152<32, 4>>("resnext152_32x4d"),
    model<ResNeXt152<64, 4>>("resnext152_64x4d"),
    model<ResNeXt29<8, 64>>("resnext29_8x64d", 32),
    model<ResNeXt29<16, 64>>("resnext29_16x64d", 32),
    model<Mine>("mine"),
    model<Small>("small", 28),
};

const Model& find(const std::string& name) {
  for (const Model& model : catalogue) {
    if (model.name == name) return model;
  }
  throw_error<OptionError>("there is no network ", name, "; --list shows those that there are");
}

/// 25028904 as 25,028,904.
std::string with_commas(std::int64_t number) {
  std::string text = std::to_string(number);
  for (auto end = static_cast<int>(text.size()) - 3; end > 0; end -= 3) text.insert(static_cast<std::size_t>(end), ",");
  return text;
}

double billions(std::int64_t number) { return static_cast<double>(number) * 1e-9; }
double mebibytes_of_floats(std::int64_t number) { return static_cast<double>(number) * sizeof(float) / (1 << 20); }

std::vector<Extent> extents_of(const Model& model, int size) {
  std::vector<Extent> extents(model.layers.size() + 1);
  compute_extents(model.layers, {size, size, model.inputs}, extents);
  return extents;
}

/// A layer in the paper's notation; nothing for what the paper does not draw: BN, ReLU, shortcuts, and the stride of
/// the first block of a stage, which shows in the size of its map.
std::string drawn(const Layer& layer) {
  const std::string window = std::to_string(layer.kernel) + "x" + std::to_string(layer.kernel);
  const std::string stride = ", stride " + std::to_string(layer.stride);
  switch (layer.op) {
    case LayerOp::convolution:
      if (layer.name.view().find("downsample") != std::string_view::npos) return {};
      return window + ", " + std::to_string(layer.out) +
             (layer.groups > 1 ? ", C=" + std::to_string(layer.groups) : std::string()) +
             (layer.stride > 1 && layer.name.view().find('.') == std::string_view::npos ? stride : std::string());
    case LayerOp::max_pool:
      return window + " max pool" + stride;
    case LayerOp::average_pool:
      return "global average pool";
    case LayerOp::linear:
      return std::to_string(layer.out) + "-d fc";
    default:
      return {};
  }
}

/// A line of the table: a layer outside the stages, or equal blocks that follow one another.
struct Line {
  std::string_view stage;
  std::string_view block;
  Extent output;
  std::vector<std::string> layers;
  int count = 1;
};

std::vector<Line> lines_of(const Model& model, int size) {
  const auto extents = extents_of(model, size);
  std::vector<Line> lines;
  const auto merge_last = [&] {
    if (lines.size() < 2) return;
    Line& last = lines.back();
    Line& before = lines[lines.size() - 2];
    if (last.stage == before.stage && last.layers == before.layers) {
      ++before.count;
      lines.pop_back();
    }
  };
  for (const Layer& layer : model.layers) {
    const std::string text = drawn(layer);
    if (text.empty()) continue;
    const std::string_view path = layer.name;
    const auto dot = path.rfind('.');
    const std::string_view block = dot == std::string_view::npos ? path : path.substr(0, dot);
    if (lines.empty() || lines.back().block != block) {
      merge_last();
      lines.push_back({block.substr(0, block.find('.')), block, {}, {}});
    }
    lines.back().output = extents[static_cast<std::size_t>(layer.output)];
    lines.back().layers.push_back(text);
  }
  return lines;
}

void print_layout(const Model& model, int size) {
  std::printf("%s, images of %d x %d x %d\n\n  stage    output\n", model.name.c_str(), size, size, model.inputs);
  const auto lines = lines_of(model, size);
  std::size_t width = 0;
  for (const Line& line : lines) {
    for (const auto& layer : line.layers) width = line.layers.size() > 1 ? std::max(width, layer.size()) : width;
  }
  for (const Line& line : lines) {
    for (std::size_t i = 0; i < line.layers.size(); ++i) {
      const std::string stage(i == 0 ? line.stage : "");
      const std::string map =
          i == 0 ? std::to_string(line.output.h) + " x " + std::to_string(line.output.w) : std::string();
      std::printf("  %-8s %-11s", stage.c_str(), map.c_str());
      if (line.layers.size() == 1) {
        std::printf("%s\n", line.layers[i].c_str());
      } else {
        const std::string count = i == line.layers.size() / 2 ? " x " + std::to_string(line.count) : std::string();
        std::printf("[ %-*s ]%s\n", static_cast<int>(width), line.layers[i].c_str(), count.c_str());
      }
    }
  }
  const auto activations = model.activations(size, size);
  std::printf("\n  parameters   %15s   %8.1f MiB as fp32\n", with_commas(model.parameters).c_str(),
              mebibytes_of_floats(model.parameters));
  std::printf("  activations  %15s   %8.1f MiB as fp32, outputs of convolutions and classifier for one image\n",
              with_commas(activations).c_str(), mebibytes_of_floats(activations));
  std::printf("  multiply-adds %14.3f   10^9 for one image\n\n", billions(model.macs(size, size)));
}

/// A row of Table 2: the second block of the first stage, whose input and output are equally wide.
void print_block_cost(const Model& model) {
  const auto extents = extents_of(model, model.size);
  Layer grouped_convolution;
  std::int64_t weights = 0;
  std::int64_t macs = 0;
  for (const Layer& layer : model.layers) {
    if (!layer.name.view().starts_with("layer1.1.")) continue;
    for_each_entry({&layer, 1},
                   [&](const StateEntry& entry) { weights += layer.op == LayerOp::convolution ? entry.size() : 0; });
    macs += layer_macs(layer, extents[static_cast<std::size_t>(layer.output)]);
    if (layer.kernel == 3) grouped_convolution = layer;
  }
  const int cardinality = grouped_convolution.groups;
  const int width = grouped_convolution.out;
  std::printf("  %4d %4d %12d %12s %8.4f   %s\n", cardinality, width / cardinality, width, with_commas(weights).c_str(),
              billions(macs), model.name.c_str());
}

void print_equal_cost() {
  std::printf("Cardinality against width at equal cost: a block of the first stage, for images of 224 x 224\n\n");
  std::printf("  %4s %4s %12s %12s %8s   %s\n", "C", "d", "group width", "parameters", "GMAC", "network");
  for (const char* name : {"resnet50", "resnext50_2x40d", "resnext50_4x24d", "resnext50_8x14d", "resnext50_32x4d"}) {
    print_block_cost(find(name));
  }
  std::printf("\n");
}

void print_list() {
  std::printf("%-18s %6s %14s %9s\n", "network", "size", "parameters", "GMAC");
  for (const Model& model : catalogue) {
    std::printf("%-18s %6d %14s %9.3f\n", model.name.c_str(), model.size, with_commas(model.parameters).c_str(),
                billions(model.macs(model.size, model.size)));
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Prints networks as Table 1 of the ResNeXt paper does, with what they cost.");
  std::vector<std::string> names;
  int size = 0;
  bool equal_cost = false;
  bool list = false;
  app.add_option("network", names, "Networks to print (resnext50_32x4d)");
  app.add_option("--size", size, "Edge of the square images (224, or what the network was made for)")
      ->check(CLI::Range(1, 1 << 14));
  app.add_flag("--equal-cost", equal_cost, "Print Table 2: blocks of equal cost");
  app.add_flag("--list", list, "Print the names of all networks");
  app.footer("Exit status: 0 done, 1 an error, 2 wrong options.");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  try {
    if (list) print_list();
    if (equal_cost) print_equal_cost();
    if (names.empty() && !list && !equal_cost) names = {"resnext50_32x4d"};
    for (const std::string& name : names) {
      const Model& model = find(name);
      print_layout(model, size > 0 ? size : model.size);
    }
  } catch (const Error& error) {
    std::fprintf(stderr, "table: %s\n", error.what());
    return 1;
  }
}
