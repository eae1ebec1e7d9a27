#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <condition_variable>
#include <future>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <type_traits>
#include <vector>

#include <resnext/reference.hpp>
#include <resnext/resnext.hpp>

#include "nn/networks.hpp"
#include "nn/other_rank.hpp"

using namespace resnext;
using namespace resnext::test;

namespace {

using B = Reference<double>;

template <class Map>
double distance(const Map& a, const Map& b) {
  double difference = 0, norm = 0;
  for (const auto& [name, values] : a) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double delta = values[i] - b.at(name)[i];
      difference += delta * delta;
      norm += values[i] * values[i];
    }
  }
  return std::sqrt(difference / norm);
}

using Tensors = std::map<std::string, std::vector<double>>;

template <class T>
Tensors gradients_of(T& trainer) {
  Tensors all;
  trainer.show_gradients([&](std::string_view name, std::span<const double> values) {
    all[std::string(name)].assign(values.begin(), values.end());
  });
  return all;
}
template <class T>
Tensors weights_of(T& trainer) {
  Tensors all;
  trainer.show_weights([&](std::string_view name, std::span<const double> values) {
    all[std::string(name)].assign(values.begin(), values.end());
  });
  return all;
}

}  // namespace

TEST_CASE_TEMPLATE("logits of a batch are the logits of its images", Net, SmallImageNet, SmallCifar, SmallBasic) {
  const auto parameters = random_parameters<Net>(1);
  Classifier<Net, B> classify(parameters);
  const RandomBatch batch("batch", 3, 21, 18, Net::inputs, Net::classes);
  const auto logits = classify(batch.images());
  const std::vector<double> together(logits.begin(), logits.end());
  REQUIRE(together.size() == static_cast<std::size_t>(3 * Net::classes));
  for (int i = 0; i < 3; ++i) {
    const auto alone = classify(batch.slice(i, 1));
    for (std::size_t k = 0; k < alone.size(); ++k) {
      CHECK(alone[k] == doctest::Approx(together[static_cast<std::size_t>(i * Net::classes) + k]).epsilon(1e-12));
    }
  }
}

TEST_CASE("a fused, planned network equals the rows of its table run one by one in train mode's place") {
  // Train-mode BN with the batch's own statistics put into the running ones must give the same logits in eval mode.
  using Net = SmallCifar;
  const auto parameters = random_parameters<Net>(2);
  Trainer<Net, B> trainer(parameters, {.norm_momentum = 1});
  trainer.set_learning_rate(0);
  const RandomBatch batch("batch", 4, 9, 9, 3, Net::classes);
  std::map<std::string, std::vector<double>> trained;
  const Observer observer = [&](std::string_view name, Extent, std::span<const double> values) {
    trained[std::string(name)].assign(values.begin(), values.end());
  };
  trainer.step(batch.images(), batch.labels, &observer);

  // Running statistics are the batch's by now, with the unbiased variance.
  Parameters<Net> after = trainer.parameters();
  const auto extents = Net::extents(9, 9);
  for (const StateDict::Slot& slot : after.tensors()) {
    if (slot.entry.role != TensorRole::running_var) continue;
    const Extent extent = extents[static_cast<std::size_t>(slot.entry.layer) + 1];
    const double count = 4.0 * extent.h * extent.w;
    for (float& variance : after[slot]) variance = static_cast<float>(variance * (count - 1) / count);
  }
  Classifier<Net, B> classify(after);
  const auto logits = classify(batch.images());
  for (std::size_t k = 0; k < logits.size(); ++k) CHECK(logits[k] == doctest::Approx(trained["fc"][k]).epsilon(2e-5));
}

