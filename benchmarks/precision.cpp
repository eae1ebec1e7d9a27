// What numbers of 16 bits cost in accuracy, by the reference backends: they round where such a backend stores, and
// nowhere else.
//
//   precision logits weights.pth images.npy logits --network resnext50_32x4d
//   precision training cifar-10-batches-bin --steps 300 --seeds 3
//
// The first writes the logits of each number type for benchmarks/precision.py, which compares them with PyTorch's. The
// second trains a small network with each type from the same starts on the same pictures, and says how far the last
// losses are from those of fp32, in standard errors of the runs' differences.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <resnext/data/cifar.hpp>
#include <resnext/data/loader.hpp>
#include <resnext/io/npy.hpp>
#include <resnext/nn/pth_files.hpp>
#include <resnext/reference.hpp>
#include <resnext/resnext.hpp>

namespace {

using namespace resnext;

template <class Net, class T>
void write_logits(const Parameters<Net>& parameters, const Images& images, const std::string& prefix,
                  const std::string& type) {
  Classifier<Net, Reference<T>> classify(parameters);
  const auto logits = classify(images);
  write_npy(prefix + "." + type + ".npy", {images.n, Net::classes}, std::vector<double>(logits.begin(), logits.end()));
}

/// Of images `[N, H, W, C]`, in the parameters of a file of torch.save.
template <class Net>
void logits(const std::string& weights, const std::string& file, const std::string& prefix) {
  const auto parameters = load_pth<Net>(weights);
  const auto pixels = read_npy<float>(file);
  if (pixels.shape.size() != 4) {
    throw_error<ShapeError>(file, ": expected images [N, H, W, C], found ", pixels.shape.size(), " dimensions");
  }
  const auto extent = [&](std::size_t i) { return static_cast<int>(pixels.shape[i]); };
  const Images images(pixels.values, extent(0), extent(1), extent(2), extent(3));
  write_logits<Net, double>(parameters, images, prefix, "double");
  write_logits<Net, float>(parameters, images, prefix, "float");
  write_logits<Net, bfloat16>(parameters, images, prefix, "bfloat16");
  write_logits<Net, float16>(parameters, images, prefix, "float16");
}

const std::map<std::string, std::function<void(const std::string&, const std::string&, const std::string&)>> networks{
    {"resnext50_32x4d", logits<ResNeXt50<32, 4>>},
    {"resnext101_32x4d", logits<ResNeXt101<32, 4>>},
};

using Small = Network<Template<CifarStem<16>, Bottleneck<4, 4>, Planes<16>, Stage<1>, Stage<1>, Stage<1>, Classes<10>>>;

struct Run {
  int steps = 300, last = 50, batch = 32;
  double rate = 0.05, loss_scale = 1;
  std::uint64_t seed = 0;
};

/// The mean loss of the last steps.
template <class T>
double train(const Dataset& data, const Run& run) {
  LoaderOptions options;
  options.batch = run.batch;
  options.seed = run.seed;
  options.drop_last = true;
  Loader loader(data, cifar10_recipe(), options);
  TrainerOptions training;
  training.loss_scale = run.loss_scale;
  Trainer<Small, Reference<T>> trainer(initialized<Small>(run.seed), training);
  trainer.set_learning_rate(run.rate);
  double sum = 0;
  for (int step = 0; step < run.steps; ++step) {
    const Batch& batch = loader.next();
    trainer.step(batch.images, batch.labels);
    const double loss = trainer.read_metrics().mean_loss();
    if (step >= run.steps - run.last) sum += loss / run.last;
  }
  return sum;
}

void report(const std::string& type, const std::vector<double>& found, const std::vector<double>& expected) {
  const auto count = static_cast<double>(found.size());
  double mean = 0, difference = 0, square = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    mean += found[i] / count;
    difference += (found[i] - expected[i]) / count;
  }
  for (std::size_t i = 0; i < found.size(); ++i) {
    square += std::pow(found[i] - expected[i] - difference, 2) / (count - 1);
  }
  const double error = std::sqrt(square / count);
  std::printf("| %s | %.4f | %+.4f | %.4f | %s |\n", type.c_str(), mean, difference, error,
              std::abs(difference) <= 2 * error ? "" : "**more than 2 standard errors**");
  std::fflush(stdout);
}

void training(const std::string& folder, Run run, int seeds) {
  const Dataset data = cifar10(DatasetSplit::train, folder);
  std::map<std::string, std::vector<double>> losses;
  for (int seed = 0; seed < seeds; ++seed) {
    run.seed = static_cast<std::uint64_t>(seed);
    losses["float"].push_back(train<float>(data, run));
    losses["bfloat16"].push_back(train<bfloat16>(data, run));
    Run scaled = run;
    scaled.loss_scale = 1024;
    losses["float16, loss scale 1024"].push_back(train<float16>(data, scaled));
  }
  std::printf(
      "Mean loss of the last %d of %d steps, %d starts, batches of %d pictures of CIFAR-10, rate %g.\n\n"
      "| numbers | loss | less that of float | standard error of that | |\n|---|---|---|---|---|\n",
      run.last, run.steps, seeds, run.batch, run.rate);
  for (const auto& [type, found] : losses) report(type, found, losses["float"]);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("What numbers of 16 bits cost in accuracy.");
  app.require_subcommand(1);
  std::string weights, images, prefix, network = "resnext50_32x4d", folder;
  Run run;
  int seeds = 3;
  std::vector<std::string> names;
  for (const auto& entry : networks) names.push_back(entry.first);
  auto* const of_logits = app.add_subcommand("logits", "writes the logits of each number type as PREFIX.TYPE.npy");
  of_logits->add_option("weights", weights, "parameters, a file of torch.save")->required()->check(CLI::ExistingFile);
  of_logits->add_option("images", images, "float32 [N, H, W, C], .npy")->required()->check(CLI::ExistingFile);
  of_logits->add_option("prefix", prefix, "of the written files")->required();
  of_logits->add_option("--network", network, "which network")->check(CLI::IsMember(names))->capture_default_str();
  auto* const of_training = app.add_subcommand("training", "trains a small network on CIFAR-10 with each number type");
  of_training->add_option("folder", folder, "cifar-10-batches-bin")->required()->check(CLI::ExistingDirectory);
  of_training->add_option("--steps", run.steps, "of each run")->check(CLI::PositiveNumber)->capture_default_str();
  of_training->add_option("--last", run.last, "steps whose loss counts")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  of_training->add_option("--seeds", seeds, "runs of each type")->check(CLI::Range(2, 1000))->capture_default_str();
  of_training->add_option("--batch", run.batch, "pictures in a batch")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  of_training->add_option("--rate", run.rate, "learning rate")->check(CLI::PositiveNumber)->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    if (*of_logits) {
      networks.at(network)(weights, images, prefix);
    } else if (run.last > run.steps) {
      throw_error<OptionError>("--last: expected at most ", run.steps, ", the number of steps, found ", run.last);
    } else {
      training(folder, run, seeds);
    }
  } catch (const resnext::Error& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
