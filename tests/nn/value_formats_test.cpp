// Plans whose values are stored in several types.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <resnext/reference.hpp>
#include <resnext/resnext.hpp>

#include "files.hpp"
#include "networks.hpp"

using namespace resnext;
using namespace resnext::test;
using testing::message_of;

namespace {

/// Every value of the network in one type.
template <class Net>
ValueFormats everywhere(Dtype type) {
  ValueFormats formats(Net::layers);
  for (int value = 0; value <= static_cast<int>(Net::layers.size()); ++value) formats.set(value, {type, 1});
  return formats;
}

/// The first and the last layer in float.
template <class Net>
ValueFormats float_ends() {
  ValueFormats formats(Net::layers);
  formats.reads("conv1", {Dtype::F32});
  formats.reads("fc", {Dtype::F32});
  return formats;
}

/// What each unit wrote, by the name of its last row.
template <class Classifier>
std::map<std::string, std::vector<double>, std::less<>> outputs(Classifier& classify, const Images& images) {
  std::map<std::string, std::vector<double>, std::less<>> all;
  classify.observe(images, [&](std::string_view name, Extent, std::span<const double> values) {
    all[std::string(name)].assign(values.begin(), values.end());
  });
  return all;
}

template <class T>
bool are_rounded(const std::vector<double>& values) {
  return std::all_of(values.begin(), values.end(), [](double x) { return double{float{T(x)}} == x; });
}

/// All that a trainer has learned, after a few steps.
template <class Trainer>
std::vector<float> learned(Trainer trainer, const RandomBatch& batch) {
  trainer.set_learning_rate(0.05);
  for (int step = 0; step < 3; ++step) trainer.step(batch.images(), batch.labels);
  const auto parameters = trainer.parameters(), velocities = trainer.velocities(), gradients = trainer.gradients();
  std::vector<float> all(parameters.values().begin(), parameters.values().end());
  for (const auto* state : {&velocities, &gradients}) {
    all.insert(all.end(), state->values().begin(), state->values().end());
  }
  return all;
}

}  // namespace

TEST_CASE_TEMPLATE("the first and the last layer are float inside a network of 16 bits", T, bfloat16, float16) {
  using Net = SmallImageNet;
  const auto parameters = random_parameters<Net>(3);
  const RandomBatch batch("ends", 2, 32, 32, Net::inputs, Net::classes);
  Classifier<Net, Reference<T>> mixed(parameters, float_ends<Net>()), plain(parameters);
  Classifier<Net, Reference<float>> exact(parameters);
  const auto values = outputs(mixed, batch.images());
  const auto rounded = outputs(plain, batch.images()), floats = outputs(exact, batch.images());

  // The first: from images and weights that were not rounded, to a map that is.
  const auto &stem = values.at("relu"), &unrounded = floats.at("relu");
  CHECK(std::equal(stem.begin(), stem.end(), unrounded.begin(), unrounded.end(),
                   [](double a, double b) { return a == double{float{T(b)}}; }));
  CHECK(stem != rounded.at("relu"));

  // Between them every map is rounded, but for the features.
  for (const auto& value : values) {
    const std::string& name = value.first;
    CAPTURE(name);
    CHECK(are_rounded<T>(value.second) == (name != "avgpool" && name != "fc"));
  }

  // The last: what a float layer makes of the features, which are float.
  const auto& features = values.at("avgpool");
  const std::vector<float> x(features.begin(), features.end());
  const LinearShape shape{2, static_cast<int>(x.size()) / 2, Net::classes};
  const Reference<float>::Linear linear(shape, "fc");
  std::vector<float> logits(2 * Net::classes);
  HostStream stream;
  linear.forward(stream, x.data(), parameters["fc.weight"].data(), parameters["fc.bias"].data(), logits.data(),
                 nullptr);
  CHECK(std::equal(logits.begin(), logits.end(), values.at("fc").begin(), values.at("fc").end()));
}

TEST_CASE_TEMPLATE("a network of 16 bits all of whose values are float is one of floats, bit for bit", T, bfloat16,
                   float16) {
  using Net = SmallCifar;
  const auto parameters = random_parameters<Net>(4);
  const RandomBatch batch("all float", 4, 8, 8, Net::inputs, Net::classes);
  Classifier<Net, Reference<T>> mixed(parameters, everywhere<Net>(Dtype::F32));
  Classifier<Net, Reference<float>> plain(parameters);
  CHECK(outputs(mixed, batch.images()) == outputs(plain, batch.images()));
  CHECK(learned(Trainer<Net, Reference<T>>(parameters, {.formats = everywhere<Net>(Dtype::F32)}), batch) ==
        learned(Trainer<Net, Reference<float>>(parameters), batch));
}

