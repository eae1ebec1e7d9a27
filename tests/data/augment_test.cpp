#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <resnext/data/augment.hpp>
#include <set>
#include <utility>
#include <vector>

using namespace resnext;

namespace {

constexpr int height = 5, width = 7, channels = 2;

std::vector<std::uint8_t> picture() {
  std::vector<std::uint8_t> pixels;
  for (int i = 0; i < height * width * channels; ++i) pixels.push_back(static_cast<std::uint8_t>(3 * i + 1));
  return pixels;
}

/// The recipe word by word: normalise, flip, frame with zeros, cut out.
std::vector<float> by_definition(const Augmentation& a, bool flip, int top, int left) {
  const auto pixels = picture();
  std::vector<float> out;
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      for (int c = 0; c < channels; ++c) {
        const int from_y = y + top - a.pad, framed_x = x + left - a.pad;
        const bool inside = from_y >= 0 && from_y < height && framed_x >= 0 && framed_x < width;
        const int from_x = flip ? width - 1 - framed_x : framed_x;
        const auto channel = static_cast<std::size_t>(c);
        out.push_back(
            inside ? (static_cast<float>(pixels[static_cast<std::size_t>((from_y * width + from_x) * channels + c)]) -
                      a.mean[channel]) /
                         a.std[channel]
                   : 0.0f);
      }
  return out;
}

}  // namespace

TEST_CASE("every picture is one of the recipe's, and all of them occur") {
  const Augmentation recipe{2, true, {100, 50}, {20, 30}};
  const Augmenter augment(recipe, height, width, channels, 9);
  std::vector<float> out(height * width * channels);
  std::set<std::pair<bool, int>> seen;
  int flips = 0;
  for (std::uint32_t index = 0; index < 2000; ++index) {
    augment(picture(), 3, index, out);
    bool found = false;
    for (int place = 0; place < 25 && !found; ++place)
      for (const bool flip : {false, true})
        if (out == by_definition(recipe, flip, place / 5, place % 5)) {
          found = true;
          flips += flip;
          seen.insert({flip, place});
          break;
        }
    REQUIRE(found);
  }
  CHECK(seen.size() == 50);
  CHECK(std::abs(flips - 1000) < 112);  // five standard deviations
}

TEST_CASE("the augmentation depends on seed, epoch and index, and on nothing else") {
  const Augmentation recipe{4, true, {100, 50}, {20, 30}};
  const auto run = [&](std::uint64_t seed, int epoch, std::uint32_t index) {
    std::vector<float> out(height * width * channels, -1);
    Augmenter(recipe, height, width, channels, seed)(picture(), epoch, index, out);
    return out;
  };
  const auto differing = [&](auto other) {
    int count = 0;
    for (std::uint32_t index = 0; index < 100; ++index) count += run(1, 2, index) != other(index);
    return count;
  };
  CHECK(differing([&](std::uint32_t index) { return run(1, 2, index); }) == 0);
  CHECK(differing([&](std::uint32_t index) { return run(2, 2, index); }) > 90);
  CHECK(differing([&](std::uint32_t index) { return run(1, 3, index); }) > 90);
  CHECK(differing([&](std::uint32_t) { return run(1, 2, 1000); }) > 90);
}

TEST_CASE("evaluation normalises and does no more") {
  const Augmentation recipe = normalisation_only({2, true, {100, 50}, {20, 30}});
  const Augmenter augment(recipe, height, width, channels, 1);
  std::vector<float> out(height * width * channels);
  for (std::uint32_t index = 0; index < 10; ++index) {
    augment(picture(), 0, index, out);
    CHECK(out == by_definition(recipe, false, 0, 0));
  }
}

TEST_CASE("the statistics are those of the definition, and normalise to mean 0 and deviation 1") {
  Dataset set;
  set.height = height;
  set.width = width;
  set.channels = channels;
  set.images = picture();
  set.labels = {0};
  const auto statistics = mean_and_std(set);
  for (std::size_t c = 0; c < channels; ++c) {
    double sum = 0, squares = 0;
    for (std::size_t i = c; i < set.images.size(); i += channels) sum += set.images[i];
    const double n = height * width, mean = sum / n;
    for (std::size_t i = c; i < set.images.size(); i += channels) squares += std::pow(set.images[i] - mean, 2);
    CHECK(statistics.mean[c] == doctest::Approx(mean));
    CHECK(statistics.std[c] == doctest::Approx(std::sqrt(squares / n)));
  }
  CHECK(recipe_of(set).mean == statistics.mean);
  CHECK(recipe_of(set).pad == 4);
  CHECK_THROWS_AS(mean_and_std(Dataset{}), ShapeError);
}

TEST_CASE("impossible options are refused") {
  const auto make = [](const Augmentation& a) { Augmenter(a, height, width, channels, 0); };
  CHECK_NOTHROW(make({4, true, {1, 1}, {1, 1}}));
  CHECK_THROWS_AS(make({5, true, {1, 1}, {1, 1}}), OptionError);
  CHECK_THROWS_AS(make({-1, true, {1, 1}, {1, 1}}), OptionError);
  CHECK_THROWS_AS(make({0, true, {1}, {1, 1}}), OptionError);
  CHECK_THROWS_AS(make({0, true, {1, 1}, {1, 0}}), OptionError);
  CHECK_THROWS_AS(make({0, true, {1, NAN}, {1, 1}}), OptionError);
  CHECK_THROWS_AS(make({0, true, {1, 1}, {1, INFINITY}}), OptionError);
}
