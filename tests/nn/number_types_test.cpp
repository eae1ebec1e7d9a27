// Backends whose maps have 16 bits: what is stored so, and what is not.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

#include <resnext/reference.hpp>
#include <resnext/resnext.hpp>

#include "networks.hpp"

using namespace resnext;
using namespace resnext::test;

namespace {

/// Half the distance from 1 to the next number.
template <class T>
constexpr double rounding = std::is_same_v<T, bfloat16> ? 0x1p-8 : 0x1p-11;

template <class A, class B>
double rms_difference(const A& expected, const B& found) {
  double difference = 0, square = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    difference += std::pow(double{expected[i]} - double{found[i]}, 2);
    square += std::pow(double{expected[i]}, 2);
  }
  return std::sqrt(difference / square);
}

/// All that a trainer has learned, and its velocities.
template <class Trainer>
std::vector<float> state_of(Trainer& trainer) {
  const auto parameters = trainer.parameters(), velocities = trainer.velocities();
  std::vector<float> all(parameters.values().begin(), parameters.values().end());
  all.insert(all.end(), velocities.values().begin(), velocities.values().end());
  return all;
}

template <class Net, class T>
void logits_are_those_of_doubles() {
  const auto parameters = random_parameters<Net>(5);
  const RandomBatch batch("numbers", 3, 32, 32, Net::inputs, Net::classes);
  Classifier<Net, Reference<T>> classify(parameters);
  Classifier<Net, Reference<double>> oracle(parameters);
  const auto found = classify(batch.images());
  static_assert(std::is_same_v<decltype(found), const std::span<const float>>);
  const double error = rms_difference(oracle(batch.images()), found);
  CHECK(error > 0.05 * rounding<T>);
  CHECK(error < 3 * rounding<T>);
}

}  // namespace

TEST_CASE_TEMPLATE("logits of 16 bits differ from those of doubles as far as rounding explains", T, bfloat16, float16) {
  logits_are_those_of_doubles<SmallImageNet, T>();
  logits_are_those_of_doubles<SmallCifar, T>();
  logits_are_those_of_doubles<SmallBasic, T>();
}

TEST_CASE_TEMPLATE("what an observer sees are numbers of the backend, but logits are floats", T, bfloat16, float16) {
  using Net = SmallCifar;
  const RandomBatch batch("observed", 2, 16, 16, 3, Net::classes);
  Classifier<Net, Reference<T>> classify(random_parameters<Net>(6));
  int maps = 0;
  bool logits_rounded = true;
  classify.observe(batch.images(), [&](std::string_view name, Extent, std::span<const double> values) {
    const bool rounded = std::all_of(values.begin(), values.end(), [](double x) { return double{float{T(x)}} == x; });
    if (name == "fc") {
      logits_rounded = rounded;
    } else {
      CHECK(rounded);
      ++maps;
    }
  });
  CHECK(maps > 5);
  CHECK_FALSE(logits_rounded);
}

TEST_CASE_TEMPLATE("gradients are those of doubles as far as rounding explains", T, bfloat16, float16) {
  using Net = SmallCifar;
  const auto parameters = random_parameters<Net>(9);
  const RandomBatch batch("gradients", 4, 16, 16, 3, Net::classes);
  Trainer<Net, Reference<T>> trainer(parameters, {.loss_scale = 256});
  Trainer<Net, Reference<double>> oracle(parameters, {.loss_scale = 256});
  trainer.compute_gradients(batch.images(), batch.labels);
  oracle.compute_gradients(batch.images(), batch.labels);
  const auto found = trainer.gradients(), expected = oracle.gradients();
  // More than of logits: a ReLU's input near 0 may fall on the other side.
  CHECK(rms_difference(expected.values(), found.values()) < 100 * rounding<T>);
  CHECK(trainer.read_metrics().mean_loss() ==
        doctest::Approx(oracle.read_metrics().mean_loss()).epsilon(8 * rounding<T>));
}

TEST_CASE_TEMPLATE("updates that are too small for 16 bits add up", T, bfloat16, float16) {
  using Net = SmallBasic;
  const RandomBatch batch("small steps", 4, 8, 8, Net::inputs, Net::classes);
  Trainer<Net, Reference<T>> trainer(random_parameters<Net>(10), {.sgd = {.momentum = 0, .weight_decay = 0}});
  const auto before = trainer.parameters();
  trainer.set_learning_rate(1e-5);
  for (int step = 0; step < 4; ++step) trainer.step(batch.images(), batch.labels);
  const auto after = trainer.parameters();
  int moved = 0, seen = 0;
  for (const auto& slot : before.tensors()) {
    if (!slot.entry.learned()) continue;
    for (std::size_t i = 0; i < slot.size; ++i) {
      moved += before[slot][i] != after[slot][i];
      seen += T(before[slot][i]).bits != T(after[slot][i]).bits;
    }
  }
  CHECK(moved > Net::parameters / 2);
  CHECK(seen < moved / 4);
}

TEST_CASE("a loss scale that is a power of two changes no bit of what bfloat16 learns") {
  using Net = SmallCifar;
  const RandomBatch batch("scale", 4, 8, 8, 3, Net::classes);
  std::vector<std::vector<float>> states;
  for (const double scale : {1.0, 1024.0}) {
    Trainer<Net, Reference<bfloat16>> trainer(random_parameters<Net>(12), {.loss_scale = scale});
    trainer.set_learning_rate(0.1);
    for (int step = 0; step < 3; ++step) trainer.step(batch.images(), batch.labels);
    states.push_back(state_of(trainer));
  }
  CHECK(states[0] == states[1]);
}

TEST_CASE_TEMPLATE("a run of 16 bits goes on from what it learned in 32 as if never stopped", T, bfloat16, float16) {
  using Net = SmallCifar;
  const RandomBatch batch("restored", 4, 8, 8, 3, Net::classes);
  const auto steps = [&](auto& trainer, int count) {
    trainer.set_learning_rate(0.05);
    for (int step = 0; step < count; ++step) trainer.step(batch.images(), batch.labels);
  };
  Trainer<Net, Reference<T>> straight(random_parameters<Net>(14)), first(random_parameters<Net>(14));
  steps(straight, 5);
  steps(first, 2);
  Trainer<Net, Reference<T>> second(random_parameters<Net>(15));
  second.restore(first.state());
  steps(second, 3);
  CHECK(state_of(second) == state_of(straight));
}

TEST_CASE_TEMPLATE("training in 16 bits lowers the loss as training in 32 does", T, bfloat16, float16) {
  using Net = SmallCifar;
  const RandomBatch batch("20 steps", 8, 8, 8, 3, Net::classes);
  const auto losses = [&](auto trainer) {
    trainer.set_learning_rate(0.05);
    std::vector<double> all;
    for (int step = 0; step < 20; ++step) {
      trainer.step(batch.images(), batch.labels);
      all.push_back(trainer.read_metrics().mean_loss());
    }
    return all;
  };
  const auto start = initialized<Net>(8);
  const auto expected = losses(Trainer<Net, Reference<float>>(start));
  const auto found = losses(Trainer<Net, Reference<T>>(start, {.loss_scale = 256}));
  CHECK(found.back() < 0.5 * found.front());
  CHECK(found[0] == doctest::Approx(expected[0]).epsilon(4 * rounding<T>));
  CHECK(std::abs(found.back() - expected.back()) < 0.1 * expected.front());
}