TEST_CASE("gradients of a whole network are the slopes of its loss") {
  using Net = SmallBasic;
  TrainerOptions options;
  options.label_smoothing = 0.1;
  const RandomBatch batch("slopes", 4, 6, 6, 1, Net::classes);
  const auto parameters = random_parameters<Net>(3);
  const auto loss = [&](const Parameters<Net>& at) {
    Trainer<Net, B> trainer(at, options);
    trainer.compute_gradients(batch.images(), batch.labels);
    return trainer.read_metrics().mean_loss();
  };
  Trainer<Net, B> trainer(parameters, options);
  trainer.compute_gradients(batch.images(), batch.labels);
  const Tensors gradients = gradients_of(trainer);
  for (const char* name : {"conv1.weight", "bn1.weight", "layer1.0.conv2.weight", "layer2.0.downsample.0.weight",
                           "layer2.0.bn2.bias", "fc.weight", "fc.bias"}) {
    for (const std::size_t i : {std::size_t{0}, gradients.at(name).size() / 2, gradients.at(name).size() - 1}) {
      Parameters<Net> up = parameters, down = parameters;
      const float step = 1.0f / 65536;  // small enough to cross no kink of a ReLU
      up[name][i] += step;
      down[name][i] -= step;
      const double slope = (loss(up) - loss(down)) / (double{up[name][i]} - double{down[name][i]});
      CAPTURE(name);
      CHECK(gradients.at(name)[i] == doctest::Approx(slope).epsilon(1e-4).scale(0.01));
    }
  }
}

TEST_CASE("a step is SGD on those gradients") {
  using Net = SmallCifar;
  TrainerOptions options;
  options.sgd = {0.9, 0.01, true};
  options.decay = Decay::weights_only;
  const auto parameters = random_parameters<Net>(4);
  const RandomBatch batch("step", 4, 8, 8, 3, Net::classes);
  Trainer<Net, B> trainer(parameters, options);
  trainer.set_learning_rate(0.1);
  const Tensors before = weights_of(trainer);
  trainer.step(batch.images(), batch.labels);
  const Tensors gradients = gradients_of(trainer), after = weights_of(trainer);
  for (const auto& weight : after) {
    const auto& name = weight.first;
    const auto& values = weight.second;
    const bool decayed =
        name.find("conv") != std::string::npos || name == "fc.weight" || name.ends_with("downsample.0.weight");
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double g = gradients.at(name)[i] + (decayed ? 0.01 * before.at(name)[i] : 0.0);
      CAPTURE(name);
      REQUIRE(values[i] == doctest::Approx(before.at(name)[i] - 0.1 * (g + 0.9 * g)).epsilon(1e-12));
    }
  }
}

namespace {

/// Two or more ranks in one process whose sums arrive late: all_reduce only starts a transfer on a thread of its own,
/// so whoever reads a gradient without joining the stream sees poison.
struct LateRing {
  struct Meeting {
    std::mutex mutex;
    std::condition_variable changed;
    std::map<int, std::vector<std::vector<double>>> arrived;  // of each collective
    int calls = 0;
  };
  std::shared_ptr<Meeting> meeting;
  int self = 0, ranks = 1;
  int sequence = 0;

  int rank() const { return self; }
  int size() const { return ranks; }
  void all_reduce(double* values, std::int64_t count, HostStream& stream) {
    std::vector<double> mine(values, values + count);
    std::fill_n(values, count, std::nan(""));
    auto done = std::async(std::launch::async, [this, mine = std::move(mine), values, count, id = sequence++] {
                  std::unique_lock lock(meeting->mutex);
                  ++meeting->calls;
                  auto& all = meeting->arrived[id];
                  all.push_back(mine);
                  meeting->changed.notify_all();
                  meeting->changed.wait(lock, [&] { return all.size() == static_cast<std::size_t>(ranks); });
                  for (std::int64_t i = 0; i < count; ++i) {
                    values[i] = 0;
                    for (const auto& part : all) values[i] += part[static_cast<std::size_t>(i)];
                  }
                }).share();
    stream.defer([done] { done.get(); });
  }
};

}  // namespace

