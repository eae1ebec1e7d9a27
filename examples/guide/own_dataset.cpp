// Guide: a data set of your own, a folder with a folder of pictures for each class, trained on and evaluated.

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include <resnext/data/resize.hpp>
#include <resnext/io/image.hpp>
#include <resnext/reference.hpp>
#include <resnext/resnext.hpp>
#include <resnext/train/fit.hpp>

using namespace resnext;
namespace fs = std::filesystem;
using B = Reference<float>;

namespace {

// [read]
/// What is in a folder, in an order that does not depend on the file system.
std::vector<fs::path> content(const fs::path& folder) {
  std::vector<fs::path> paths(fs::directory_iterator(folder), fs::directory_iterator{});
  std::sort(paths.begin(), paths.end());
  return paths;
}

/// Pictures `root/<class>/<any name>.png` or `.jpg`, made `size` x `size`.
Dataset read_folder(const fs::path& root, int size) {
  Dataset data;
  data.name = root.filename().string();
  data.height = data.width = size;
  data.channels = 3;
  for (const fs::path& folder : content(root)) {
    for (const fs::path& file : content(folder)) {
      const Image picture = center_crop(resized_shorter_side(read_image(file), size), size, size);
      data.images.insert(data.images.end(), picture.pixels.begin(), picture.pixels.end());
      data.labels.push_back(data.classes);
    }
    data.class_names.push_back(folder.filename().string());
    ++data.classes;
  }
  return data;
}
// [read]

/// Pictures of three colours and random sizes, in place of a download.
void draw_pictures(const fs::path& root) {
  constexpr std::array names{"blue", "green", "red"};
  for (int k = 0; k < 3; ++k) {
    fs::create_directories(root / names[static_cast<std::size_t>(k)]);
    for (int i = 0; i < 12; ++i) {
      const RandomStream random(static_cast<std::uint64_t>(100 * k + i));
      Image picture{10 + static_cast<int>(random.below(0, 6)), 10 + static_cast<int>(random.below(1, 6)), 3, {}};
      const auto values = static_cast<std::size_t>(picture.height * picture.width * 3);
      for (std::size_t at = 0; at < values; ++at) {
        const bool bright = static_cast<int>(at % 3) == 2 - k;
        picture.pixels.push_back(static_cast<std::uint8_t>((bright ? 130 : 0) + random.below(2 + at, 120)));
      }
      write_png(root / names[static_cast<std::size_t>(k)] / (std::to_string(i) + ".png"), picture);
    }
  }
}

}  // namespace

using Net = Network<Template<CifarStem<8>, Bottleneck<2, 4>, Planes<8>, Stage<1>, Stage<1>, Classes<3>>>;

int main() {
  const fs::path root = "own_dataset";
  draw_pictures(root);

  // [load]
  const Dataset data = read_folder(root, 8);
  Augmentation augmentation = recipe_of(data);  // the set's own mean and deviation a channel; flips, and crops of 4 + 4
  augmentation.pad = 1;                         // but the pictures are small here
  Loader train(data, augmentation, {.batch = 12, .seed = 1, .workers = 1});
  Loader test(data, normalisation_only(augmentation),
              {.batch = 12, .shuffle = false});  // a real run has other pictures here
  // [load]

  // [loop]
  Trainer<Net, B> by_hand(initialized<Net>(1));
  by_hand.set_learning_rate(0.1);
  for (const Batch& batch : train.epoch(0)) by_hand.step(batch.images, batch.labels);
  std::printf("loss of the first epoch: %.3f\n", by_hand.read_metrics().mean_loss());
  // [loop]

  // [fit]
  Trainer<Net, B> trainer(initialized<Net>(1));
  RunState state;  // from the start; a checkpoint's state goes on from there
  FitOptions options;
  options.epochs = 4;
  options.schedule = Schedule::cosine(0.1, std::int64_t{options.epochs} * train.batches()).warmed_up(3);
  Accuracy accuracy;
  options.epoch_done = [&](const EpochResult& result) {
    accuracy = result.test.value();
    std::printf("epoch %d: loss %.3f, test accuracy %.1f %%\n", result.epoch + 1, result.train.mean_loss(),
                100 * accuracy.top1());
  };
  fit(trainer, train, &test, state, options);
  // [fit]

  return accuracy.top1() > 0.9 ? 0 : 1;
}
