// Guide: a first network. It is a type, then parameters, then something that classifies and something that trains.

// [includes]
#include <resnext/cpu.hpp>      // the CPU backend; Classifier<Net> and Trainer<Net> are on it from here on
#include <resnext/resnext.hpp>  // networks, parameters, executors

using namespace resnext;
// [includes]

#include <cstdint>
#include <cstdio>
#include <vector>

// [type]
using Paper = ResNeXt50<32, 4>;  // cardinality C = 32 paths of width d = 4
static_assert(Paper::parameters == 25'028'904);
static_assert(Paper::macs(224, 224) == 4'230'479'872);

// Small enough to be trained while this page is read: 32 x 32 pictures, ten classes.
using Net = Network<Template<CifarStem<16>, Bottleneck<4, 4>, Planes<16>, Stage<1>, Stage<1>, Classes<10>>>;
// [type]

namespace {

/// Two pictures a class that anyone can tell apart: one grey each, the class says how bright.
std::vector<float> pictures(int count) {
  std::vector<float> values;
  for (int i = 0; i < count; ++i) values.insert(values.end(), 32 * 32 * 3, static_cast<float>(i % 10) / 5 - 0.9f);
  return values;
}

}  // namespace

int main() {
  // [classify]
  const Parameters<Net> parameters = initialized<Net>(1);  // from seed 1
  Classifier<Net> classify(parameters);                    // shares them

  const std::vector<float> values = pictures(20);
  const Images images(values, 20, 32, 32, 3);  // a view [N, H, W, C], normalised as the network expects it
  const auto logits = classify(images);        // [N, K], valid until the next call
  std::printf("first logit: %g\n", static_cast<double>(logits[0]));
  // [classify]

  // [train]
  std::vector<std::int32_t> labels;
  for (int i = 0; i < 20; ++i) labels.push_back(i % 10);

  Trainer<Net> trainer(parameters);  // starts from them; momentum 0.9, weight decay 1e-4
  trainer.set_learning_rate(0.05);
  double first_loss = 0, last_loss = 0;
  for (int step = 0; step < 30; ++step) {
    trainer.step(images, labels);
    const TrainingMetrics metrics = trainer.read_metrics();  // since the last call; a step itself returns nothing
    if (step == 0) first_loss = metrics.mean_loss();
    last_loss = metrics.mean_loss();
  }
  std::printf("loss: %.3f, then %.3f\n", first_loss, last_loss);
  // [train]

  // [save]
  save_safetensors("first_network.safetensors", trainer.parameters());
  const auto trained = load_safetensors<Net>("first_network.safetensors");  // names and shapes checked against the type
  // [save]

  return trained.values()[0] == trainer.parameters().values()[0] && last_loss < first_loss / 2 ? 0 : 1;
}