TEST_CASE("ranks that communicate asynchronously equal one big batch") {
  using Net = SmallImageNet;
  constexpr int ranks = 2, each = 3;
  static_assert(Communicator<LateRing, B>);
  const auto parameters = random_parameters<Net>(5);
  const RandomBatch batch("ranks", ranks * each, 33, 33, 3, Net::classes);
  TrainerOptions options;
  options.bucket_bytes = 4096;  // many buckets

  TrainerOptions big = options;
  big.ghost_batch = each;  // statistics are those of each rank
  Trainer<Net, B> alone(parameters, big);
  alone.set_learning_rate(0.05);

  const auto meeting = std::make_shared<LateRing::Meeting>();
  std::vector<Tensors> result(ranks);
  const auto run = [&](int rank) {
    Trainer<Net, B, LateRing> trainer(parameters, options, LateRing{meeting, rank, ranks});
    trainer.set_learning_rate(0.05);
    for (int step = 0; step < 3; ++step) {
      trainer.step(batch.slice(rank * each, each),
                   std::span(batch.labels).subspan(static_cast<std::size_t>(rank * each), each));
    }
    result[static_cast<std::size_t>(rank)] = weights_of(trainer);
  };
  auto other = std::async(std::launch::async, run, 1);
  run(0);
  other.get();
  for (int step = 0; step < 3; ++step) alone.step(batch.images(), batch.labels);
  const Tensors expected = weights_of(alone);
  CHECK(meeting->calls > 3 * 2 * ranks);
  CHECK(distance(expected, result[0]) < 1e-12);
  CHECK(result[0] == result[1]);
}

TEST_CASE("restoring a state goes on as if never stopped") {
  using Net = SmallCifar;
  const auto parameters = random_parameters<Net>(6);
  const RandomBatch first("first", 4, 8, 8, 3, Net::classes), second("second", 4, 8, 8, 3, Net::classes);
  Trainer<Net, Reference<float>> whole(parameters), start(parameters);
  for (auto* trainer : {&whole, &start}) {
    trainer->set_learning_rate(0.1);
    trainer->step(first.images(), first.labels);
  }
  Trainer<Net, Reference<float>> resumed((Parameters<Net>()));
  resumed.restore(start.state());
  resumed.set_learning_rate(0.1);
  whole.step(second.images(), second.labels);
  resumed.step(second.images(), second.labels);
  const Parameters<Net>&a = whole.parameters(), &b = resumed.parameters();
  CHECK(std::equal(a.values().begin(), a.values().end(), b.values().begin()));
  CHECK(a.batches_tracked() == 2);
  CHECK(b.batches_tracked() == 2);
  resumed.compute_gradients(first.images(), first.labels);  // updates nothing
  CHECK(resumed.parameters().batches_tracked() == 2);
}

namespace {

template <class Executor>
constexpr bool only_moves = std::is_move_constructible_v<Executor>&& std::is_move_assignable_v<Executor> &&
                            !std::is_copy_constructible_v<Executor> && !std::is_copy_assignable_v<Executor>;
static_assert(only_moves<Trainer<SmallCifar, B>> && only_moves<Classifier<SmallCifar, B>>);
static_assert(only_moves<TrainingPlan<B>> && only_moves<InferencePlan<B>>);
static_assert(!std::is_move_constructible_v<ParameterStore<B>>);  // plans point into it

}  // namespace

TEST_CASE("a trainer that moved, or was assigned, goes on as if it had stayed") {
  using Net = SmallCifar;
  const auto parameters = random_parameters<Net>(31);
  const RandomBatch batch("moved", 4, 8, 8, 3, Net::classes);
  const auto step = [&](auto& trainer) {
    trainer.set_learning_rate(0.1);
    trainer.step(batch.images(), batch.labels);
  };
  Trainer<Net, B> stays(parameters);
  for (int i = 0; i < 3; ++i) step(stays);

  auto first = std::make_unique<Trainer<Net, B>>(parameters);
  step(*first);
  const TrainingPlan<B>* const plan = &first->plan(batch.images());
  Trainer<Net, B> second(std::move(*first));
  first.reset();
  CHECK(&second.plan(batch.images()) == plan);
  step(second);
  Trainer<Net, B> third(random_parameters<Net>(32));
  step(third);
  third = std::move(second);
  step(third);
  CHECK(weights_of(third) == weights_of(stays));
  CHECK(third.read_metrics().loss == stays.read_metrics().loss);
}