TEST_CASE_TEMPLATE("a network of floats all of whose values have 16 bits is one of 16 bits", T, bfloat16, float16) {
  using Net = SmallBasic;
  const auto parameters = random_parameters<Net>(5);
  const RandomBatch batch("all rounded", 4, 8, 8, Net::inputs, Net::classes);
  Classifier<Net, Reference<float>> mixed(parameters, everywhere<Net>(dtype_of<T>));
  Classifier<Net, Reference<T>> plain(parameters);
  CHECK(outputs(mixed, batch.images()) == outputs(plain, batch.images()));
}

TEST_CASE_TEMPLATE("a trainer's first and last layer are float", T, bfloat16, float16) {
  using Net = SmallCifar;
  const auto parameters = random_parameters<Net>(6);
  const RandomBatch batch("trained ends", 4, 8, 8, Net::inputs, Net::classes);
  Trainer<Net, Reference<T>> mixed(parameters, {.formats = float_ends<Net>()}), plain(parameters);
  const auto look = [&](auto& trainer) {
    trainer.set_learning_rate(0.05);
    std::map<std::string, std::vector<double>, std::less<>> all;
    const Observer observer = [&](std::string_view name, Extent, std::span<const double> values) {
      all[std::string(name)].assign(values.begin(), values.end());
    };
    trainer.step(batch.images(), batch.labels, &observer);
    return all;
  };
  const auto values = look(mixed), rounded = look(plain);
  CHECK(values.at("conv1") != rounded.at("conv1"));  // from images that were not rounded
  for (const auto& value : values) {
    const std::string& name = value.first;
    CAPTURE(name);
    CHECK(are_rounded<T>(value.second) == (name != "avgpool" && name != "fc"));
  }
  // The gradient of the last weights is a product of floats: of the logits' gradients, which are float, and features.
  constexpr int n = 4, classes = Net::classes;
  const auto& logits = values.at("fc");
  const auto& features = values.at("avgpool");
  const std::vector<float> scores(logits.begin(), logits.end());
  std::vector<float> slopes(scores.size());
  std::array<double, static_cast<std::size_t>(StepControl::count)> control{};
  control[static_cast<std::size_t>(StepControl::loss_scale)] = 1;
  control[static_cast<std::size_t>(StepControl::images)] = n;
  std::array<double, 3> metrics{};
  HostStream stream;
  Reference<float>::CrossEntropy(LossShape{n, classes})
      .run(stream, scores.data(), batch.labels.data(), control.data(), slopes.data(), metrics.data());
  const auto gradients = mixed.gradients();
  const auto weights = gradients["fc.weight"], bias = gradients["fc.bias"];
  const std::size_t width = features.size() / n;
  for (std::size_t k = 0; k < classes; ++k) {
    double sum = 0;
    for (std::size_t i = 0; i < n; ++i) sum += slopes[i * classes + k];
    CHECK(bias[k] == doctest::Approx(sum).epsilon(1e-6).scale(0.1));
    for (std::size_t column = 0; column < width; ++column) {
      sum = 0;
      for (std::size_t i = 0; i < n; ++i) sum += slopes[i * classes + k] * features[i * width + column];
      CHECK(weights[k * width + column] == doctest::Approx(sum).epsilon(1e-6).scale(0.1));
    }
  }
  // It goes on from a checkpoint as if never stopped.
  const auto steps = [&](auto& trainer, int count) {
    trainer.set_learning_rate(0.05);
    for (int step = 0; step < count; ++step) trainer.step(batch.images(), batch.labels);
  };
  Trainer<Net, Reference<T>> straight(parameters, {.formats = float_ends<Net>()});
  Trainer<Net, Reference<T>> first(parameters, {.formats = float_ends<Net>()});
  Trainer<Net, Reference<T>> second(random_parameters<Net>(7), {.formats = float_ends<Net>()});
  steps(straight, 4);
  steps(first, 2);
  second.restore(first.state());
  steps(second, 2);
  CHECK(std::ranges::equal(second.parameters().values(), straight.parameters().values()));
}

