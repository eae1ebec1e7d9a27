// What a step changes: groups of tensors, the length of the gradient, the loss scale, ghost batches.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include <resnext/reference.hpp>
#include <resnext/resnext.hpp>

#include "files.hpp"
#include "networks.hpp"
#include "other_rank.hpp"

using namespace resnext;
using namespace resnext::test;

namespace {

using B = Reference<double>;
using Net = SmallCifar;

/// Parameters after some steps.
Parameters<Net> trained(const TrainerOptions& options, const RandomBatch& batch, int steps = 3, double rate = 0.05) {
  Trainer<Net, B> trainer(random_parameters<Net>(41), options);
  trainer.set_learning_rate(rate);
  for (int step = 0; step < steps; ++step) trainer.step(batch.images(), batch.labels);
  return trainer.parameters();
}

double norm(std::span<const float> values) {
  double sum = 0;
  for (const float x : values) sum += double{x} * x;
  return std::sqrt(sum);
}

}  // namespace

TEST_CASE("frozen tensors keep every bit, and running statistics of frozen batch norms too") {
  const RandomBatch batch("frozen", 4, 8, 8, 3, Net::classes);
  TrainerOptions options;
  options.group_of = [](const StateEntry& entry) {
    return ParameterGroup{.frozen = !entry.name().view().starts_with("fc.")};
  };
  const auto start = random_parameters<Net>(41), end = trained(options, batch);
  for (const auto& slot : start.tensors()) {
    CAPTURE(slot.entry.name().view());
    const bool kept = std::ranges::equal(start[slot], end[slot]);
    CHECK(kept == (slot.entry.prefix.view() != "fc" || slot.size == 0));
  }
}

TEST_CASE("what is frozen has no gradient, and all others the gradient that they had") {
  const RandomBatch batch("frozen", 4, 8, 8, 3, Net::classes);
  const auto start = random_parameters<Net>(43);
  Trainer<Net, B> whole(start);
  whole.compute_gradients(batch.images(), batch.labels);
  const auto expected = whole.gradients();
  const auto check = [&](auto is_frozen) {
    TrainerOptions options;
    options.group_of = [&](const StateEntry& entry) {
      return ParameterGroup{.frozen = is_frozen(entry.name().view(), entry.rank)};
    };
    for (const bool recompute : {false, true}) {
      options.recompute = recompute;
      Trainer<Net, B> trainer(start, options);
      trainer.set_learning_rate(0.1);
      for (const int micro : {0, 1}) {
        if (micro == 0) {
          trainer.compute_gradients(batch.images(), batch.labels);
        } else {  // after an update, so that memory is not fresh
          trainer.step(batch.images(), batch.labels);
          trainer.restore({start});
          trainer.compute_gradients(batch.images(), batch.labels);
        }
        const auto found = trainer.gradients();
        for (const auto& slot : found.tensors()) {
          if (!slot.entry.learned()) continue;
          CAPTURE(slot.entry.name().view());
          if (is_frozen(slot.entry.name().view(), slot.entry.rank)) {
            CHECK(std::ranges::all_of(found[slot], [](float x) { return x == 0; }));
          } else {
            CHECK(std::ranges::equal(found[slot], expected[slot]));
          }
        }
      }
    }
    return Trainer<Net, B>(start, options);
  };
  check([](std::string_view name, int) { return name == "conv1.weight"; });
  check([](std::string_view, int rank) { return rank == 4; });                   // all convolutions
  check([](std::string_view name, int) { return name.ends_with("bn2.bias"); });  // half of a batch norm is trained on
  check([](std::string_view name, int) { return name == "fc.weight"; });
  check([](std::string_view name, int) { return name.starts_with("fc."); });
  check([](std::string_view name, int) { return name.starts_with("layer2.0.conv"); });
}

