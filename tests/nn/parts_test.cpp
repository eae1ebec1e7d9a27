// Networks that begin at maps or end in them: cut after a stage and joined again they are what they were, bit for bit.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
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

using B = Reference<double>;
using Block = Bottleneck<4, 2>;

using Whole = Network<Template<ImageNetStem<8>, Block, Planes<8>, Stage<1>, Stage<2>, Stage<1>, Classes<7>>>;
/// After stage k.
using Lower1 = Network<Template<ImageNetStem<8>, Block, Planes<8>, Stage<1>, Features<1>>>;
using Upper1 = Network<Template<Input<32>, Block, Planes<8>, Stage<0>, Stage<2>, Stage<1>, Classes<7>>>;
using Lower2 = Network<Template<ImageNetStem<8>, Block, Planes<8>, Stage<1>, Stage<2>, Features<2>>>;
using Upper2 = Network<Template<Input<64>, Block, Planes<8>, Stage<0>, Stage<0>, Stage<1>, Classes<7>>>;
using Lower3 = Network<Template<ImageNetStem<8>, Block, Planes<8>, Stage<1>, Stage<2>, Stage<1>, Features<3>>>;
/// Two outputs, one of which is read on.
using Pyramid = Network<Template<ImageNetStem<8>, Block, Planes<8>, Stage<1>, Stage<2>, Stage<1>, Features<1, 2, 3>>>;
/// From map to map.
using Middle = Network<Template<Input<32>, Block, Planes<8>, Stage<0>, Stage<2>, Features<2>>>;

static_assert(Lower1::parameters + Upper1::parameters == Whole::parameters);
static_assert(Lower2::parameters + Upper2::parameters == Whole::parameters);
static_assert(Lower1::parameters + Middle::parameters + Upper2::parameters == Whole::parameters);
static_assert(Pyramid::outputs.size() == 3 && Pyramid::classes == 0 && Upper2::inputs == 64 && Upper2::classes == 7);
static_assert(Upper2::find("layer3.0.conv2")->stride == 2 && Upper2::find("layer3.0.conv2")->in == 32);
static_assert(!Whole::begins_at_map && Upper1::begins_at_map);

/// The tensors of a part, by their names.
template <class Part>
Parameters<Part> part_of(const StateDict& whole) {
  Parameters<Part> part;
  for (const auto& slot : part.tensors()) {
    if (slot.size > 0) std::ranges::copy(whole[slot.entry.name().view()], part[slot].begin());
  }
  return part;
}

template <class Part>
bool agree(const StateDict& part, const StateDict& whole) {
  return std::all_of(part.tensors().begin(), part.tensors().end(), [&](const StateDict::Slot& slot) {
    return slot.size == 0 || std::ranges::equal(part[slot], whole[slot.entry.name().view()]);
  });
}

/// The gradients by name.
template <class T>
std::vector<std::pair<std::string, std::vector<double>>> gradients_of(T& trainer) {
  std::vector<std::pair<std::string, std::vector<double>>> all;
  trainer.show_gradients([&](std::string_view name, std::span<const double> values) {
    all.emplace_back(name, std::vector<double>(values.begin(), values.end()));
  });
  return all;
}

/// The gradient of the mean loss, by the backend's own operator.
template <class T>
std::vector<typename T::Master> loss_gradient(std::span<const typename T::Master> logits,
                                              const std::vector<std::int32_t>& labels, int images) {
  std::array<double, static_cast<std::size_t>(StepControl::count)> control{};
  control[static_cast<std::size_t>(StepControl::images)] = images;
  control[static_cast<std::size_t>(StepControl::loss_scale)] = 1;
  std::array<double, 3> metrics{};
  std::vector<typename T::Master> gradient(logits.size());
  HostStream stream;
  const typename T::CrossEntropy loss({static_cast<int>(labels.size()), Whole::classes});
  loss.run(stream, logits.data(), labels.data(), control.data(), gradient.data(), metrics.data());
  return gradient;
}

/// Calls `f(spans)` with a span of each.
template <class Trainer, class Number>
void backward(Trainer& trainer, std::initializer_list<std::span<const Number>> gradients) {
  const std::vector<std::span<const Number>> all(gradients);
  trainer.backward(all);
}

template <class T, class Lower, class Upper>
void joined_are_the_whole() {
  const auto parameters = random_parameters<Whole>(61);
  const RandomBatch batch("cut", 3, 33, 33, 3, Whole::classes);
  Classifier<Whole, T> classify(parameters);
  Classifier<Lower, T> lower(part_of<Lower>(parameters));
  Classifier<Upper, T> upper(part_of<Upper>(parameters));
  const auto logits = upper.forward(lower.forward(batch.images())[0])[0];
  CHECK(logits.extent == Extent{1, 1, Whole::classes});
  CHECK(std::ranges::equal(classify(batch.images()), logits.values));
}