TEST_CASE(
    "every value between two types: each map alone is float in a network of 16 bits, and each alone has 16 bits") {
  using Net = SmallBasic;
  const auto parameters = random_parameters<Net>(8);
  const RandomBatch batch("each", 4, 8, 8, Net::inputs, Net::classes);
  const auto expected = learned(Trainer<Net, Reference<float>>(parameters), batch);
  Classifier<Net, Reference<float>> plain(parameters);
  const auto logits = plain(batch.images());
  const std::vector<float> truth(logits.begin(), logits.end());
  for (int value = 0; value < static_cast<int>(Net::layers.size()); ++value) {
    CAPTURE(value);
    for (const bool alone : {false, true}) {
      ValueFormats formats = everywhere<Net>(alone ? Dtype::BF16 : Dtype::F32);
      formats.set(value, {alone ? Dtype::F32 : Dtype::BF16, 1});
      Classifier<Net, Reference<bfloat16>> classify(parameters, formats);
      const auto found = classify(batch.images());
      double worst = 0, largest = 0;
      for (std::size_t i = 0; i < truth.size(); ++i) {
        worst = std::max(worst, std::abs(double{truth[i]} - double{found[i]}));
        largest = std::max(largest, std::abs(double{truth[i]}));
      }
      CHECK(worst < (alone ? 0.05 : 0.02) * largest);
      // Gradients pass through every pair of types.
      const auto trained = learned(Trainer<Net, Reference<bfloat16>>(parameters, {.formats = formats}), batch);
      double difference = 0, square = 0;
      for (std::size_t i = 0; i < expected.size(); ++i) {
        difference += std::pow(double{expected[i]} - double{trained[i]}, 2);
        square += std::pow(double{expected[i]}, 2);
      }
      CHECK(std::sqrt(difference / square) < 0.2);
    }
  }
}

TEST_CASE("formats that cannot be are refused, with the layer") {
  using Net = SmallCifar;
  const auto parameters = random_parameters<Net>(9);
  const RandomBatch batch("refused", 2, 8, 8, Net::inputs, Net::classes);
  ValueFormats formats(Net::layers);
  CHECK(message_of<Error>([&] { formats.reads("layer9.0.conv1", {Dtype::F32}); }) ==
        "the network has no layer \"layer9.0.conv1\", whose input was to be of type F32");
  const auto refusal = [&]<class B>(NumberFormat format) {
    ValueFormats chosen(Net::layers);
    chosen.reads("layer1.0.conv2", format);
    return message_of<Error>([&] { Classifier<Net, B>(parameters, chosen)(batch.images()); });
  };
  CHECK(refusal.operator()<Reference<double>>({Dtype::F32}) ==
        "layer1.0.relu1: Reference<double> has no maps of type F32");
  CHECK(refusal.operator()<Reference<float>>({Dtype::I64}) ==
        "layer1.0.relu1: Reference<float> has no maps of type I64");
  CHECK(refusal.operator()<Reference<float>>({Dtype::BF16, 2}) ==
        "layer1.0.relu1: expected a scale of 1 for BF16, found 2");
  for (const float scale : {0.0f, -1.0f, std::numeric_limits<float>::infinity()}) {
    CHECK(refusal.operator()<Reference<float>>({Dtype::U8, scale})
              .starts_with("layer1.0.relu1: expected a positive, finite scale for U8, found "));
  }
  CHECK(message_of<OptionError>([&] {
          Classifier<SmallImageNet, Reference<float>>(random_parameters<SmallImageNet>(9), formats)(batch.images());
        }) == "formats: expected those of this network with " + std::to_string(SmallImageNet::layers.size()) +
                  " layers, found those of another; make them of its own table");
  ValueFormats half(Net::layers);
  half.reads("layer1.0.conv2", {Dtype::F16});
  Trainer<Net, Reference<bfloat16>> trainer(parameters, {.formats = half});
  trainer.set_learning_rate(0.1);
  CHECK(message_of<Error>([&] { trainer.step(batch.images(), batch.labels); }) ==
        "layer1.0.relu1: expected BF16 or F32 for training on Reference<bfloat16>, found F16");
}

TEST_CASE("pointers say the type of what they point to") {
  float number = 3;
  const TypedPointer pointer = &number;
  CHECK(pointer.type() == Dtype::F32);
  float* const back = pointer;
  CHECK(back == &number);
  const float* const read = ConstTypedPointer(pointer);
  CHECK(read == &number);
  CHECK(message_of<Error>([&] { static_cast<void>(static_cast<bfloat16*>(pointer)); }) ==
        "an operator expected numbers of type BF16, found F32");
  CHECK_FALSE(TypedPointer(nullptr));
  CHECK(static_cast<double*>(TypedPointer(nullptr)) == nullptr);
  static_assert(!std::is_convertible_v<const float*, TypedPointer> &&
                !std::is_convertible_v<ConstTypedPointer, float*>);
}