TEST_CASE("frozen batch norms normalise by their running statistics, and pass the slope on") {
  using Deep = Network<Template<CifarStem<6>, Bottleneck<2, 3>, Planes<4>, Stage<2>, Stage<1>, Features<2>>>;
  const RandomBatch batch("norms", 2, 8, 8, 3, 2);
  const auto start = random_parameters<Deep>(44);
  TrainerOptions options;
  options.loss_scale = 4;
  options.group_of = [](const StateEntry& entry) { return ParameterGroup{.frozen = entry.rank == 1}; };
  Trainer<Deep, B> trainer(start, options);
  Classifier<Deep, B> classify(start);
  const auto found = trainer.forward(batch.images())[0].values;
  const auto expected = classify.forward(batch.images())[0].values;
  double largest = 0;
  for (const double x : expected) largest = std::max(largest, std::abs(x));
  for (std::size_t i = 0; i < found.size(); ++i) CHECK(std::abs(found[i] - expected[i]) < 1e-6 * largest);

  std::vector<double> direction(found.size());
  for (std::size_t i = 0; i < direction.size(); ++i) direction[i] = RandomStream(5, "direction").uniform(i) - 0.5;
  const std::vector<std::span<const double>> gradients = {direction};
  trainer.backward(gradients);
  const auto slopes = trainer.gradients();
  const auto loss = [&](const Parameters<Deep>& parameters) {
    Trainer<Deep, B> other(parameters, options);
    const auto values = other.forward(batch.images())[0].values;
    double sum = 0;
    for (std::size_t i = 0; i < values.size(); ++i) sum += values[i] * direction[i];
    return sum;
  };
  for (const char* name :
       {"conv1.weight", "layer1.0.conv2.weight", "layer1.1.conv1.weight", "layer2.0.downsample.0.weight"}) {
    CAPTURE(name);
    for (const std::size_t i : {std::size_t{1}, std::size_t{5}}) {
      auto above = start, below = start;
      above[name][i] += 0x1p-15f;
      below[name][i] -= 0x1p-15f;
      CHECK(slopes[name][i] / 4 == doctest::Approx((loss(above) - loss(below)) / 0x1p-14).epsilon(2e-3));
    }
  }
  trainer.set_learning_rate(0.1);
  trainer.update();
  const auto end = trainer.parameters();
  for (const auto& slot : start.tensors()) {
    if (slot.size > 0) CHECK(std::ranges::equal(start[slot], end[slot]) == (slot.entry.rank == 1));
  }
}

TEST_CASE("a frozen backbone takes no memory for gradients") {
  using Deep = Network<Template<CifarStem<8>, Bottleneck<2, 4>, Planes<8>, Stage<4>, Stage<4>, Classes<5>>>;
  const RandomBatch batch("backbone", 4, 16, 16, 3, 5);
  const auto bytes = [&](std::string_view trained) {
    TrainerOptions options;
    options.group_of = [=](const StateEntry& entry) {
      return ParameterGroup{.frozen = !entry.name().view().starts_with(trained)};
    };
    Trainer<Deep, B> trainer(random_parameters<Deep>(45), options);
    trainer.set_learning_rate(0.1);
    trainer.step(batch.images(), batch.labels);
    const auto& events = trainer.plan(batch.images()).events();
    const auto backward = std::count_if(events.begin(), events.end(),
                                        [](const TrainingEvent& e) { return e.pass == TrainingPass::backward; });
    if (trained == "fc") CHECK(backward == 1);
    return trainer.activation_bytes();
  };
  const std::size_t all = bytes(""), upper = bytes("layer2"), head = bytes("fc");
  CHECK(upper < all * 2 / 3);
  CHECK(head < all / 4);
}

TEST_CASE("a group has a rate and a decay of its own") {
  const RandomBatch batch("groups", 4, 8, 8, 3, Net::classes);
  const auto start = random_parameters<Net>(41);
  TrainerOptions options;
  options.sgd = {.momentum = 0, .weight_decay = 0.25};
  options.group_of = [](const StateEntry& entry) {
    const bool last = entry.name().view() == "fc.weight";
    return ParameterGroup{.rate = last ? 0.5 : 1, .decay = last ? 2.0 : 0};
  };
  Trainer<Net, B> trainer(start, options);
  trainer.set_learning_rate(0.125);
  trainer.step(batch.images(), batch.labels);
  const auto gradients = trainer.gradients(), end = trainer.parameters();
  for (const auto& slot : start.tensors()) {
    if (!slot.entry.learned()) continue;
    CAPTURE(slot.entry.name().view());
    const bool last = slot.entry.name().view() == "fc.weight";
    for (std::size_t i = 0; i < slot.size; ++i) {
      const double w = start[slot][i], g = gradients[slot][i] + (last ? 0.5 * w : 0);
      REQUIRE(end[slot][i] == doctest::Approx(w - (last ? 0.0625 : 0.125) * g).epsilon(1e-5));
    }
  }
  // One group for all is none at all.
  TrainerOptions plain, same;
  same.group_of = [](const StateEntry&) { return ParameterGroup(); };
  CHECK(std::ranges::equal(trained(plain, batch).values(), trained(same, batch).values()));
}

