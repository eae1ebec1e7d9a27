// Guide: deployment. What a program that serves a trained network wants to know and to set.

#include <cstdio>
#include <filesystem>
#include <vector>

#include <resnext/cpu.hpp>
#include <resnext/data/preprocessing.hpp>
#include <resnext/eval/predictor.hpp>
#include <resnext/resnext.hpp>
#include <resnext/train/checkpoint.hpp>

using namespace resnext;

using Net = Network<Template<ImageNetStem<8>, Bottleneck<4, 4>, Planes<8>, Stage<1>, Stage<1>, Classes<10>>>;

int main() {
  const std::filesystem::path folder = "deployment";
  std::filesystem::create_directories(folder);
  RunState state;  // a run of one step leaves a checkpoint
  state.step = 1;
  save_checkpoint(checkpoint_path(folder, state.step), {initialized<Net>(1)}, state);
  const Image picture{300, 400, 3, std::vector<std::uint8_t>(300 * 400 * 3, 128)};

  // [threads]
  set_thread_count(1);  // before the first executor; OMP_NUM_THREADS says it from outside
  std::printf("%s, %d thread(s)\n", std::string(isa_name(isa())).c_str(), thread_count());
  // [threads]

  // [checkpoint]
  const auto newest =
      latest_checkpoint(folder, [](const std::string& what) { std::fprintf(stderr, "%s\n", what.c_str()); });
  if (!newest) return 1;
  const MappedParameters<Net> parameters(*newest);  // the optimiser's tensors are passed over
  // [checkpoint]

  // [classify]
  Classifier<Net> classify(parameters);
  const std::vector<float> values = preprocessed(picture, imagenet_v1());  // [224, 224, 3], as torchvision has it
  const Images images(values, 1, 224, 224, 3);
  try {
    const auto logits = classify(images);  // the first call for an extent builds a plan, later ones allocate nothing
    std::printf("%zu logits\n", logits.size());
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  // [classify]

  // [predict]
  Predictor<Net> predict(parameters, imagenet_v1());  // without names the classes have numbers
  for (const auto& [name, probability] : predict(picture, 3)) std::printf("%s: %.3f\n", name.c_str(), probability);
  // [predict]

  // [memory]
  const auto& plan = classify.plan(images);
  std::printf("%zu KiB of activations, %zu KiB of packed weights\n", plan.activation_bytes() / 1024,
              plan.weight_bytes() / 1024);
  // [memory]

  // [profile]
  Profile profile;
  for (int run = 0; run < 3; ++run) classify.profile(images, profile);
  std::fputs(profile.table(Cpu<float>::peak_gflops()).c_str(), stdout);
  // [profile]

  return profile.rows().size() == plan.units().size() ? 0 : 1;
}