namespace {

/// A convolution that does not say how it packs.
struct SilentConvolution : B::InferenceConvolution {
  using B::InferenceConvolution::InferenceConvolution;
  void packed_layout() const = delete;
};
struct Silent : B {
  using InferenceConvolution = SilentConvolution;
};

}  // namespace

TEST_CASE("plans of all extents share packed weights and memory") {
  using Net = SmallImageNet;
  const auto parameters = random_parameters<Net>(35);
  Classifier<Net, B> classify(parameters);
  std::vector<std::vector<double>> logits;
  std::size_t weights = 0, most = 0;
  constexpr int sizes[] = {40, 32, 64, 48, 56};
  const auto at = [](int size) { return RandomBatch("sizes", 2, size, size, 3, Net::classes); };
  for (const int size : sizes) {
    const RandomBatch batch = at(size);
    const auto found = classify(batch.images());
    logits.emplace_back(found.begin(), found.end());
    if (weights == 0) weights = classify.weight_bytes();
    CHECK(classify.weight_bytes() == weights);
    CHECK(classify.plan(batch.images()).weight_bytes() == weights);
    most = std::max(most, classify.plan(batch.images()).activation_bytes());
    CHECK(classify.activation_bytes() == most);
  }
  CHECK(weights >= Net::parameters * sizeof(double) * 9 / 10);
  for (std::size_t i = 0; i < std::size(sizes); ++i) {
    const RandomBatch batch = at(sizes[i]);
    CHECK(std::ranges::equal(classify(batch.images()), logits[i]));
    Classifier<Net, B> alone(parameters);
    CHECK(std::ranges::equal(alone(batch.images()), logits[i]));
  }
  Classifier<Net, Silent> silent(parameters);
  for (const int size : {32, 40}) {
    const RandomBatch batch = at(size);
    CHECK(std::ranges::equal(silent(batch.images()), logits[size == 40 ? 0 : 1]));
  }
  CHECK(silent.weight_bytes() > weights + weights / 2);
  // What plans have alone goes with them, and is never taken for another's.
  for (int turn = 0; turn < 3; ++turn) {
    for (std::size_t i = 0; i < std::size(sizes); ++i) {
      CHECK(std::ranges::equal(silent(at(sizes[i]).images()), logits[i]));
      CHECK(silent.weight_bytes() <= Classifier<Net, Silent>::most_plans * weights);
    }
  }
}

TEST_CASE("a classifier whose parameters were replaced is as good as a new one") {
  using Net = SmallCifar;
  const auto parameters = random_parameters<Net>(36), others = random_parameters<Net>(37);
  const RandomBatch small("small", 2, 8, 8, 3, Net::classes), large("large", 2, 12, 12, 3, Net::classes);
  Classifier<Net, B> classify(parameters), expected(others);
  classify(small.images());
  classify(large.images());
  const InferencePlan<B>* const plan = &classify.plan(small.images());
  const std::size_t bytes = classify.weight_bytes();
  for (int turn = 0; turn < 2; ++turn) {
    classify.replace(others);
    CHECK(std::ranges::equal(classify(small.images()), expected(small.images())));
    CHECK(std::ranges::equal(classify(large.images()), expected(large.images())));
  }
  CHECK(&classify.plan(small.images()) == plan);
  CHECK(classify.weight_bytes() == bytes);
}

TEST_CASE("a short last batch costs a trainer no memory of its own") {
  using Net = SmallCifar;
  const RandomBatch batch("whole", 8, 8, 8, 3, Net::classes);
  const RandomBatch last("last", 3, 8, 8, 3, Net::classes);
  Trainer<Net, B> trainer(random_parameters<Net>(38));
  trainer.set_learning_rate(0.1);
  trainer.step(batch.images(), batch.labels);
  const std::size_t bytes = trainer.activation_bytes();
  CHECK(bytes == trainer.plan(batch.images()).activation_bytes());
  trainer.step(last.images(), last.labels);
  CHECK(trainer.activation_bytes() == bytes);
  CHECK(trainer.plan(last.images()).activation_bytes() < bytes);
}