TEST_CASE("a gradient that is too long is shortened, that of frozen tensors not counted") {
  const RandomBatch batch("clip", 4, 8, 8, 3, Net::classes);
  const auto start = random_parameters<Net>(41);
  for (const bool frozen : {false, true}) {
    TrainerOptions options;
    options.sgd = {.momentum = 0, .weight_decay = 0};
    options.loss_scale = 8;
    if (frozen) {
      options.group_of = [](const StateEntry& entry) { return ParameterGroup{.frozen = entry.prefix.view() == "fc"}; };
    }
    const auto change = [&](double clip) {
      options.clip_norm = clip;
      Trainer<Net, B> trainer(start, options);
      trainer.set_learning_rate(1);
      trainer.step(batch.images(), batch.labels);
      auto moved = trainer.parameters();
      for (const auto& slot : moved.tensors()) {
        for (std::size_t i = 0; i < slot.size; ++i) {
          moved[slot][i] = slot.entry.learned() ? moved[slot][i] - start[slot][i] : 0;
        }
      }
      return norm(std::as_const(moved).values());
    };
    const double whole = change(0);
    CHECK(change(2 * whole) == doctest::Approx(whole).epsilon(1e-5));
    CHECK(change(0.5 * whole) == doctest::Approx(0.5 * whole).epsilon(1e-5));
    CHECK(change(0.01) == doctest::Approx(0.01).epsilon(1e-4));
  }
}

TEST_CASE("gradients that overflow are skipped at half the scale each, and stop a trainer at a scale of 1") {
  const RandomBatch batch("overflow", 4, 8, 8, 3, Net::classes);
  for (const double bad : {std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()}) {
    OtherRank other;
    TrainerOptions options;
    options.loss_scale = 4;
    options.scale_growth = 2;
    Trainer<Net, B, OtherRank> trainer(random_parameters<Net>(41), options, other);
    trainer.set_learning_rate(0.05);
    const auto step = [&](double extra) {
      *other.extra = extra;
      trainer.step(batch.images(), batch.labels);
    };
    const auto state = [&] {
      const auto parameters = trainer.parameters(), velocities = trainer.velocities();
      std::vector<float> all(parameters.values().begin(), parameters.values().end());
      all.insert(all.end(), velocities.values().begin(), velocities.values().end());
      return all;
    };
    const auto start = state();
    step(bad);
    CHECK(state() == start);
    CHECK(trainer.loss_scale() == 2);
    CHECK(trainer.skipped_steps() == 1);
    const auto metrics = trainer.read_metrics();
    CHECK(is_finite(metrics.loss));
    CHECK(metrics.images == 4);
    step(0);
    CHECK(state() != start);
    CHECK(trainer.loss_scale() == 2);
    step(0);
    CHECK(trainer.loss_scale() == 4);  // after two good ones
    step(bad);
    step(bad);
    CHECK(trainer.loss_scale() == 1);
    CHECK(trainer.skipped_steps() == 3);
    const auto before = state();
    CHECK(trainer.read_metrics().images == 16);
    step(bad);
    step(0);
    CHECK(state() == before);
    CHECK(!is_finite(trainer.read_metrics().loss));
    step(0);
    CHECK(state() != before);
  }
}

