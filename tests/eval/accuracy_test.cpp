#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include <resnext/eval/accuracy.hpp>

#include "files.hpp"
#include "train/run.hpp"

using namespace resnext;

namespace {

int rank(const std::vector<float>& logits, int label) { return rank_of(std::span(logits), label); }

}  // namespace

TEST_CASE("the rank of a label counts what comes before it") {
  const std::vector<float> logits{0.5f, 3, -1, 3, 2};
  CHECK(rank(logits, 1) == 0);
  CHECK(rank(logits, 3) == 1);  // equal, but later
  CHECK(rank(logits, 4) == 2);
  CHECK(rank(logits, 0) == 3);
  CHECK(rank(logits, 2) == 4);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK(rank({nan, 1, 0}, 1) == 1);
  CHECK(rank({nan, nan, nan}, 0) == 3);
}

TEST_CASE("accuracy counts the first, the first five, and the cross-entropy") {
  Accuracy accuracy;
  const std::array<double, 7> logits{7, 6, 5, 4, 3, 2, 1};
  for (int label = 0; label < 7; ++label) accuracy.add(std::span<const double>(logits), label);
  CHECK(accuracy.images == 7);
  CHECK(accuracy.top1() == doctest::Approx(1.0 / 7));
  CHECK(accuracy.top5() == doctest::Approx(5.0 / 7));
  double sum = 0;
  for (const double logit : logits) sum += std::exp(logit);
  CHECK(accuracy.mean_loss() == doctest::Approx(std::log(sum) - 4));
  CHECK(Accuracy().top1() == 0);
}

TEST_CASE("the most probable classes, largest first, with probabilities that add up to one") {
  const std::array<float, 4> logits{1000, 1001, 999, 1001};  // would overflow without the shift
  const auto all = most_probable(std::span<const float>(logits), 9);
  REQUIRE(all.size() == 4);
  CHECK(all[0].label == 1);
  CHECK(all[1].label == 3);
  CHECK(all[2].label == 0);
  CHECK(all[3].label == 2);
  double sum = 0;
  for (const auto& prediction : all) sum += prediction.probability;
  CHECK(sum == doctest::Approx(1));
  CHECK(all[0].probability == doctest::Approx(std::exp(1.0) * all[2].probability));
  CHECK(most_probable(std::span<const float>(logits), 2).size() == 2);
}

TEST_CASE(
    "classes are ranked by their logits, also where all probabilities but one are 0, and as accuracy ranks them") {
  const std::vector<float> logits{0, -1000, -990, -980, -970, -960, -950, -940, -930, -900};
  const auto order = [](const std::vector<float>& some, int k) {
    std::vector<int> labels;
    for (const auto& prediction : most_probable(std::span(some), k)) labels.push_back(prediction.label);
    return labels;
  };
  CHECK(order(logits, 5) == std::vector<int>{0, 9, 8, 7, 6});
  CHECK(most_probable(std::span(logits), 2)[0].probability == 1);
  CHECK(most_probable(std::span(logits), 2)[1].probability == 0);
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  CHECK(order({1, nan, 2, -nan, 2, infinity}, 6) == std::vector<int>{1, 3, 5, 2, 4, 0});
  CHECK(order({1, 2}, -1).empty());
  const std::vector<std::vector<float>> cases{
      logits, {nan, 1, 0}, {0, 1, nan}, {1, 1, 1}, {-infinity, 0, -infinity}, {3e38f, -3e38f, infinity, nan, 0}};
  for (const auto& some : cases) {
    const auto labels = order(some, 10);
    for (std::size_t i = 0; i < labels.size(); ++i) {
      if (std::isnan(some[static_cast<std::size_t>(labels[i])])) continue;  // never right
      CHECK(rank(some, labels[i]) == static_cast<int>(i));
    }
  }
}

TEST_CASE("evaluating in batches of any size counts every image once") {
  using B = Reference<float>;
  const Dataset data = test::stripes(23, 4);
  const auto parameters = initialized<test::Tiny>(1);
  Classifier<test::Tiny, B> classifier(parameters);
  Loader all(data, normalisation_only(recipe_of(data)), {.batch = 23, .shuffle = false});
  Loader few(data, normalisation_only(recipe_of(data)), {.batch = 5, .shuffle = false});
  std::vector<float> whole, parts;
  const auto keep = [](std::vector<float>& to) {
    return [&to](const Batch&, std::span<const float> logits) { to.insert(to.end(), logits.begin(), logits.end()); };
  };
  const Accuracy a = evaluate<test::Tiny, B>(classifier, all, keep(whole));
  const Accuracy b = evaluate<test::Tiny, B>(classifier, few, keep(parts));
  CHECK(a.images == 23);
  CHECK(b.images == 23);
  CHECK(a.correct == b.correct);
  CHECK(a.loss == doctest::Approx(b.loss));
  CHECK(whole.size() == 23 * 3);
  CHECK(whole.size() == parts.size());
  CHECK(evaluate(classifier, few).correct == b.correct);  // a loader can be used again

  Dataset more = data;
  more.classes = 4;
  Loader wrong(more, normalisation_only(recipe_of(more)), {.batch = 5, .shuffle = false});
  CHECK(testing::message_of<ShapeError>([&] { evaluate(classifier, wrong); }) ==
        "stripes has 4 classes, the network only 3");
}