TEST_CASE("a classifier that moved, or was assigned, gives the same logits") {
  using Net = SmallCifar;
  const auto parameters = random_parameters<Net>(33), others = random_parameters<Net>(34);
  const RandomBatch batch("moved", 2, 8, 8, 3, Net::classes);
  auto first = std::make_unique<Classifier<Net, B>>(parameters);
  const auto logits = (*first)(batch.images());
  const std::vector<double> expected(logits.begin(), logits.end());
  Classifier<Net, B> second(std::move(*first));
  first.reset();
  const auto moved = second(batch.images());
  CHECK(std::vector<double>(moved.begin(), moved.end()) == expected);
  Classifier<Net, B> third(others);
  third(batch.images());
  third = std::move(second);
  const auto assigned = third(batch.images());
  CHECK(std::vector<double>(assigned.begin(), assigned.end()) == expected);
}

namespace {

/// A rank whose sums are under way until they are waited for, and who sees whether somebody touches them before.
struct SlowSums {
  struct Seen {
    int under_way = 0, done = 0, touched = 0;
    bool fails = false;
  };
  std::shared_ptr<Seen> seen = std::make_shared<Seen>();

  int rank() const { return 0; }
  int size() const { return 1; }
  void all_reduce(double* values, std::int64_t count, HostStream& stream) {
    ++seen->under_way;
    stream.defer([values, count, mine = std::vector<double>(values, values + count), all = seen] {
      if (!std::equal(mine.begin(), mine.end(), values)) ++all->touched;
      std::copy_n(mine.begin(), count, values);  // freed memory shows here
      ++all->done;
      if (all->fails) throw DeviceError("a rank is gone");
    });
  }
};

}  // namespace

TEST_CASE("gradients under way are waited for before they are written again, moved or freed") {
  using Net = SmallCifar;
  TrainerOptions options;
  options.bucket_bytes = 1;  // a bucket for each tensor
  const auto parameters = random_parameters<Net>(35);
  const RandomBatch batch("slow", 4, 8, 8, 3, Net::classes), other("other", 4, 8, 8, 3, Net::classes);
  SlowSums slow;
  {
    Trainer<Net, B, SlowSums> trainer(parameters, options, slow);
    trainer.compute_gradients(batch.images(), batch.labels);
    REQUIRE(slow.seen->under_way > 5);
    CHECK(slow.seen->done == 0);
    trainer.compute_gradients(other.images(), other.labels);
    trainer.first_not_finite(batch.images(), batch.labels);
    CHECK(slow.seen->done == slow.seen->under_way);
    trainer.compute_gradients(batch.images(), batch.labels);
    Trainer<Net, B, SlowSums> moved(std::move(trainer));
    CHECK(slow.seen->done < slow.seen->under_way);
  }
  CHECK(slow.seen->done == slow.seen->under_way);
  CHECK(slow.seen->touched == 0);

  slow.seen->fails = true;
  {
    Trainer<Net, B, SlowSums> trainer(parameters, options, slow);
    trainer.set_learning_rate(0.1);
    const Tensors before = weights_of(trainer);
    CHECK_THROWS_WITH_AS(trainer.step(batch.images(), batch.labels), "a rank is gone", DeviceError);
    CHECK(slow.seen->done == slow.seen->under_way);  // the first wait that throws ends none of the others
    CHECK(weights_of(trainer) == before);
    trainer.compute_gradients(batch.images(), batch.labels);
  }
  CHECK(slow.seen->done == slow.seen->under_way);
}

namespace {

/// The bits of everything that a step changes.
template <class T>
std::vector<std::uint32_t> state_of(T& trainer) {
  std::vector<std::uint32_t> all;
  for (const auto& tensors : {Parameters<SmallCifar>(trainer.parameters()), trainer.velocities()}) {
    for (const float value : tensors.values()) all.push_back(std::bit_cast<std::uint32_t>(value));
  }
  return all;
}

}  // namespace