TEST_CASE("the moving average follows weights and running statistics, and no step that is skipped") {
  const RandomBatch batch("average", 4, 8, 8, 3, Net::classes);
  OtherRank other;
  TrainerOptions options;
  options.ema_decay = 0.75;
  options.loss_scale = 4;
  options.group_of = [](const StateEntry& entry) {
    return ParameterGroup{.frozen = entry.name().view().starts_with("layer1.0.")};  // a batch norm among them
  };
  const auto start = random_parameters<Net>(41);
  Trainer<Net, B, OtherRank> trainer(start, options, other);
  trainer.set_learning_rate(0.5);
  CHECK(std::ranges::equal(trainer.ema().values(), start.values()));
  std::vector<double> expected(start.values().begin(), start.values().end());
  for (const double extra : {0.0, 1.0, std::numeric_limits<double>::infinity(), 0.0}) {
    *other.extra = extra;
    trainer.step(batch.images(), batch.labels);
    const auto now = trainer.parameters();
    if (is_finite(extra)) {
      for (std::size_t i = 0; i < expected.size(); ++i) expected[i] = 0.75 * expected[i] + 0.25 * now.values()[i];
    }
    const auto found = trainer.ema();
    for (const auto& slot : found.tensors()) {
      CAPTURE(slot.entry.name().view());
      for (std::size_t i = 0; i < slot.size; ++i) {
        REQUIRE(found[slot][i] == doctest::Approx(expected[slot.offset + i]).epsilon(1e-6));
      }
      if (slot.entry.name().view().starts_with("layer1.0.")) CHECK(std::ranges::equal(found[slot], start[slot]));
    }
    CHECK(found.batches_tracked() == now.batches_tracked());
  }
  CHECK(trainer.skipped_steps() == 1);
  CHECK(!std::ranges::equal(trainer.ema().values(), trainer.parameters().values()));
}

TEST_CASE("a state goes on with equal bits, its average, loss scale and counts too") {
  const RandomBatch batch("state", 4, 8, 8, 3, Net::classes);
  using Half = Reference<float16>;
  TrainerOptions options;
  options.ema_decay = 0.875;
  options.loss_scale = 0x1p20;  // some of the first steps overflow
  options.scale_growth = 3;
  Trainer<Net, Half> whole(initialized<Net>(42), options), begun(initialized<Net>(42), options);
  const auto steps = [&](auto& trainer, int count) {
    trainer.set_learning_rate(0.05);
    for (int step = 0; step < count; ++step) trainer.step(batch.images(), batch.labels);
  };
  const int first = 9, rest = 8;
  steps(whole, first + rest);
  steps(begun, first);
  options.loss_scale = 1;  // the state's counts
  Trainer<Net, Half> resumed(Parameters<Net>(), options);
  steps(resumed, 1);
  resumed.restore(begun.state());
  steps(resumed, rest);
  const TrainerState a = whole.state(), b = resumed.state();
  CHECK(std::ranges::equal(a.parameters.values(), b.parameters.values()));
  CHECK(a.parameters.batches_tracked() == b.parameters.batches_tracked());
  REQUIRE(a.optimizer.size() == 2);
  REQUIRE(b.optimizer.size() == 2);
  for (std::size_t i = 0; i < 2; ++i) {
    CHECK(a.optimizer[i].name == b.optimizer[i].name);
    CHECK(std::ranges::equal(a.optimizer[i].tensors.values(), b.optimizer[i].tensors.values()));
  }
  REQUIRE(a.counters);
  REQUIRE(b.counters);
  CHECK(a.counters->loss_scale == b.counters->loss_scale);
  CHECK(a.counters->good_steps == b.counters->good_steps);
  CHECK(a.counters->steps == first + rest);
  CHECK(b.counters->steps == first + rest);
  CHECK(a.counters->skipped == b.counters->skipped);
  CHECK(a.counters->skipped > 0);
}

TEST_CASE("states of other optimisers: what is missing begins anew, what is unknown is refused and changes nothing") {
  const RandomBatch batch("states", 4, 8, 8, 3, Net::classes);
  TrainerOptions with, without;
  with.ema_decay = 0.5;
  Trainer<Net, B> averaged(random_parameters<Net>(41), with), plain(random_parameters<Net>(43), without);
  for (auto* trainer : {&averaged, &plain}) {
    trainer->set_learning_rate(0.05);
    trainer->step(batch.images(), batch.labels);
  }
  const auto refused = [&](TrainerState state, const std::string& expected) {
    const auto before = plain.parameters();
    CHECK(testing::message_of<OptionError>([&] { plain.restore(state); }).find(expected) != std::string::npos);
    CHECK(std::ranges::equal(before.values(), plain.parameters().values()));
  };
  refused(averaged.state(), "found ema: it was trained with an ema_decay, these options have none");
  refused({averaged.parameters(), {{"second_moment", averaged.parameters()}}}, "found second_moment");
  refused({averaged.parameters(), {}, StepCounters{.loss_scale = 0.5}}, "a finite loss scale from 1, found 0.5");

  averaged.restore(plain.state());
  CHECK(std::ranges::equal(averaged.ema().values(), plain.parameters().values()));
  plain.restore({plain.parameters()});
  for (const auto& slot : plain.velocities().tensors()) {
    const auto velocities = plain.velocities();
    if (slot.entry.learned()) CHECK(std::ranges::all_of(velocities[slot], [](float v) { return v == 0; }));
  }
}

