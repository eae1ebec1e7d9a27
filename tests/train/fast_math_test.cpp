// Compiled with -ffast-math: what is infinite or not a number is noticed all the same.
#include <doctest/doctest.h>

#include <array>
#include <bit>
#include <cstdint>
#include <string>

#include <resnext/train/fit.hpp>

#include "files.hpp"
#include "train/run.hpp"

using namespace resnext;
using test::Run;
using test::Tiny;
using testing::message_of;
using testing::TemporaryFolder;

namespace {

// By their bits: the compiler may fold any other spelling.
volatile std::uint32_t nan_bits = 0x7FC00000u, infinity_bits = 0x7F800000u;
float not_a_number() { return std::bit_cast<float>(std::uint32_t{nan_bits}); }
float infinity() { return std::bit_cast<float>(std::uint32_t{infinity_bits}); }

}  // namespace

TEST_CASE("-ffast-math: no checkpoint of weights or velocities that are not finite is written") {
  const TemporaryFolder folder;
  const auto good = initialized<Tiny>(1);
  for (const float value : {not_a_number(), infinity()}) {
    auto bad = good;
    bad["fc.bias"][1] = value;
    const auto refused = [&](const auto& parameters, const auto& velocities) {
      return message_of<Error>([&] { save_checkpoint(folder / "x", {parameters, {{"velocity", velocities}}}, {}); });
    };
    CHECK(refused(bad, good).find("fc.bias is infinite or not a number") != std::string::npos);
    CHECK(refused(good, bad).find("fc.bias (velocity) is infinite or not a number") != std::string::npos);
    CHECK(folder.files() == 0);
  }
}

TEST_CASE("-ffast-math: a run stops at a loss that is not finite") {
  for (const float value : {not_a_number(), infinity()}) {
    for (const std::string& name : {std::string("fc.bias"), std::string("conv1.weight")}) {
      const TemporaryFolder folder;
      Run run;
      auto parameters = initialized<Tiny>(3);
      parameters[name][0] = value;
      run.trainer.restore({parameters});
      run.state.batch = 2;
      run.state.step = 2;
      const std::string message = message_of<Error>([&] { run.fit(Run::options(folder.path())); });
      CAPTURE(message);
      CHECK(message.starts_with("the loss became "));
      CHECK(folder.files() == 0);
    }
  }
}

TEST_CASE("-ffast-math: impossible rates and recipes are refused, and logits that are no number are never right") {
  for (const double value : {double{not_a_number()}, double{infinity()}}) {
    CHECK_THROWS_AS(Schedule::step_decay(value, {}), OptionError);
    CHECK_THROWS_AS(Schedule::cosine(0.1, 10, value), OptionError);
    const auto number = static_cast<float>(value);
    CHECK_THROWS_AS(Augmenter({0, false, {number}, {1}}, 8, 8, 1, 0), OptionError);
    CHECK_THROWS_AS(Augmenter({0, false, {0}, {number}}, 8, 8, 1, 0), OptionError);
  }
  const std::array<float, 3> logits{1, not_a_number(), 0};
  CHECK(rank_of(std::span<const float>(logits), 0) == 1);
  CHECK(rank_of(std::span<const float>(logits), 1) == 3);
}
