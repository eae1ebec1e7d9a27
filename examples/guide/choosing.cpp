// Guide: network and backend chosen when the program runs, from those that it was compiled with.

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

// [includes]
#include <resnext/nn/any_executors.hpp>   // for the program: no network, no backend
#include <resnext/nn/make_executors.hpp>  // for the one file that is compiled with them
#include <resnext/reference.hpp>
#include <resnext/resnext.hpp>
#include <resnext/train/fit.hpp>
// [includes]

using namespace resnext;

// [lists]
using Narrow = Network<Template<CifarStem<4, 1>, Bottleneck<2, 2>, Planes<4>, Stage<1>, Stage<1>, Classes<2>>>;
using Wide = Network<Template<CifarStem<4, 1>, Bottleneck<4, 4>, Planes<8>, Stage<1>, Stage<1>, Classes<2>>>;

constexpr NetworkList<Narrow, Wide> networks{{"narrow", "wide"}};
constexpr BackendList<Reference<float>, Reference<double>> backends;  // the first is the default
// [lists]

// [run]
/// Knows no network: this could stand in a file that includes neither a network nor a backend.
Accuracy run(AnyTrainer& trainer, Loader& train, Loader& test, const std::filesystem::path& folder) {
  std::printf("%lld parameters, %lld multiply-adds an image, on %s\n",
              static_cast<long long>(trainer.parameter_count()), static_cast<long long>(trainer.macs(8, 8)),
              std::string(trainer.backend()).c_str());
  RunState state;
  if (const auto latest = latest_checkpoint(folder)) {
    const AnyCheckpoint checkpoint = load_checkpoint(*latest, trainer.layers());  // refuses another network's
    trainer.restore(checkpoint.trainer);
    state = checkpoint.state;
  }
  FitOptions options;
  options.epochs = 3;
  options.schedule = Schedule::cosine(0.1, std::int64_t{options.epochs} * train.batches());
  options.checkpoints = folder;
  fit(trainer, train, nullptr, state, options);
  return evaluate(*trainer.classifier(), test);
}
// [run]

namespace {

/// Dark pictures and bright ones.
Dataset make_dataset() {
  Dataset data;
  data.name = "dark and bright";
  data.height = data.width = 8;
  data.channels = 1;
  data.classes = 2;
  for (int i = 0; i < 32; ++i) {
    data.labels.push_back(i % 2);
    data.images.insert(data.images.end(), 64, static_cast<std::uint8_t>(i % 2 * 150 + i));
  }
  return data;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string network = argc > 1 ? argv[1] : "wide", backend = argc > 2 ? argv[2] : "";
  const std::filesystem::path folder = "choosing-" + network;
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  const Dataset data = make_dataset();
  const Augmentation normalise = normalisation_only(recipe_of(data));
  Loader train(data, normalise, {.batch = 8, .seed = 1}), test(data, normalise, {.batch = 8, .shuffle = false});

  // [make]
  try {
    const auto trainer = make_trainer(networks, backends, network, backend, /*seed=*/1);
    const Accuracy accuracy = run(*trainer, train, test, folder);
    std::printf("accuracy %.1f %%\n", 100 * accuracy.top1());
  } catch (const OptionError& error) {
    std::fprintf(stderr, "%s\n", error.what());  // there is no network "wise" in this program, only narrow, wide
    return 1;
  }
  const auto weights = latest_checkpoint(folder).value();  // weights under torchvision's names: a file like any other
  const auto classify = make_classifier(networks, backends, network, backend, weights.string());
  // [make]

  // [fastest]
  const std::vector<float> values(4 * 8 * 8);
  const Images batch(values, 4, 8, 8, 1);  // what the program will be asked
  const auto quickest = fastest<Wide, Reference<float>, Reference<double>>(initialized<Wide>(1), batch);
  std::printf("%s is the fastest\n", std::string(quickest->backend()).c_str());
  // [fastest]

  return (*classify)(batch).size() == 8 && (*quickest)(batch).size() == 8 ? 0 : 1;
}