TEST_CASE("what is not finite on any rank stops all of them at the same step, with all they had") {
  using Net = SmallCifar;
  const RandomBatch batch("stop", 4, 8, 8, 3, Net::classes);
  for (const double bad : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
    OtherRank other;
    Trainer<Net, B, OtherRank> trainer(random_parameters<Net>(36), {}, other);
    trainer.set_learning_rate(0.1);
    trainer.step(batch.images(), batch.labels);
    const auto before = state_of(trainer);
    *other.extra = bad;
    trainer.step(batch.images(), batch.labels);
    CHECK(state_of(trainer) == before);
    *other.extra = 0;
    trainer.step(batch.images(), batch.labels);  // stays so until somebody looks
    CHECK(state_of(trainer) == before);
    // ... and tells the other rank, which may have looked already
    CHECK(!is_finite(trainer.gradients()["fc.bias"][0]));
    const TrainingMetrics metrics = trainer.read_metrics();
    CHECK(!is_finite(metrics.loss));
    CHECK(metrics.images == 4);
    CHECK(!trainer.first_not_finite(batch.images(), batch.labels));
    trainer.step(batch.images(), batch.labels);
    CHECK(state_of(trainer) != before);
    CHECK(trainer.read_metrics().images == 4);
  }
}

TEST_CASE_TEMPLATE("a bad loss or gradient changes nothing, and its place is named", T, Reference<float>,
                   Reference<double>) {
  using Net = SmallCifar;
  const RandomBatch batch("place", 4, 8, 8, 3, Net::classes);
  const auto place = [&](Parameters<Net> parameters) {
    Trainer<Net, T> trainer(parameters);
    trainer.set_learning_rate(0.1);
    const auto before = state_of(trainer);
    trainer.step(batch.images(), batch.labels);
    CHECK(state_of(trainer) == before);
    CHECK(!is_finite(trainer.read_metrics().loss));
    return trainer.first_not_finite(batch.images(), batch.labels).value_or("nowhere");
  };
  const auto good = random_parameters<Net>(37);
  auto bad = good;
  bad["layer1.0.conv2.weight"][3] = std::numeric_limits<float>::quiet_NaN();
  CHECK(place(bad) == "the output of layer1.0.conv2");
  bad = good;
  bad["fc.bias"][1] = -std::numeric_limits<float>::infinity();  // a finite gradient, were it not for the loss
  CHECK(place(bad) == "the output of fc");
  if (sizeof(typename T::Scalar) == 8) return;
  // The loss is finite, a gradient too large for floats. Of doubles no parameters in floats give such a one.
  bad = good;
  for (float& gamma : bad["layer2.0.bn2.weight"]) gamma = 1e38f;
  for (float& weight : bad["layer2.0.conv3.weight"]) weight *= 1e-38f;
  for (float& gamma : bad["layer2.0.bn3.weight"]) gamma *= 1e4f;
  CHECK(place(bad) == "the gradient of layer2.0.conv3.weight");
}

TEST_CASE("a network learns a batch by heart") {
  using Net = SmallCifar;
  Trainer<Net, Reference<float>> trainer(initialized<Net>(8));
  trainer.set_learning_rate(0.05);
  const RandomBatch batch("heart", 8, 8, 8, 3, Net::classes);
  trainer.step(batch.images(), batch.labels);
  const double before = trainer.read_metrics().mean_loss();
  for (int step = 0; step < 60; ++step) trainer.step(batch.images(), batch.labels);
  trainer.read_metrics();
  trainer.step(batch.images(), batch.labels);
  const TrainingMetrics after = trainer.read_metrics();
  CHECK(before > 1.0);
  CHECK(after.mean_loss() < 0.05);
  CHECK(after.accuracy() == 1.0);
  CHECK(after.images == 8);
}