template <class Lower, class Upper>
void trained_joined_are_the_whole(TrainerOptions options = {}) {
  const auto parameters = random_parameters<Whole>(62);
  const RandomBatch batch("cut", 4, 33, 33, 3, Whole::classes);
  Trainer<Whole, B> whole(parameters, options);
  Trainer<Lower, B> lower(part_of<Lower>(parameters), options);
  Trainer<Upper, B> upper(part_of<Upper>(parameters), options);
  whole.set_learning_rate(0.05);
  lower.set_learning_rate(0.05);
  upper.set_learning_rate(0.05);
  for (int step = 0; step < 3; ++step) {
    whole.step(batch.images(), batch.labels);
    const auto logits = upper.forward(lower.forward(batch.images())[0])[0];
    const auto gradient = loss_gradient<B>(logits.values, batch.labels, 4);
    backward(upper, {std::span<const double>(gradient)});
    backward(lower, {upper.input_gradient()});
    upper.update();
    lower.update();
  }
  CHECK(lower.input_gradient().empty());
  const auto end = whole.parameters();
  CHECK(agree<Lower>(lower.parameters(), end));
  CHECK(agree<Upper>(upper.parameters(), end));
  CHECK(upper.parameters().batches_tracked() == 3);
}

}  // namespace

TEST_CASE_TEMPLATE("a network cut after any stage and joined again gives the same logits", T, Reference<double>,
                   Reference<float>, Reference<bfloat16>) {
  joined_are_the_whole<T, Lower1, Upper1>();
  joined_are_the_whole<T, Lower2, Upper2>();
}

TEST_CASE("a network cut after any stage and joined again learns the same") {
  trained_joined_are_the_whole<Lower1, Upper1>();
  trained_joined_are_the_whole<Lower2, Upper2>();
  trained_joined_are_the_whole<Lower2, Upper2>({.recompute = true});
}

TEST_CASE("features of several stages are the maps that a network has there") {
  const auto parameters = random_parameters<Whole>(63);
  const RandomBatch batch("features", 2, 33, 33, 3, Whole::classes);
  Classifier<Whole, B> classify(parameters);
  std::vector<std::vector<double>> expected;
  classify.observe(batch.images(), [&](std::string_view name, Extent, std::span<const double> values) {
    if (name == "layer1.0.relu" || name == "layer2.1.relu" || name == "layer3.0.relu") {
      expected.emplace_back(values.begin(), values.end());
    }
  });
  Classifier<Pyramid, B> extract(part_of<Pyramid>(parameters));
  for (int turn = 0; turn < 2; ++turn) {
    const auto maps = extract.forward(batch.images());
    REQUIRE(maps.size() == 3);
    for (std::size_t i = 0; i < 3; ++i) {
      CHECK(maps[i].n == 2);
      CHECK(maps[i].extent.c == 32 << i);
      CHECK(std::ranges::equal(maps[i].values, expected[i]));
    }
  }
  // In parts again: the middle one from map to map.
  Classifier<Lower1, B> lower(part_of<Lower1>(parameters));
  Classifier<Middle, B> middle(part_of<Middle>(parameters));
  CHECK(std::ranges::equal(middle.forward(lower.forward(batch.images())[0])[0].values, expected[1]));
}

TEST_CASE("gradients of several outputs add up to those of each") {
  const auto parameters = part_of<Pyramid>(random_parameters<Whole>(64));
  const RandomBatch batch("pyramid", 2, 33, 33, 3, Whole::classes);
  const auto run = [&](std::array<double, 3> weights) {
    Trainer<Pyramid, B> trainer(parameters);
    const auto maps = trainer.forward(batch.images());
    std::vector<std::vector<double>> gradients;
    for (std::size_t i = 0; i < 3; ++i) {
      gradients.emplace_back(maps[i].values.begin(), maps[i].values.end());  // of half the sum of squares
      for (double& x : gradients.back()) x *= weights[i];
    }
    backward<decltype(trainer), double>(trainer, {gradients[0], gradients[1], gradients[2]});
    return gradients_of(trainer);
  };
  const auto all = run({1, 0.5, 0.25}), first = run({1, 0, 0}), second = run({0, 0.5, 0}), third = run({0, 0, 0.25});
  for (std::size_t i = 0; i < all.size(); ++i) {
    CAPTURE(all[i].first);
    double largest = 0, worst = 0;
    for (std::size_t k = 0; k < all[i].second.size(); ++k) {
      const double sum = first[i].second[k] + second[i].second[k] + third[i].second[k];
      largest = std::max(largest, std::abs(sum));
      worst = std::max(worst, std::abs(sum - all[i].second[k]));
    }
    CHECK(worst <= 1e-11 * largest);
  }
}

