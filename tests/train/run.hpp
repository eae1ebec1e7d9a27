/// What the tests of training share: a data set that can be learned, a small network, and a run of it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <utility>

#include <resnext/data/augment.hpp>
#include <resnext/model/family.hpp>
#include <resnext/random.hpp>
#include <resnext/reference.hpp>
#include <resnext/train/fit.hpp>

namespace resnext::test {

using Tiny = Network<Template<CifarStem<4, 1>, Bottleneck<2, 2>, Planes<4>, Stage<1>, Stage<1>, Classes<3>>>;

/// Noisy pictures 8 x 8: horizontal stripes, vertical stripes, or none.
inline Dataset stripes(int count, std::uint64_t seed) {
  Dataset data;
  data.name = "stripes";
  data.height = data.width = 8;
  data.channels = 1;
  data.classes = 3;
  const RandomStream random(seed, "stripes");
  for (std::uint32_t i = 0; i < static_cast<std::uint32_t>(count); ++i) {
    const auto label = static_cast<std::int32_t>(random.below(i, 3));
    data.labels.push_back(label);
    for (std::uint32_t pixel = 0; pixel < 64; ++pixel) {
      const bool bright = label == 0 ? pixel / 8 % 2 == 0 : label == 1 && pixel % 2 == 0;
      data.images.push_back(static_cast<std::uint8_t>(random[i].below(pixel, 100) + (bright ? 100 : 0)));
    }
  }
  return data;
}

/// A trainer with its data, made anew as a program that starts does.
struct Run {
  using B = Reference<float>;

  Dataset train_data = stripes(50, 1), test_data = stripes(30, 2);
  Loader train, test;
  Trainer<Tiny, B> trainer;
  RunState state{.id = "run"};

  explicit Run(int workers = 0)
      : train(train_data, recipe_of(train_data), {.batch = 8, .seed = 5, .workers = workers}),
        test(test_data, normalisation_only(recipe_of(train_data)), {.batch = 16, .shuffle = false, .workers = 0}),
        trainer(initialized<Tiny>(3), {.sgd = {.momentum = 0.9, .weight_decay = 1e-4, .nesterov = true}}) {}

  static FitOptions options(const std::filesystem::path& folder) {
    FitOptions options;
    options.epochs = 3;
    options.schedule = Schedule::cosine(0.1, 3 * 7).warmed_up(4);
    options.checkpoints = folder;
    options.report_every = 3;
    return options;
  }
  bool fit(const FitOptions& options) { return resnext::fit(trainer, train, &test, state, options); }
  void resume(const std::filesystem::path& path) {
    const auto checkpoint = load_checkpoint<Tiny>(path);
    trainer.restore(checkpoint.trainer);
    state = checkpoint.state;
  }
};

}  // namespace resnext::test