TEST_CASE("impossible inputs are refused in words") {
  using Net = SmallImageNet;
  const auto parameters = random_parameters<Net>(9);
  Classifier<Net, Reference<float>> classify(parameters);
  Trainer<Net, Reference<float>> trainer(parameters);
  trainer.set_learning_rate(0.1);
  const std::vector<float> values(4 * 8 * 8 * 3);
  const std::vector<std::int32_t> labels{0, 1, 2, 3}, outside{0, 1, 7, 3};

  CHECK_THROWS_WITH_AS(Images(values, 4, 8, 8, 1),
                       "images [N, H, W, C] = [4, 8, 8, 1] have 256 values, but 768 were given", ShapeError);
  CHECK_THROWS_WITH_AS(Images({}, 0, 8, 8, 3), "images [N, H, W, C] = [0, 8, 8, 3]: every extent must be at least 1",
                       ShapeError);
  CHECK_THROWS_WITH_AS(classify(Images(values, 12, 8, 8, 1)), "conv1: expected images of 3 channels, found 1",
                       ShapeError);
  CHECK_THROWS_WITH_AS(classify(Images()), doctest::Contains("conv1: expected at least one image of at least 1 x 1"),
                       ShapeError);
  const Images images(values, 4, 8, 8, 3);
  CHECK_THROWS_WITH_AS(trainer.step(images, outside), "label 7 of image 2 is outside the network's 7 classes",
                       ShapeError);
  CHECK_THROWS_WITH_AS(trainer.step(images, std::span(labels).first(3)),
                       "expected one label an image, found 4 images and 3 labels", ShapeError);
  CHECK_THROWS_WITH_AS(trainer.step(Images(std::span(values).first(3), 1, 1, 1, 3), std::span(labels).first(1)),
                       doctest::Contains("more than 1 value per channel"), ShapeError);
  TrainerOptions ghosts;
  ghosts.ghost_batch = 3;
  Trainer<Net, Reference<float>> ghostly(parameters, ghosts);
  ghostly.set_learning_rate(0.1);
  CHECK_THROWS_WITH_AS(ghostly.step(images, labels), doctest::Contains("1 image in a ghost batch"), ShapeError);
  CHECK_THROWS_WITH_AS(static_cast<void>(parameters["layer9.weight"]), doctest::Contains("no tensor \"layer9.weight\""),
                       Error);
}

TEST_CASE("images that cannot be counted, or are not there, are refused before any arithmetic on them") {
  using Net = SmallCifar;
  const auto parameters = random_parameters<Net>(38);
  Classifier<Net, Reference<float>> classify(parameters);
  Trainer<Net, Reference<float>> trainer(parameters);
  trainer.set_learning_rate(0.1);
  const RandomBatch batch("count", 2, 8, 8, 3, Net::classes);
  Images images = batch.images();  // whose members anybody can change
  const auto refused = [&](const char* words) {
    CAPTURE(words);
    const std::vector<std::int32_t> labels(std::min<std::size_t>(8, static_cast<std::size_t>(images.n)));
    CHECK_THROWS_WITH_AS(classify(images), doctest::Contains(words), ShapeError);
    if (labels.size() == static_cast<std::size_t>(images.n)) {
      CHECK_THROWS_WITH_AS(trainer.step(images, labels), doctest::Contains(words), ShapeError);
    }
  };
  images.n = 1;
  refused("images [N, H, W, C] = [1, 8, 8, 3] have 192 values, but 384 were given");
  images.n = 3;
  refused("images [N, H, W, C] = [3, 8, 8, 3] have 576 values, but 384 were given");
  images.h = images.w = 1 << 24;
  refused("conv1: expected a map of fewer than 2^31 pixels and at most 2^40 values, found [3, 16777216, 16777216, 3]");
  images.h = std::numeric_limits<int>::max();
  images.w = 1;
  refused("conv1: expected N, H and W to be at most 2^24, found N = 3, H = 2147483647, W = 1");
  images.n = std::numeric_limits<int>::max();
  images.h = 1;
  refused("conv1: expected N, H and W to be at most 2^24");
}

