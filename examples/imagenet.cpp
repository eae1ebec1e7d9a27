// Runs an ImageNet network on a batch from NumPy: logits and the five best classes out, with the time it took.
//
//     imagenet --weights resnext50_32x4d.safetensors batch.npy --logits logits.npy
//     imagenet --network resnext101_64x4d --random 1 batch.npy --repeat 20 --profile
//
// The batch is [N, 3, H, W], as PyTorch's tensors are: of floats that are normalised as the weights expect it, or of
// uint8, 0 to 255, which the program normalises as ImageNet's. Weights have torchvision's names, which are timm's too.
// Exit status: 0 done, 1 an error, 2 wrong options.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include <resnext/backend/cpu/isa.hpp>
#include <resnext/backend/cpu/parallel.hpp>
#include <resnext/data/preprocessing.hpp>
#include <resnext/eval/accuracy.hpp>
#include <resnext/io/npy.hpp>

#include "networks.hpp"

using namespace resnext;

namespace {

struct Options {
  std::string network = "resnext50_32x4d";
  std::filesystem::path weights, images, logits;
  std::uint64_t random = 0;
  int repeat = 5, threads = 0;
  bool profile = false, json = false;
};

/// A batch as the library has it: [N, H, W, 3].
struct Batch {
  int n = 0, h = 0, w = 0;
  bool normalised = false;  ///< by the program, because the file has pixels
  std::vector<float> values;
  Images images() const { return {values, n, h, w, 3}; }
};

Batch read_batch(const std::filesystem::path& path) {
  const DenseArray<float> array = read_npy<float>(path);
  const auto& shape = array.shape;
  constexpr std::int64_t limit = 1 << 20;
  const bool fits =
      shape.size() == 4 && shape[1] == 3 &&
      std::all_of(shape.begin(), shape.end(), [](std::int64_t extent) { return extent >= 1 && extent <= limit; });
  if (!fits) {
    throw_error<FileError>(path.string(), ": expected a batch [N, 3, H, W] of at least one image, found ",
                           detail::shape_text(shape));
  }
  Batch batch{static_cast<int>(shape[0]),
              static_cast<int>(shape[2]),
              static_cast<int>(shape[3]),
              npy_holds<std::uint8_t>(path),
              {}};
  const Augmentation recipe = normalisation_only(imagenet_v1());
  batch.values.resize(array.values.size());
  const std::size_t plane = static_cast<std::size_t>(batch.h) * static_cast<std::size_t>(batch.w);
  for (std::size_t n = 0; n < static_cast<std::size_t>(batch.n); ++n) {
    for (std::size_t c = 0; c < 3; ++c) {
      const float* from = array.values.data() + (n * 3 + c) * plane;
      float* to = batch.values.data() + n * 3 * plane + c;
      const float mean = batch.normalised ? recipe.mean[c] : 0, deviation = batch.normalised ? recipe.std[c] : 1;
      for (std::size_t i = 0; i < plane; ++i) to[3 * i] = (from[i] - mean) / deviation;
    }
  }
  const auto pixel = std::find_if(batch.values.begin(), batch.values.end(), [](float x) { return std::abs(x) > 10; });
  if (pixel != batch.values.end()) {  // normalised values are within 2.7
    std::fprintf(stderr,
                 "imagenet: %s: expected normalised values, found %g: pixels of 0 to 255 are normalised if they are "
                 "uint8, others are taken as they are\n",
                 path.c_str(), double{*pixel});
  }
  return batch;
}

void run(const Options& options) {
  const auto classifier = options.weights.empty() ? examples::imagenet_classifier(options.network, options.random)
                                                  : examples::imagenet_classifier(options.network, options.weights);
  const Batch batch = read_batch(options.images);

  const auto timed = [&] {
    const auto start = std::chrono::steady_clock::now();
    (*classifier)(batch.images());
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  };
  const double first = timed();  // builds the plan and packs the weights
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < options.repeat; ++i) best = std::min(best, timed());

  if (options.profile) {
    Profile profile;
    for (int i = 0; i < options.repeat; ++i) classifier->profile(batch.images(), profile);
    std::fputs(profile.table(classifier->peak_gflops()).c_str(), stdout);
  }
  const auto logits = (*classifier)(batch.images());
  const auto classes = static_cast<std::size_t>(classifier->classes());
  const auto best_of = [&](int n) {
    return most_probable(logits.subspan(static_cast<std::size_t>(n) * classes, classes), 5);
  };
  if (!options.logits.empty()) write_npy(options.logits, {batch.n, classifier->classes()}, logits);
  if (options.json) {
    nlohmann::json result{{"network", options.network},     {"backend", classifier->backend()},
                          {"libraries", classifier->libraries()},    {"isa", isa_name(isa())},
                          {"threads", thread_count()},      {"batch", {batch.n, batch.h, batch.w}},
                          {"normalised", batch.normalised}, {"milliseconds_an_image", best / batch.n},
                          {"first_milliseconds", first}};
    for (int n = 0; n < batch.n; ++n) {
      for (const auto& [label, probability] : best_of(n)) {
        result["images"][static_cast<std::size_t>(n)].push_back({{"class", label}, {"probability", probability}});
      }
    }
    std::printf("%s\n", result.dump().c_str());
    return;
  }
  if (batch.normalised) {
    const Preprocessing p = imagenet_v1();
    std::printf("uint8 pixels, normalised as ImageNet's: (x / 255 - (%g, %g, %g)) / (%g, %g, %g)\n", double{p.mean[0]},
                double{p.mean[1]}, double{p.mean[2]}, double{p.std[0]}, double{p.std[1]}, double{p.std[2]});
  }
  for (int n = 0; n < batch.n; ++n) {
    std::printf("image %d:", n);
    for (const auto& [label, probability] : best_of(n)) std::printf("  %d %.2f %%", label, 100 * probability);
    std::printf("\n");
  }
  std::printf("%s on %s, %s, %d threads: %.2f ms an image (best of %d batches of %d, %d x %d; the first one %.1f ms)\n",
              options.network.c_str(), std::string(classifier->backend()).c_str(), std::string(isa_name(isa())).c_str(),
              thread_count(), best / batch.n, options.repeat, batch.n, batch.h, batch.w, first);
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Classifies a batch of ImageNet images.");
  app.footer("Exit status: 0 done, 1 an error, 2 wrong options.");
  app.add_option("images", options.images, "Batch, .npy [N, 3, H, W]: normalised floats, or uint8")->required();
  app.add_option("--network", options.network, "Network (resnext50_32x4d)")->check(CLI::IsMember(examples::imagenet_networks()));
  auto* weights = app.add_option("--weights", options.weights, "Its weights, .safetensors");
  auto* random = app.add_option("--random", options.random, "Or random ones, from this seed")->excludes(weights);
  app.add_option("--logits", options.logits, "Where to write the logits, .npy of float32 [N, 1000]");
  app.add_option("--repeat", options.repeat, "Batches to time (5)")->check(CLI::Range(1, 100000));
  app.add_option("--threads", options.threads, "Threads, 0 for all (0)")->check(CLI::Range(0, 1024));
  app.add_flag("--profile", options.profile, "Print the time and the implementation of every layer");
  app.add_flag("--json", options.json, "Print the result as JSON")->excludes("--profile");
  try {
    app.parse(argc, argv);
    if (weights->count() + random->count() == 0) throw CLI::RequiredError("--weights or --random");
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  try {
    if (options.threads > 0) set_thread_count(options.threads);
    run(options);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "imagenet: %s\n", error.what());
    return 1;
  }
}
