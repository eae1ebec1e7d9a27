// Less memory for the same step: batches in parts, and values that are computed again.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <resnext/reference.hpp>
#include <resnext/resnext.hpp>

#include "networks.hpp"

using namespace resnext;
using namespace resnext::test;

namespace {

using B = Reference<double>;

/// Everything that a few steps leave behind.
template <class T, class Net>
std::vector<double> after_steps(const TrainerOptions& options, const RandomBatch& batch, int steps = 3) {
  Trainer<Net, T> trainer(random_parameters<Net>(51), options);
  trainer.set_learning_rate(0.05);
  for (int step = 0; step < steps; ++step) trainer.step(batch.images(), batch.labels);
  std::vector<double> all;
  const auto append = [&](std::string_view, std::span<const double> values) {
    all.insert(all.end(), values.begin(), values.end());
  };
  trainer.show_weights(append);
  trainer.show_gradients(append);
  const auto parameters = trainer.parameters();
  for (const auto& slot : parameters.tensors()) {
    if (!slot.entry.learned()) all.insert(all.end(), parameters[slot].begin(), parameters[slot].end());
  }
  const auto metrics = trainer.read_metrics();
  all.insert(all.end(), {metrics.loss, metrics.correct, metrics.images});
  return all;
}

double difference(const std::vector<double>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(a[i] - b[i]) / (1 + std::abs(a[i])));
  return worst;
}

}  // namespace

TEST_CASE("a batch in parts is a batch in ghost batches, in less memory") {
  using Net = SmallImageNet;
  for (const int images : {6, 7, 8}) {  // the last part has 3, 1 and 2
    const RandomBatch batch("parts", images, 33, 33, 3, Net::classes);
    CAPTURE(images);
    TrainerOptions ghosts, parts;
    ghosts.ghost_batch = parts.micro_batch = 3;
    CHECK(difference(after_steps<B, Net>(ghosts, batch), after_steps<B, Net>(parts, batch)) <
          1e-7);  // statistics: floats
    Trainer<Net, B> whole(random_parameters<Net>(51), ghosts), cut(random_parameters<Net>(51), parts);
    for (auto* trainer : {&whole, &cut}) {
      trainer->set_learning_rate(0.05);
      trainer->step(batch.images(), batch.labels);
    }
    CHECK(cut.activation_bytes() < whole.activation_bytes() * 2 / 3);
  }
}

TEST_CASE("parts add up as ranks do, bit for bit") {
  using Net = SmallCifar;
  constexpr int each = 3;
  const RandomBatch batch("ranks", 2 * each, 9, 9, 3, Net::classes);
  const auto gradients = [&](int first, int count, int micro) {
    Trainer<Net, B> trainer(random_parameters<Net>(52), {.micro_batch = micro});
    trainer.compute_gradients(
        batch.slice(first, count),
        std::span(batch.labels).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count)));
    std::vector<double> all;
    trainer.show_gradients(
        [&](std::string_view, std::span<const double> values) { all.insert(all.end(), values.begin(), values.end()); });
    return all;
  };
  const auto a = gradients(0, each, 0), b = gradients(each, each, 0), both = gradients(0, 2 * each, each);
  for (std::size_t i = 0; i < both.size(); ++i) REQUIRE(both[i] == (a[i] + b[i]) / 2);  // of means, and 2 is exact
}

TEST_CASE_TEMPLATE("what is computed again has the same bits, in less memory", T, Reference<double>, Reference<float>,
                   Reference<bfloat16>) {
  const auto check = []<class Net>(const RandomBatch& batch, int micro) {
    TrainerOptions options, again;
    options.micro_batch = again.micro_batch = micro;
    again.recompute = true;
    CHECK(after_steps<T, Net>(options, batch) == after_steps<T, Net>(again, batch));
  };
  const RandomBatch large("large", 4, 33, 33, 3, SmallImageNet::classes),
      small("small", 5, 8, 8, 3, SmallCifar::classes);
  check.template operator()<SmallImageNet>(large, 0);
  check.template operator()<SmallCifar>(small, 0);
  check.template operator()<SmallCifar>(small, 2);
}

TEST_CASE("deeper networks keep less when they compute again") {
  using Net = Network<Template<CifarStem<8>, Bottleneck<2, 4>, Planes<8>, Stage<6>, Stage<6>, Classes<5>>>;
  const RandomBatch batch("deep", 4, 16, 16, 3, Net::classes);
  const auto bytes = [&](bool recompute) {
    Trainer<Net, B> trainer(random_parameters<Net>(53), {.recompute = recompute});
    trainer.compute_gradients(batch.images(), batch.labels);
    return trainer.activation_bytes();
  };
  CHECK(bytes(true) < bytes(false) / 2);
}

TEST_CASE("a profile shows what is computed again, and an observer sees each part once") {
  using Net = SmallCifar;
  const RandomBatch batch("seen", 4, 8, 8, 3, Net::classes);
  Trainer<Net, B> trainer(random_parameters<Net>(54), {.micro_batch = 2, .recompute = true});
  trainer.set_learning_rate(0.1);
  std::map<std::string, int> seen;
  const Observer observer = [&](std::string_view name, Extent, std::span<const double>) { ++seen[std::string(name)]; };
  Profile profile;
  trainer.step(batch.images(), batch.labels, &observer, &profile);
  CHECK(seen.size() == trainer.plan(batch.slice(0, 2)).units().size());
  CHECK(std::all_of(seen.begin(), seen.end(), [](const auto& entry) { return entry.second == 2; }));
  CHECK(std::any_of(profile.rows().begin(), profile.rows().end(),
                    [](const Profile::Row& row) { return row.work.starts_with("recompute "); }));
}

TEST_CASE("a batch whose last part is impossible changes nothing") {
  using Net = SmallImageNet;
  const RandomBatch batch("impossible", 5, 8, 8, 3, Net::classes);  // of one image the last maps have one value
  const auto start = random_parameters<Net>(55);
  Trainer<Net, B> trainer(start, {.micro_batch = 2});
  trainer.set_learning_rate(0.1);
  CHECK_THROWS_WITH_AS(trainer.step(batch.slice(0, 5), batch.labels),
                       doctest::Contains("expected more than 1 value per channel when training"), ShapeError);
  CHECK(std::ranges::equal(trainer.parameters().values(), start.values()));
  CHECK(trainer.parameters().batches_tracked() == 0);
  CHECK(trainer.read_metrics().images == 0);
  trainer.step(batch.slice(0, 4), std::span(batch.labels).first(4));
  CHECK(trainer.read_metrics().images == 4);
}
