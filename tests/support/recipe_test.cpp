// The recipe's numbers are facts: anybody who makes the same weights must find these.
#include <doctest/doctest.h>

#include <bit>
#include <cstdint>
#include <vector>

#include <resnext/nn/parameters.hpp>
#include <resnext/resnext.hpp>

#include "support/recipe.hpp"

using namespace resnext;

namespace {

std::uint32_t bits(float value) { return std::bit_cast<std::uint32_t>(value); }

}  // namespace

TEST_CASE("hash and mixer") {
  CHECK(detail::fnv1a("") == 0xcbf29ce484222325u);
  CHECK(detail::fnv1a("a") == 0xaf63dc4c8601ec8cu);
  CHECK(detail::fnv1a("conv1.weight") == 0x69a29a2cee47d254u);
  CHECK(resnext::detail::mix(1) == 0x5692161d100b05e5u);
  CHECK(resnext::detail::mix(0x9E3779B97F4A7C15u) == 0xe220a8397b1dcdafu);
  CHECK(resnext::detail::mix(0xffffffffffffffffu) == 0xb4d055fcf2cbbd7bu);
}

TEST_CASE("elements of tensors, bit for bit") {
  const support::Recipe recipe;
  CHECK(recipe("input").bits(0) == 0x02e17ca90ff2ec39u);
  CHECK(recipe("input").bits(3) == 0x3420b86a56b4f31fu);
  Parameters<ResNeXt50<32, 4>> parameters;
  recipe.fill(parameters);
  const auto first = [&](const char* name) { return bits(parameters[name][0]); };
  CHECK(first("conv1.weight") == 0xbd962c76u);
  CHECK(bits(parameters["conv1.weight"].back()) == 0x3de5ec23u);
  CHECK(first("bn1.weight") == 0x3f562cc3u);
  CHECK(first("bn1.bias") == 0xbb8ddce7u);
  CHECK(first("bn1.running_mean") == 0x3d9e067au);
  CHECK(first("bn1.running_var") == 0x3f842e57u);
  CHECK(first("layer1.0.conv2.weight") == 0x3e453a0fu);
  CHECK(first("layer1.0.bn3.weight") == 0x3e945a00u);
  CHECK(first("fc.bias") == 0x3d8be38bu);
}

TEST_CASE("inputs, labels and probes") {
  const support::Recipe recipe;
  const auto images = recipe.images("input", 2, 4, 4, 3);
  CHECK(bits(images[0]) == 0xbf7a3d08u);
  CHECK(images[1] == recipe.symmetric("input", 16));  // the second channel of the first pixel, [N, C, H, W]
  CHECK(images[48 + 3] == recipe.symmetric("input", 49));
  CHECK(recipe.labels("labels", 8, 10) == std::vector<std::int32_t>{0, 5, 5, 2, 3, 1, 8, 9});
  CHECK(recipe.labels("labels", 4, 1000) == std::vector<std::int32_t>{70, 575, 325, 622});
  for (const auto& [k, position] : {std::pair{0u, 489u}, {1u, 821u}, {2u, 128u}, {3u, 449u}, {15u, 426u}}) {
    CHECK(recipe.probe(k, 1000) == position);
  }
}

TEST_CASE("a seed makes other numbers") {
  CHECK(support::Recipe(7)("input").bits(0) == RandomStream(7, "input").bits(0));
  CHECK(support::Recipe(7)("input").bits(0) != support::Recipe()("input").bits(0));
}