TEST_CASE("the gradient of the maps that a part begins at is the slope of its output") {
  const RandomBatch batch("slope", 2, 6, 6, 32, 7);
  const auto parameters = part_of<Upper1>(random_parameters<Whole>(65));
  Trainer<Upper1, B> trainer(parameters, {.loss_scale = 8});
  std::vector<double> values(batch.values.begin(), batch.values.end());
  const std::vector<double> direction = [] {
    std::vector<double> all(2 * 7);
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = RandomStream(3, "direction").uniform(i) - 0.5;
    return all;
  }();
  const auto loss = [&] {
    const auto logits = trainer.forward(OutputMap<double>{2, {6, 6, 32}, values})[0].values;
    double sum = 0;
    for (std::size_t i = 0; i < logits.size(); ++i) sum += logits[i] * direction[i];
    return sum;
  };
  loss();
  backward(trainer, {std::span<const double>(direction)});
  const std::vector<double> gradient(trainer.input_gradient().begin(), trainer.input_gradient().end());
  REQUIRE(gradient.size() == values.size());
  for (std::size_t probe = 0; probe < 12; ++probe) {
    const std::size_t i = RandomStream(4, "probe").bits(probe) % values.size();
    const double step = 1e-6, before = values[i];
    values[i] = before + step;
    const double above = loss();
    values[i] = before - step;
    const double below = loss();
    values[i] = before;
    CHECK(gradient[i] == doctest::Approx((above - below) / (2 * step)).epsilon(1e-4));
  }
}

TEST_CASE(
    "a part that runs on several batches of regions adds up its gradients, as one batch in ghost batches has them") {
  const auto parameters = part_of<Upper2>(random_parameters<Whole>(66));
  const RandomBatch regions("regions", 7, 4, 4, 64, 7);
  Trainer<Upper2, B> parts(parameters), whole(parameters, {.ghost_batch = 3});
  const auto run = [&](auto& trainer, int first, int count) {
    const auto logits = trainer.forward(regions.slice(first, count))[0].values;
    const std::vector<std::int32_t> labels(regions.labels.begin() + first, regions.labels.begin() + first + count);
    const auto gradient = loss_gradient<B>(logits, labels, 7);
    backward(trainer, {std::span<const double>(gradient)});
  };
  parts.set_learning_rate(0.1);
  whole.set_learning_rate(0.1);
  for (int step = 0; step < 2; ++step) {
    run(parts, 0, 3);
    run(parts, 3, 3);
    run(parts, 6, 1);
    run(whole, 0, 7);
    const auto a = gradients_of(parts), b = gradients_of(whole);
    for (std::size_t i = 0; i < a.size(); ++i) {
      for (std::size_t k = 0; k < a[i].second.size(); ++k) {
        CAPTURE(a[i].first);
        REQUIRE(a[i].second[k] == doctest::Approx(b[i].second[k]).epsilon(1e-9));
      }
    }
    parts.update();
    whole.update();
  }
  const auto a = parts.parameters(), b = whole.parameters();
  for (std::size_t i = 0; i < a.values().size(); ++i)
    REQUIRE(a.values()[i] == doctest::Approx(b.values()[i]).epsilon(1e-5));
}

TEST_CASE("passes in the wrong order, and gradients of the wrong size, are refused") {
  const RandomBatch batch("order", 2, 33, 33, 3, 7);
  Trainer<Lower1, B> trainer(part_of<Lower1>(random_parameters<Whole>(67)));
  const std::vector<double> none;
  CHECK(message_of<Error>([&] { backward(trainer, {std::span<const double>(none)}); }) ==
        "trainer: backward() needs a forward() before it");
  CHECK(message_of<Error>([&] { trainer.update(); }).starts_with("trainer: a step needs a learning rate"));
  trainer.set_learning_rate(0.1);
  CHECK(message_of<Error>([&] { trainer.update(); }) == "trainer: update() needs a backward() before it");
  const auto size = trainer.forward(batch.images())[0].values.size();
  CHECK(message_of<Error>([&] { backward(trainer, {std::span<const double>(none)}); }) ==
        "trainer: gradient of output 0: expected " + std::to_string(size) + " numbers, found 0");
  CHECK(message_of<Error>([&] { trainer.backward({}); }) ==
        "trainer: expected a gradient for each of 1 outputs, found 0");
  const std::vector<double> gradient(size, 1);
  backward(trainer, {std::span<const double>(gradient)});
  CHECK(message_of<Error>([&] { backward(trainer, {std::span<const double>(gradient)}); }) ==
        "trainer: backward() needs a forward() before it");
  trainer.update();
  CHECK(message_of<Error>([&] { trainer.update(); }) == "trainer: update() needs a backward() before it");
}
