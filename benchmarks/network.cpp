// Whole networks on the CPU backend: milliseconds an image of inference or of a training step.
//
//   network --network resnext50_32x4d --mode inference --batch 8
//
// With --serve it waits: each line on standard input is answered with one measurement, so that a script can take turns
// with other programs (benchmarks/compare.py does).

#include <algorithm>
#include <chrono>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <resnext/cpu.hpp>
#include <resnext/resnext.hpp>

namespace {

using namespace resnext;
using Clock = std::chrono::steady_clock;

double milliseconds(const std::function<void(Profile*)>& work) {
  const auto start = Clock::now();
  work(nullptr);
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

/// Random images, one of the network's parameter sets, and a function that classifies or trains a batch once.
template <class Net>
std::function<void(Profile*)> prepare(const std::string& mode, int batch, int size) {
  struct State {
    Parameters<Net> parameters = initialized<Net>(1);
    std::vector<float> values;
    std::vector<std::int32_t> labels;
    std::unique_ptr<Classifier<Net, Cpu<float>>> classifier;
    std::unique_ptr<Trainer<Net, Cpu<float>>> trainer;
  };
  const auto state = std::make_shared<State>();
  const RandomStream random(2, "benchmark");
  state->values.resize(static_cast<std::size_t>(batch) * static_cast<std::size_t>(size) *
                       static_cast<std::size_t>(size) * static_cast<std::size_t>(Net::inputs));
  for (std::size_t i = 0; i < state->values.size(); ++i) state->values[i] = 2 * random.uniform(i) - 1;
  for (int i = 0; i < batch; ++i) {
    state->labels.push_back(static_cast<std::int32_t>(random[1].below(static_cast<std::uint64_t>(i), Net::classes)));
  }
  const Images images(state->values, batch, size, size, Net::inputs);
  if (mode == "inference") {
    state->classifier = std::make_unique<Classifier<Net, Cpu<float>>>(state->parameters);
    return [state, images](Profile* profile) {
      profile == nullptr ? (*state->classifier)(images) : state->classifier->profile(images, *profile);
    };
  }
  state->trainer = std::make_unique<Trainer<Net, Cpu<float>>>(state->parameters);
  state->trainer->set_learning_rate(0.01);
  return [state, images](Profile* profile) { state->trainer->step(images, state->labels, nullptr, profile); };
}

struct Case {
  int size;
  std::function<void(Profile*)> (*prepare)(const std::string& mode, int batch, int size);
};

const std::map<std::string, Case> networks{
    {"resnext50_32x4d", {224, prepare<ResNeXt50<32, 4>>}},   {"resnet50", {224, prepare<ResNet50>}},
    {"resnext101_64x4d", {224, prepare<ResNeXt101<64, 4>>}}, {"resnext50_8x14d", {224, prepare<ResNeXt50<8, 14>>}},
    {"cifar29_8x64d", {32, prepare<ResNeXt29<8, 64>>}},
};

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Milliseconds an image of a whole network on the CPU backend.");
  std::string name = "resnext50_32x4d", mode = "inference";
  int batch = 1, size = 0, repeat = 10;
  bool serve = false, profiled = false;
  std::vector<std::string> names;
  for (const auto& entry : networks) names.push_back(entry.first);
  app.add_option("--network", name, "which network")->check(CLI::IsMember(names))->capture_default_str();
  app.add_option("--mode", mode, "inference or training")
      ->check(CLI::IsMember({"inference", "training"}))
      ->capture_default_str();
  app.add_option("--batch", batch, "images in a batch")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--size", size, "height and width of an image (default: the network's)")->check(CLI::PositiveNumber);
  app.add_option("--repeat", repeat, "batches in a measurement; the quickest counts")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_flag("--serve", serve, "one measurement for each line of standard input");
  app.add_flag("--profile", profiled, "time of each layer");
  CLI11_PARSE(app, argc, argv);

  try {
    const Case& entry = networks.at(name);
    const auto work = entry.prepare(mode, batch, size > 0 ? size : entry.size);
    work(nullptr);
    const auto measure = [&] {
      double best = milliseconds(work);
      for (int i = 1; i < repeat; ++i) best = std::min(best, milliseconds(work));
      return best / batch;
    };
    if (profiled) {
      Profile profile;
      for (int i = 0; i < repeat; ++i) work(&profile);
      std::cout << profile.table(Cpu<float>::peak_gflops());
      return 0;
    }
    if (!serve) {
      std::cout << name << ' ' << mode << " N=" << batch << ": " << measure() << " ms an image\n";
      return 0;
    }
    std::cout << "ready: resnext " << library_version << ", " << Cpu<float>::libraries() << ", "
              << resnext::isa_name(isa()) << std::endl;
    for (std::string line; std::getline(std::cin, line);) std::cout << measure() << std::endl;
  } catch (const resnext::Error& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
