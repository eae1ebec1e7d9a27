// The program examples/imagenet: PyTorch's logits from the same weights and images.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <resnext/io/npy.hpp>
#include <resnext/model/family.hpp>
#include <resnext/nn/parameter_files.hpp>
#include <resnext/random.hpp>

#include "examples/program.hpp"
#include "files.hpp"
#include "support/golden.hpp"
#include "support/golden_networks.hpp"

using namespace resnext;
using testing::contains;
using testing::Result;
using testing::run;
using testing::TemporaryFolder;

namespace {

/// Runs the network on the weights and images of a golden case, through files.
template <class Net>
void check_program(const support::Golden& golden, const std::string& network) {
  const TemporaryFolder folder;
  const std::string weights = (folder / "weights.safetensors").string(), batch = (folder / "batch.npy").string(),
                    logits = (folder / "logits.npy").string();
  Parameters<Net> parameters;
  golden.recipe.fill(parameters);
  save_safetensors(weights, parameters);
  const auto& input = golden.json.at("input");
  const auto shape = input.at("shape").get<std::vector<std::int64_t>>();
  const RandomStream random = golden.recipe(input.at("name").get<std::string>());
  std::vector<float> values(static_cast<std::size_t>(shape[0] * shape[1] * shape[2] * shape[3]));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = 2.0f * random.uniform(i) - 1.0f;
  write_npy(batch, shape, values);

  const Result result =
      run("imagenet --network " + network + " --weights " + weights + " --repeat 1 --logits " + logits + " " + batch);
  CAPTURE(result.output);
  REQUIRE(result.status == 0);
  const auto found = read_npy<float>(logits);
  CHECK(found.shape == std::vector<std::int64_t>{shape[0], Net::classes});
  const std::vector<double> computed(found.values.begin(), found.values.end());
  CHECK(support::relative_l2(golden.numbers(golden.json.at("logits")), computed) < 2e-6);
  int image = 0;
  for (const auto& best : golden.json.at("top5")) {
    const std::size_t begin = result.output.find("image " + std::to_string(image++) + ":");
    REQUIRE(begin != std::string::npos);
    const std::string line = result.output.substr(begin, result.output.find('\n', begin) - begin);
    CAPTURE(line);
    std::size_t at = 0;
    for (const int label : best) {
      at = line.find("  " + std::to_string(label) + " ", at);
      REQUIRE(at != std::string::npos);
    }
  }
}

}  // namespace

TEST_CASE("imagenet computes PyTorch's logits from a file of weights") {
  const auto check = []<class Net>(const support::Golden& golden, const char* network) {
    check_program<Net>(golden, network);
  };
  support::with_case<ResNet50>("infer_resnet50_1x64d", check, "resnet50");
  support::with_case<ResNeXt50<32, 4>>("infer_resnext50_32x4d", check, "resnext50_32x4d");
  support::with_case<ResNeXt101<32, 4>>("infer_resnext101_32x4d", check, "resnext101_32x4d");
}

TEST_CASE("imagenet: a batch in, logits out") {
  const TemporaryFolder folder;
  const RandomStream random(1, "batch");
  std::vector<float> values(2 * 3 * 64 * 48);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = random.uniform(i) - 0.5f;
  const std::string batch = (folder / "batch.npy").string(), logits = (folder / "logits.npy").string();
  write_npy(batch, {2, 3, 64, 48}, values);
  const Result result = run("imagenet --random 3 --repeat 1 --profile --logits " + logits + " " + batch);
  CAPTURE(result.output);
  REQUIRE(result.status == 0);
  CHECK(contains(result.output, "image 1:"));
  CHECK(contains(result.output, "layer4.2.conv3"));
  CHECK(contains(result.output, "; peak: "));
  CHECK(contains(result.output, "ms an image"));
  const auto found = read_npy<float>(logits);
  CHECK(found.shape == std::vector<std::int64_t>{2, 1000});
  const auto json = nlohmann::json::parse(run("imagenet --random 3 --repeat 1 --json " + batch).output);
  CHECK(json.at("network") == "resnext50_32x4d");
  CHECK(json.at("images").size() == 2);
  CHECK(json.at("milliseconds_an_image") > 0);
  const auto best = std::max_element(found.values.begin(), found.values.begin() + 1000) - found.values.begin();
  CHECK(json.at("images")[0][0].at("class") == best);
  for (const float logit : found.values) REQUIRE(std::isfinite(logit));

  // The channels are in their places: an image alone gives the same logits as in the batch.
  write_npy(batch, {1, 3, 64, 48}, std::vector<float>(values.begin() + 3 * 64 * 48, values.end()));
  REQUIRE(run("imagenet --random 3 --repeat 1 --logits " + logits + " " + batch).status == 0);
  const auto alone = read_npy<float>(logits);
  REQUIRE(alone.values.size() == 1000);
  for (std::size_t i = 0; i < 1000; ++i) {
    REQUIRE(alone.values[i] == doctest::Approx(found.values[1000 + i]).epsilon(1e-3));
  }

  write_npy(batch, {2, 64, 48, 3}, values);
  const Result wrong = run("imagenet --random 3 " + batch);
  CHECK(wrong.status == 1);
  CHECK(contains(wrong.output, "expected a batch [N, 3, H, W] of at least one image, found [2, 64, 48, 3]"));
}

TEST_CASE("imagenet: pixels are normalised as ImageNet's, floats are taken as they are") {
  const TemporaryFolder folder;
  constexpr std::size_t plane = 32 * 32;
  std::vector<std::uint8_t> pixels(3 * plane);
  std::vector<float> normalised(pixels.size());
  const float mean[] = {0.485f, 0.456f, 0.406f}, deviation[] = {0.229f, 0.224f, 0.225f};
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    pixels[i] = static_cast<std::uint8_t>(i * 7 % 256);
    normalised[i] = (static_cast<float>(pixels[i]) / 255 - mean[i / plane]) / deviation[i / plane];
  }
  const std::string batch = (folder / "batch.npy").string(), logits = (folder / "logits.npy").string();
  const auto logits_of = [&](const auto& values, bool says_so) {
    write_npy(batch, {1, 3, 32, 32}, values);
    const Result result = run("imagenet --random 3 --repeat 1 --logits " + logits + " " + batch);
    CAPTURE(result.output);
    CHECK(result.status == 0);
    CHECK(contains(result.output, "uint8 pixels, normalised as ImageNet's") == says_so);
    const Result json = run("imagenet --random 3 --repeat 1 --json " + batch);
    CHECK(nlohmann::json::parse(json.output).at("normalised") == says_so);
    return read_npy<float>(logits).values;
  };
  const auto from_pixels = logits_of(pixels, true), from_floats = logits_of(normalised, false);
  REQUIRE(from_pixels.size() == 1000);
  for (std::size_t i = 0; i < 1000; ++i) REQUIRE(from_pixels[i] == doctest::Approx(from_floats[i]).epsilon(1e-3));
  for (float& x : normalised) x = 128;  // pixels that are not uint8
  write_npy(batch, {1, 3, 32, 32}, normalised);
  const Result unlikely = run("imagenet --random 3 --repeat 1 " + batch);
  CHECK(unlikely.status == 0);
  CHECK(contains(unlikely.output, "expected normalised values, found 128: pixels of 0 to 255 are normalised if they"));
  CHECK(contains(run("imagenet --help").output, "uint8"));
}
