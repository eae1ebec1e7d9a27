// What the loader costs a training step: steps on batches that it prepares in the background take turns with steps on
// one batch that is there already.
//
//   loader cifar-10-batches-bin --network small

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <resnext/cpu.hpp>
#include <resnext/data/cifar.hpp>
#include <resnext/data/loader.hpp>
#include <resnext/resnext.hpp>

namespace {

using namespace resnext;
using Clock = std::chrono::steady_clock;

double milliseconds(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

double median(std::vector<double>& values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

template <class Net>
void measure(const Dataset& data, const LoaderOptions& options, double seconds) {
  Loader loader(data, cifar10_recipe(), options);
  LoaderOptions here = options;
  here.workers = 0;
  Loader preparation(data, cifar10_recipe(), here);
  Trainer<Net> trainer(initialized<Net>(1));
  trainer.set_learning_rate(0.01);
  const auto step = [&](const Batch& batch) {
    trainer.step(batch.images, batch.labels);
    trainer.read_metrics();
  };
  const Batch& same = preparation.next();
  step(same);

  constexpr int turn = 4;  // the first step of a turn is not counted: the loader still works beside the other kind
  std::vector<double> with, without, ratios, waited, prepared;
  for (const auto start = Clock::now(); milliseconds(start) < 1000 * seconds || with.empty();) {
    double loaded = 0, bare = 0;
    for (int i = 0; i < turn; ++i) {
      const auto began = Clock::now();
      const Batch& batch = loader.next();
      const double wait = milliseconds(began);
      step(batch);
      if (i == 0) continue;
      waited.push_back(wait);
      loaded += milliseconds(began) / (turn - 1);
    }
    for (int i = 0; i < turn; ++i) {
      const auto began = Clock::now();
      step(same);
      if (i > 0) bare += milliseconds(began) / (turn - 1);
    }
    with.push_back(loaded);
    without.push_back(bare);
    ratios.push_back(loaded / bare);
    const auto began = Clock::now();
    preparation.next();  // into the slot of `same`: the next turns train on this one
    prepared.push_back(milliseconds(began));
  }
  std::printf(
      "steps of %d images: %.2f ms with the loader, %.2f ms without (medians of %zu turns; of the ratios: %+.2f %%)\n"
      "waiting for the loader: %.3f ms a step; one thread prepares a batch in %.3f ms\n",
      options.batch, median(with), median(without), ratios.size(), 100 * (median(ratios) - 1), median(waited),
      median(prepared));
}

using Small = Network<Template<CifarStem<16>, Bottleneck<4, 4>, Planes<16>, Stage<1>, Stage<1>, Stage<1>, Classes<10>>>;

const std::map<std::string, void (*)(const Dataset&, const LoaderOptions&, double)> networks{
    {"small", measure<Small>},
    {"resnext29_4x8d", measure<ResNeXt29<4, 8>>},
};

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("What the loader costs a training step on CIFAR-10.");
  std::string folder, name = "small";
  LoaderOptions options;
  options.drop_last = true;
  double seconds = 10;
  std::vector<std::string> names;
  for (const auto& entry : networks) names.push_back(entry.first);
  app.add_option("folder", folder, "cifar-10-batches-bin")->required()->check(CLI::ExistingDirectory);
  app.add_option("--network", name, "which network")->check(CLI::IsMember(names))->capture_default_str();
  app.add_option("--batch", options.batch, "images in a batch")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--workers", options.workers, "threads of the loader")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--seconds", seconds, "how long")->check(CLI::PositiveNumber)->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    networks.at(name)(cifar10(DatasetSplit::test, folder), options, seconds);
  } catch (const resnext::Error& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