TEST_CASE("a rank whose loss is bad and one that only hears of it have the same loss scale and step") {
  const RandomBatch batch("scales", 4, 8, 8, 3, Net::classes);
  TrainerOptions options;
  options.loss_scale = 8;
  auto broken = random_parameters<Net>(41);
  broken["fc.bias"][0] = std::numeric_limits<float>::quiet_NaN();
  OtherRank other;
  Trainer<Net, B, OtherRank> bad(broken, options), hears(random_parameters<Net>(41), options, other);
  *other.extra = std::numeric_limits<double>::quiet_NaN();
  for (const double scale : {4, 2, 1, 1}) {
    for (auto* trainer : {&bad, &hears}) {
      trainer->set_learning_rate(0.05);
      trainer->step(batch.images(), batch.labels);
      CHECK(trainer->loss_scale() == scale);
    }
    CHECK(bad.skipped_steps() == hears.skipped_steps());
    CHECK(bad.parameters().batches_tracked() == 0);
    CHECK(hears.parameters().batches_tracked() == 0);
  }
  CHECK(!is_finite(bad.read_metrics().loss));
  CHECK(!is_finite(hears.read_metrics().loss));
}

TEST_CASE("a network that is frozen whole steps, and stays") {
  const RandomBatch batch("whole", 4, 8, 8, 3, Net::classes);
  TrainerOptions options;
  options.group_of = [](const StateEntry&) { return ParameterGroup{.frozen = true}; };
  const auto start = random_parameters<Net>(41), end = trained(options, batch);
  CHECK(std::ranges::equal(start.values(), end.values()));
  CHECK(end.batches_tracked() == 3);
}

TEST_CASE("float16 trains from any loss scale, for it finds one that fits") {
  const RandomBatch batch("scale", 4, 8, 8, 3, Net::classes);
  TrainerOptions options;
  options.loss_scale = 0x1p22;  // its logits' gradients are no float16
  Trainer<Net, Reference<float16>> trainer(initialized<Net>(42), options);
  trainer.set_learning_rate(0.05);
  trainer.step(batch.images(), batch.labels);
  const double before = trainer.read_metrics().mean_loss();
  for (int step = 0; step < 40; ++step) trainer.step(batch.images(), batch.labels);
  trainer.read_metrics();
  trainer.step(batch.images(), batch.labels);
  CHECK(trainer.skipped_steps() > 0);
  CHECK(trainer.skipped_steps() < 20);
  CHECK(trainer.loss_scale() < 0x1p22);
  CHECK(trainer.read_metrics().mean_loss() < 0.5 * before);
}

TEST_CASE("running statistics take their share of a batch") {
  const RandomBatch batch("share", 4, 8, 8, 3, Net::classes);
  const auto start = random_parameters<Net>(41);
  const auto after = [&](double momentum) {
    TrainerOptions options;
    options.norm_momentum = momentum;
    return trained(options, batch, 1, 0);
  };
  const auto all = after(1), some = after(0.25);
  for (const auto& slot : start.tensors()) {
    if (slot.entry.learned() || slot.size == 0) continue;
    CAPTURE(slot.entry.name().view());
    for (std::size_t i = 0; i < slot.size; ++i) {
      CHECK(some[slot][i] == doctest::Approx(0.75 * start[slot][i] + 0.25 * all[slot][i]).epsilon(1e-5));
    }
  }
}

TEST_CASE("the last ghost batch may be short, and a batch shorter than one is one") {
  const RandomBatch batch("ghosts", 5, 8, 8, 3, Net::classes);
  TrainerOptions ghosts;
  ghosts.ghost_batch = 8;
  CHECK(std::ranges::equal(trained(ghosts, batch).values(), trained({}, batch).values()));
  ghosts.ghost_batch = 2;
  const auto found = trained(ghosts, batch, 1);
  CHECK(!std::ranges::equal(found.values(), trained({}, batch, 1).values()));
}
