// What must hold with any option of the compiler: included by units that are compiled with -ffast-math and without.
#pragma once

#include <bit>
#include <cstdint>
#include <utility>
#include <vector>

#ifdef RESNEXT_TEST_CPU
#include <resnext/cpu.hpp>
#else
#include <resnext/reference.hpp>
#endif
#include <resnext/resnext.hpp>

namespace finite_math {

using namespace resnext;

#ifdef RESNEXT_TEST_CPU
using B = Cpu<float>;
#else
using B = Reference<float>;
#endif
using Net = Network<Template<ImageNetStem<8>, Bottleneck<4, 2>, Planes<8>, Stage<1>, Stage<1>, Classes<5>>>;

/// A number that the compiler cannot know to be NaN, or infinite.
inline float from_bits(std::uint32_t bits) {
  volatile std::uint32_t unknown = bits;
  return std::bit_cast<float>(std::uint32_t{unknown});
}

/// Weights and velocities.
inline std::vector<std::uint32_t> bits_of(Trainer<Net, B>& trainer) {
  std::vector<std::uint32_t> bits;
  for (const Parameters<Net>& tensors : {Parameters<Net>(trainer.parameters()), trainer.velocities()}) {
    for (const float value : tensors.values()) bits.push_back(std::bit_cast<std::uint32_t>(value));
  }
  return bits;
}

/// The line where something is wrong, or 0: a bad pixel, weight or rate must stop the trainer with all it had.
inline int first_wrong_line() {
  const auto parameters = initialized<Net>(1);
  std::vector<float> values(4 * 33 * 33 * 3);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = RandomStream(2, "images").uniform(i) - 0.5f;
  const std::vector<std::int32_t> labels{0, 1, 2, 3};
  const auto step = [&](Trainer<Net, B>& trainer) { trainer.step(Images(values, 4, 33, 33, 3), labels); };
  for (const std::uint32_t bad : {0x7FC00000u, 0xFFC00000u, 0x7F800001u, 0x7F800000u, 0xFF800000u}) {
    Trainer<Net, B> trainer(parameters);
    trainer.set_learning_rate(0.1);
    step(trainer);
    if (!is_finite(trainer.read_metrics().loss)) return __LINE__;
    const auto before = bits_of(trainer);
    const float good = std::exchange(values[1000], from_bits(bad));
    step(trainer);
    if (bits_of(trainer) != before) return __LINE__;
    step(trainer);
    const TrainingMetrics metrics = trainer.read_metrics();
    if (is_finite(metrics.loss) || metrics.images != 0) return __LINE__;
    if (trainer.first_not_finite(Images(values, 4, 33, 33, 3), labels) != "the output of conv1") return __LINE__;
    values[1000] = good;
    step(trainer);
    if (!is_finite(trainer.read_metrics().loss) || bits_of(trainer) == before) return __LINE__;

    for (const char* name : {"layer1.0.conv2.weight", "layer2.0.bn1.weight", "fc.bias"}) {
      auto broken = parameters;
      broken[name][0] = from_bits(bad);
      trainer.restore({broken});
      const auto unchanged = bits_of(trainer);
      step(trainer);
      if (bits_of(trainer) != unchanged || is_finite(trainer.read_metrics().loss)) return __LINE__;
      if (!trainer.first_not_finite(Images(values, 4, 33, 33, 3), labels)) return __LINE__;
    }
  }
  Trainer<Net, B> trainer(parameters);  // trains to NaN of its own
  trainer.set_learning_rate(1e20);
  for (int i = 0; i < 8; ++i) step(trainer);
  if (is_finite(trainer.read_metrics().loss)) return __LINE__;
  return 0;
}

}  // namespace finite_math
