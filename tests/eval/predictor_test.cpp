#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include <resnext/eval/predictor.hpp>
#include <resnext/reference.hpp>
#include <resnext/resnext.hpp>

#include "files.hpp"
#include "nn/networks.hpp"

using namespace resnext;
using testing::message_of;

namespace {

using B = Reference<float>;
using Net = test::SmallImageNet;
using Names = std::vector<std::string>;

const Preprocessing small{40, 32, {0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f}};

Image picture_of(int height, int width, int channels) {
  const RandomStream random(3, "picture");
  Image picture{height, width, channels, {}};
  const auto values = static_cast<std::uint64_t>(height * width * channels);
  for (std::uint64_t i = 0; i < values; ++i) picture.pixels.push_back(static_cast<std::uint8_t>(random.below(i, 256)));
  return picture;
}

}  // namespace

TEST_CASE("torchvision's preparation: the shorter side, the middle, (v / 255 - mean) / std") {
  const Preprocessing v1 = imagenet_v1();
  CHECK(v1.resize == 256);
  CHECK(v1.crop == 224);
  CHECK(v1.mean == std::vector{0.485f, 0.456f, 0.406f});
  CHECK(v1.std == std::vector{0.229f, 0.224f, 0.225f});
  CHECK(imagenet_v2().resize == 232);

  const Image picture = picture_of(60, 90, 3);
  const Image crop = center_crop(resized(picture, 40, 60), 32, 32);
  CHECK(preprocessed_crop(picture, small).pixels == crop.pixels);
  const std::vector<float> values = preprocessed(picture, small);
  REQUIRE(values.size() == 32 * 32 * 3);
  for (std::size_t i = 0; i < values.size(); ++i) {
    REQUIRE(values[i] == (static_cast<float>(crop.pixels[i]) / 255 - small.mean[i % 3]) / small.std[i % 3]);
  }
}

TEST_CASE("a recipe's preparation is what a loader makes of cropped pictures") {
  const Image picture = picture_of(32, 32, 3);
  const Preprocessing preprocessing = preprocessing_of(cifar10_recipe(), 32);
  const Augmentation same = normalisation_only(preprocessing);
  CHECK(same.pad == 0);
  CHECK_FALSE(same.flip);
  std::vector<float> expected(32 * 32 * 3);
  Augmenter(normalisation_only(cifar10_recipe()), 32, 32, 3, 0)(picture.pixels, 0, 0, expected);
  const std::vector<float> values = preprocessed(picture, preprocessing);
  for (std::size_t i = 0; i < values.size(); ++i) REQUIRE(values[i] == doctest::Approx(expected[i]).epsilon(1e-5));
  for (std::size_t c = 0; c < 3; ++c) {
    CHECK(same.mean[c] == doctest::Approx(cifar10_recipe().mean[c]));
    CHECK(same.std[c] == doctest::Approx(cifar10_recipe().std[c]));
  }
}

TEST_CASE("a picture becomes the names of its most probable classes") {
  const auto parameters = test::random_parameters<Net>(1);
  const Names names{"ant", "bee", "cow", "dog", "eel", "fox", "gnu"};
  const Image picture = picture_of(50, 70, 3);
  Classifier<Net, B> classify(parameters);
  const auto logits = classify(Images(preprocessed(picture, small), 1, 32, 32, 3));
  const auto expected = most_probable(logits, 7);

  Predictor<Net, B> predict(parameters, small, names), numbers(parameters, small);
  const auto found = predict(picture, 7);
  REQUIRE(found.size() == 7);
  double sum = 0;
  for (std::size_t i = 0; i < 7; ++i) {
    CHECK(found[i].name == names[static_cast<std::size_t>(expected[i].label)]);
    CHECK(found[i].probability == expected[i].probability);
    CHECK(numbers(picture, 7)[i].name == std::to_string(expected[i].label));
    sum += found[i].probability;
  }
  CHECK(sum == doctest::Approx(1));
  CHECK(predict(picture).size() == 5);
  CHECK(predict(picture, 100).size() == 7);
  for (const auto& [name, probability] : predict(picture, 1)) {
    CHECK(name == found[0].name);
    CHECK(probability == found[0].probability);
  }
}

TEST_CASE("a predictor keeps its parameters; a network of one channel sees luma") {
  Predictor<test::SmallBasic, B> predict(test::random_parameters<test::SmallBasic>(1), {12, 12, {0.3f}, {0.4f}});
  const Image picture = picture_of(20, 16, 3);
  const auto colour = predict(picture, 4), grey = predict(to_grey(picture), 4);
  REQUIRE(colour.size() == 4);
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(colour[i].name == grey[i].name);
    CHECK(colour[i].probability == grey[i].probability);
  }
}

TEST_CASE("what does not fit is refused") {
  const auto parameters = test::random_parameters<Net>(1);
  const auto refused = [&](const Preprocessing& preprocessing, const Names& names) {
    return message_of<OptionError>([&] { Predictor<Net, B>(parameters, preprocessing, names); });
  };
  CHECK(refused(small, {"ant", "bee"}) == "predictor: expected a name for each of 7 classes or none, found 2");
  CHECK(refused({30, 32, small.mean, small.std}, {}) ==
        "preprocessing: expected a crop from 1 to the resized side of 30, found 32");
  CHECK(refused({30, 0, small.mean, small.std}, {}) ==
        "preprocessing: expected a crop from 1 to the resized side of 30, found 0");
  CHECK(refused({40, 32, {0.5f}, {0.5f}}, {}) ==
        "preprocessing: expected a mean and a std for each of 3 channels, found 1 and 1");
  CHECK(refused({40, 32, small.mean, {0.2f, 0, 0.2f}}, {}) ==
        "preprocessing: channel 1: expected a finite mean and a positive std, found 0.456 and 0");
  Predictor<Net, B> predict(parameters, small);
  CHECK(message_of<ShapeError>([&] { predict(picture_of(40, 40, 1)); }) ==
        "preprocessing: expected a picture of 3 channels, found 1");
}