TEST_CASE("a forgotten learning rate and impossible options are refused in words") {
  using Net = SmallCifar;
  using T = Trainer<Net, Reference<float>>;
  const auto parameters = random_parameters<Net>(10);
  const RandomBatch batch("options", 4, 8, 8, 3, Net::classes);
  T trainer(parameters);
  trainer.compute_gradients(batch.images(), batch.labels);  // needs no rate
  CHECK_THROWS_WITH_AS(trainer.step(batch.images(), batch.labels),
                       "trainer: a step needs a learning rate, and none was set: call set_learning_rate() before it",
                       OptionError);
  for (const double rate : {-0.1, std::nan(""), HUGE_VAL}) {
    CHECK_THROWS_WITH_AS(trainer.set_learning_rate(rate),
                         doctest::Contains("trainer: learning rate: expected a finite number from 0, found "),
                         OptionError);
  }
  CHECK_THROWS_AS(trainer.step(batch.images(), batch.labels), OptionError);
  trainer.set_learning_rate(0);  // as good as any other, once it is said
  trainer.step(batch.images(), batch.labels);

  const auto refused = [&](auto change) {
    TrainerOptions options;
    change(options);
    try {
      T{parameters, options};
    } catch (const OptionError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK(refused([](auto& options) { options.sgd.momentum = 1; }) ==
        "trainer: sgd.momentum: expected a number from 0 to below 1, found 1");
  CHECK(refused([](auto& options) { options.sgd.momentum = std::nan(""); }) != "");
  CHECK(refused([](auto& options) { options.sgd.weight_decay = -1; }) ==
        "trainer: sgd.weight_decay: expected a finite number from 0, found -1");
  CHECK(refused([](auto& options) { options.sgd.weight_decay = HUGE_VAL; }) != "");
  CHECK(refused([](auto& options) { options.label_smoothing = 1.5; }) ==
        "trainer: label_smoothing: expected a number from 0 to below 1, found 1.5");
  CHECK(refused([](auto& options) { options.ghost_batch = -3; }) ==
        "trainer: ghost_batch: expected a number of images, or 0 for the whole batch, found -3");
  CHECK(refused([](auto& options) { options.loss_scale = 0; }) ==
        "trainer: loss_scale: expected a finite number from 1, found 0");
  CHECK(refused([](auto& options) { options.scale_growth = -1; }) ==
        "trainer: scale_growth: expected a number of steps, or 0 for never, found -1");
  CHECK(refused([](auto& options) { options.clip_norm = -1; }) ==
        "trainer: clip_norm: expected a finite number, or 0 for any, found -1");
  CHECK(refused([](auto& options) { options.ema_decay = 1; }) ==
        "trainer: ema_decay: expected a number from 0 to below 1, found 1");
  CHECK(refused([](auto& options) { options.micro_batch = -1; }) ==
        "trainer: micro_batch: expected a number of images, or 0 for the whole batch, found -1");
  CHECK(refused([](auto& options) { options.bucket_bytes = 0; }) ==
        "trainer: bucket_bytes: expected a number of bytes above 0, found 0");
  CHECK(refused([](auto& options) { options.norm_momentum = 0; }) ==
        "trainer: norm_momentum: expected a number above 0, at most 1, found 0");
  CHECK(refused([](auto& options) {
          options.group_of = [](const StateEntry& entry) {
            return ParameterGroup{.rate = entry.rank == 2 ? -1.0 : 1.0};
          };
        }) == "trainer: group_of fc.weight: rate: expected a finite number from 0, found -1");
  CHECK(refused([](auto&) {}) == "");
}

TEST_CASE("a window that does not fit names its layer") {
  std::vector<Layer> rows(1);
  rows[0] = {LayerOp::convolution, "bare", 0, -1, 1, 3, 4, 5, 1, 0, 1};
  CHECK_THROWS_WITH_AS(detail::checked_extents(rows, 1, {4, 9, 3}),
                       "bare: a map of 4 x 9 is too small for a window of 5 x 5 padded by 0; the images are 4 x 9",
                       ShapeError);
}
