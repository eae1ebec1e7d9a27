// Guide: fine-tuning. Weights that somebody else has trained, another number of classes, a few steps more.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include <resnext/reference.hpp>
#include <resnext/resnext.hpp>
#include <resnext/train/schedule.hpp>

using namespace resnext;
using B = Reference<float>;

// [networks]
// In a real program ResNeXt50<32, 4>.
using Pretrained = Network<Template<CifarStem<8>, Bottleneck<4, 2>, Planes<4>, Stage<1>, Stage<1>, Classes<10>>>;
using Mine = WithClasses<Pretrained, 3>;
// [networks]

int main() {
  save_safetensors("pretrained.safetensors", initialized<Pretrained>(7));  // in place of a download

  // [load]
  const auto parameters = load_safetensors<Mine>("pretrained.safetensors", Head::fresh, 1);  // the classifier: seed 1
  // [load]

  // [transfer]
  const auto [same, fresh, unused] = transfer<Mine>(load_safetensors<Pretrained>("pretrained.safetensors"), 1);
  for (const std::string& name : fresh) std::printf("initialised: %s\n", name.c_str());  // fc.weight and fc.bias
  // [transfer]

  // [refused]
  std::string refused;
  try {
    load_safetensors<Mine>("pretrained.safetensors");  // ten classes are not three
  } catch (const FileError& error) {
    refused = error.what();
    std::printf("%s\n", refused.c_str());
  }
  // [refused]

  // [train]
  TrainerOptions options;
  options.sgd = {.momentum = 0.9, .weight_decay = 1e-4, .nesterov = true};
  options.label_smoothing = 0.1;
  Trainer<Mine, B> trainer(parameters, options);
  const int steps = 12;
  const Schedule rate = Schedule::cosine(0.02, steps).warmed_up(2);  // a tenth of what a fresh network takes

  const int n = 6;
  std::vector<float> values;
  std::vector<std::int32_t> labels;
  for (int i = 0; i < n; ++i) {
    values.insert(values.end(), 8 * 8 * 3, static_cast<float>(i % 3) - 1.0f);
    labels.push_back(i % 3);
  }
  double first = 0, last = 0;
  for (int step = 0; step < steps; ++step) {
    trainer.set_learning_rate(rate(step));
    trainer.step(Images(values, n, 8, 8, 3), labels);
    last = trainer.read_metrics().mean_loss();
    if (step == 0) first = last;
  }
  save_safetensors("mine.safetensors", trainer.parameters());
  // [train]

  // [groups]
  options.group_of = [](const StateEntry& tensor) {
    const std::string_view name = tensor.prefix.view();
    if (name == "fc") return ParameterGroup{};                           // the whole rate
    if (name.starts_with("layer2")) return ParameterGroup{.rate = 0.1};  // a tenth
    return ParameterGroup{.frozen = true};
  };
  Trainer<Mine, B> last_layers(parameters, options);
  // [groups]
  last_layers.set_learning_rate(rate(steps / 2));
  last_layers.step(Images(values, n, 8, 8, 3), labels);
  const auto& partly = last_layers.parameters();
  const bool kept = std::ranges::equal(partly["conv1.weight"], parameters["conv1.weight"]) &&
                    !std::ranges::equal(partly["fc.weight"], parameters["fc.weight"]);

  std::printf("loss: %.3f, then %.3f\n", first, last);
  const bool equal = std::equal(same.values().begin(), same.values().end(), parameters.values().begin());
  return equal && kept && last < first && refused.find("fc.bias: expected [3], found [10]") != std::string::npos ? 0
                                                                                                                 : 1;
}
