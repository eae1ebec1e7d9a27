#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include <resnext/reference.hpp>
#include <resnext/resnext.hpp>

#include "nn/networks.hpp"

using namespace resnext;
using namespace resnext::test;

namespace {

using Net = SmallImageNet;
using B = Reference<float>;
using Names = std::vector<std::string>;

const float* address(const StateDict& state) { return state.values().data(); }

bool same(std::span<const float> a, std::span<const float> b) { return std::ranges::equal(a, b); }

std::vector<float> logits_of(Classifier<Net, B>& classify, int size = 32) {
  const RandomBatch batch("parameters", 2, size, size, Net::inputs, Net::classes);
  const auto logits = classify(batch.images());
  return {logits.begin(), logits.end()};
}

}  // namespace

TEST_CASE("a copy shares the tensors until one of the two is written to") {
  Parameters<Net> one = random_parameters<Net>(1);
  const float before = std::as_const(one)["fc.bias"][0];
  Parameters<Net> other = one;
  CHECK(address(one) == address(other));
  CHECK(one.tensors().data() == other.tensors().data());

  other["fc.bias"][0] = before + 1;
  CHECK(address(one) != address(other));
  CHECK(std::as_const(one)["fc.bias"][0] == before);
  CHECK(std::as_const(other)["fc.bias"][0] == before + 1);
  CHECK(same(std::as_const(one)["conv1.weight"], std::as_const(other)["conv1.weight"]));

  const float* mine = address(one);
  one["fc.bias"][0] = 3;  // nobody shares it any longer
  CHECK(address(one) == mine);
  other = one;
  CHECK(address(other) == mine);
  other.set_batches_tracked(7);  // no tensor
  CHECK(address(other) == mine);
  CHECK(one.batches_tracked() == 0);

  const Parameters<Net> moved = std::move(one);
  CHECK(address(moved) == mine);
}

TEST_CASE("a classifier keeps what it was made from") {
  const auto expected = [] {
    const auto parameters = random_parameters<Net>(2);
    Classifier<Net, B> classify(parameters);
    return std::vector{logits_of(classify), logits_of(classify, 40)};
  }();
  SUBCASE("a temporary") {
    Classifier<Net, B> classify(random_parameters<Net>(2));
    CHECK(logits_of(classify) == expected[0]);
    CHECK(logits_of(classify, 40) == expected[1]);
  }
  SUBCASE("a variable that is gone") {
    auto parameters = std::make_unique<Parameters<Net>>(random_parameters<Net>(2));
    Classifier<Net, B> classify(*parameters);
    parameters.reset();
    CHECK(logits_of(classify) == expected[0]);
  }
  SUBCASE("a variable that is written to") {
    auto parameters = random_parameters<Net>(2);
    const float* before = address(parameters);
    Classifier<Net, B> classify(parameters);
    CHECK(address(parameters) == before);  // shared, not copied
    CHECK(logits_of(classify) == expected[0]);
    for (float& value : parameters.values()) value = 0;
    CHECK(logits_of(classify, 40) == expected[1]);  // another plan, from the same parameters
  }
}

TEST_CASE("what a trainer gives out stays as it is") {
  const auto start = random_parameters<Net>(3);
  Trainer<Net, B> trainer(start);
  trainer.set_learning_rate(0.1);
  const RandomBatch batch("trainer", 4, 32, 32, Net::inputs, Net::classes);
  const Parameters<Net> before = trainer.parameters();
  CHECK(same(before.values(), start.values()));
  trainer.step(batch.images(), batch.labels);
  const Parameters<Net> after = trainer.parameters();
  CHECK(same(before.values(), start.values()));
  CHECK_FALSE(same(after.values(), start.values()));
}

TEST_CASE("transfer takes what agrees and initialises the rest") {
  const auto from = random_parameters<Net>(4);
  SUBCASE("another number of classes") {
    using To = WithClasses<Net, 3>;
    const auto [to, fresh, unused] = transfer<To>(from, 9);
    const auto initial = initialized<To>(9);
    CHECK(fresh == Names{"fc.weight", "fc.bias"});
    CHECK(unused == Names{"fc.weight", "fc.bias"});
    for (const auto& slot : to.tensors()) {
      const LayerName name = slot.entry.name();
      CAPTURE(std::string(name));
      const bool head = slot.entry.prefix.view() == "fc";
      CHECK(same(to[slot], head ? initial[slot] : from[name.view()]));
    }
  }
  SUBCASE("another depth and width") {
    using Longer =
        Network<Template<ImageNetStem<8>, Bottleneck<4, 4>, Planes<8>, Stage<1>, Stage<1>, Stage<1>, Classes<7>>>;
    const auto [to, fresh, unused] = transfer<Longer>(from, 9);
    const auto initial = initialized<Longer>(9);
    for (const auto& slot : to.tensors()) {
      const LayerName name = slot.entry.name();
      CAPTURE(std::string(name));
      const StateDict::Slot* other = from.find(name);
      const bool taken = slot.size > 0 && other != nullptr && other->entry.shape == slot.entry.shape;
      CHECK(same(to[slot], taken ? from[*other] : initial[slot]));
      CHECK((std::ranges::find(fresh, name.view()) == fresh.end()) == (taken || slot.size == 0));
    }
    CHECK(same(to["layer1.0.bn3.running_var"], from["layer1.0.bn3.running_var"]));
    CHECK(std::ranges::find(unused, "layer2.1.conv1.weight") != unused.end());
    CHECK(std::ranges::find(fresh, "layer3.0.conv1.weight") != fresh.end());
  }
  SUBCASE("the same network") {
    auto trained = from;
    trained.set_batches_tracked(12);
    const auto [to, fresh, unused] = transfer<Net>(trained, 9);
    CHECK(same(to.values(), from.values()));
    CHECK(to.batches_tracked() == 12);
    CHECK(fresh.empty());
    CHECK(unused.empty());
  }
}
