// Whole networks against numbers that PyTorch computed in double precision.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <resnext/io/npy.hpp>
#include <resnext/nn/classifier.hpp>
#include <resnext/nn/trainer.hpp>

#include "support/recipe.hpp"

namespace support {

using Json = nlohmann::json;

/// One case: what PyTorch computed, and the recipe of what it was computed from.
struct Golden {
  std::filesystem::path folder;
  Json json;
  Recipe recipe;

  /// A list of numbers, nested or not, in the JSON itself or in an .npy file beside it.
  std::vector<double> numbers(const Json& value) const {
    std::vector<double> result;
    if (value.is_number()) return {value.get<double>()};
    if (value.is_string()) return read_npy<double>(folder / value.get<std::string>()).values;
    for (const Json& part : value) {
      for (const double number : numbers(part)) result.push_back(number);
    }
    return result;
  }
};

/// A case of the large collection that lies beside the repository, or in RESNEXT_SHARED_DIR. Without it the test says
/// that it was skipped.
inline std::optional<Golden> shared_golden(const std::string& name) {
  const char* given = std::getenv("RESNEXT_SHARED_DIR");
  const std::filesystem::path shared = given != nullptr ? given : RESNEXT_TESTS_DIR "/../../shared";
  const auto file = shared / "goldens" / (name + ".json");
  if (!std::filesystem::exists(file)) {
    MESSAGE("skipped: no ", file.string(), "; RESNEXT_SHARED_DIR can name the folder of goldens/");
    return {};
  }
  return Golden{file.parent_path(), Json::parse(std::ifstream(file)), Recipe()};
}

/// A case of this repository.
inline Golden own_golden(const std::string& name) {
  const std::filesystem::path folder = RESNEXT_TESTS_DIR "/fixtures";
  Json json = Json::parse(std::ifstream(folder / (name + ".json")));
  const Recipe recipe(json.at("seed").get<std::uint64_t>());
  return {folder, std::move(json), recipe};
}

inline double norm(std::span<const double> values) {
  double sum = 0;
  for (const double value : values) sum += value * value;
  return std::sqrt(sum);
}

/// |found - expected| / |expected|; infinite where it is not a number.
inline double relative_l2(std::span<const double> expected, std::span<const double> found) {
  REQUIRE(expected.size() == found.size());
  double sum = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) sum += (found[i] - expected[i]) * (found[i] - expected[i]);
  const double error = std::sqrt(sum) / norm(expected);
  return std::isfinite(error) ? error : HUGE_VAL;
}

inline void check_near(const std::string& what, double expected, double found, double tolerance) {
  const bool near = std::abs(found - expected) <= tolerance;
  CHECK_MESSAGE(near, what, ": expected ", expected, ", found ", found, ", ", std::abs(found - expected) / tolerance,
                " of the tolerance");
}

/// A map `[N, H, W, C]` against shape, moments and probed elements; `tolerance` is relative to its rms.
inline void check_summary(const Golden& golden, const Json& expected, Extent extent, std::span<const double> values,
                          double tolerance) {
  const std::string name = expected.at("name");
  const double size = double(values.size());
  const int n = int(std::int64_t(values.size()) / extent.size());
  CHECK_MESSAGE((expected.at("shape") == Json{n, extent.c, extent.h, extent.w}), name);
  double sum = 0, sum_abs = 0;
  for (const double value : values) {
    sum += value;
    sum_abs += std::abs(value);
  }
  const double rms = expected.at("rms"), error = tolerance * rms;
  check_near(name + " mean", expected.at("mean"), sum / size, error);
  check_near(name + " mean of absolute values", expected.at("mean_abs"), sum_abs / size, error);
  check_near(name + " rms", rms, norm(values) / std::sqrt(size), error);
  const std::size_t pixels = std::size_t(extent.h) * std::size_t(extent.w), channels = std::size_t(extent.c);
  for (std::size_t k = 0; k < expected.at("elements").size(); ++k) {
    const std::size_t at = golden.recipe.probe(k, values.size());  // in [N, C, H, W]
    const std::size_t image = at / (channels * pixels), channel = at / pixels % channels, pixel = at % pixels;
    check_near(name + " element " + std::to_string(at), expected.at("elements")[k],
               values[(image * pixels + pixel) * channels + channel], error);
  }
}

/// A parameter or its gradient against norm, sum and probed elements: the L2 norm of its error may be `error`, a probe
/// may be off by `probe_error`.
inline void check_tensor(const Golden& golden, const std::string& name, const Json& expected,
                         std::span<const double> values, double error, double probe_error) {
  check_near(name + " norm", expected.at("norm"), norm(values), error);
  double sum = 0;
  for (const double value : values) sum += value;
  check_near(name + " sum", expected.at("sum"), sum, error * std::sqrt(double(values.size())));
  for (std::size_t k = 0; k < expected.at("elements").size(); ++k) {
    const std::size_t at = golden.recipe.probe(k, values.size());
    check_near(name + "[" + std::to_string(at) + "]", expected.at("elements")[k], values[at], probe_error);
  }
}

/// The blocks' outputs that an executor shows, under the names of the summaries: `layer1.0` ends in `layer1.0.relu`,
/// the stem in its ReLU or its pool.
class BlockChecker {
 public:
  BlockChecker(const Golden& golden, const Json& blocks, double tolerance)
      : golden_(golden), blocks_(blocks), tolerance_(tolerance) {}

  Observer observer() {
    return [this](std::string_view row, Extent extent, std::span<const double> values) {
      if (row == "fc") logits_.assign(values.begin(), values.end());
      for (const Json& block : blocks_) {
        const std::string name = block.at("name");
        const bool stem = name == "stem" && (row == "maxpool" || (row == "relu" && extent.h == block.at("shape")[2]));
        if (!stem && row != name + ".relu") continue;
        ++seen_;
        check_summary(golden_, block, extent, values, tolerance_);
      }
    };
  }
  std::size_t seen() const { return seen_; }
  const std::vector<double>& logits() const { return logits_; }

 private:
  const Golden& golden_;
  const Json& blocks_;
  double tolerance_;
  std::size_t seen_ = 0;
  std::vector<double> logits_;
};

template <class B>
inline constexpr bool is_double = sizeof(typename B::Scalar) == 8;

/// Eval mode: logits and the output of every block.
template <class Net, class B>
void check_inference(const Golden& golden) {
  const Json& json = golden.json;
  CHECK(json.at("net").at("parameters") == Net::parameters);
  Parameters<Net> parameters;
  golden.recipe.fill(parameters);
  const auto shape = json.at("input").at("shape").get<std::array<int, 4>>();
  const auto [n, c, h, w] = shape;
  const auto values = golden.recipe.images(json.at("input").at("name").get<std::string>(), n, h, w, c);
  const Images images(values, n, h, w, c);
  Classifier<Net, B> classifier(parameters);
  BlockChecker blocks(golden, json.at("blocks"), is_double<B> ? 1e-12 : 5e-6);
  const auto shown = classifier.observe(images, blocks.observer());
  CHECK(blocks.seen() == json.at("blocks").size());
  const auto logits = golden.numbers(json.at("logits"));
  CHECK(relative_l2(logits, std::vector<double>(shown.begin(), shown.end())) < (is_double<B> ? 1e-12 : 2e-6));
  CHECK(relative_l2(logits, blocks.logits()) < (is_double<B> ? 1e-12 : 2e-6));
}

/// What is asked of fp32 in training. A few ReLU inputs of an ordinary case lie within rounding of zero, and one that
/// changes sign moves a gradient by a thousandth or more; sharp cases have none in their first step, so that it shows
/// every wrong formula.
struct TrainingTolerance {
  double logits = 1e-5, gradients = 5e-2;
  bool sharp = false;
  double movement = 0;  ///< share of a tensor's way through the steps, where a ReLU input is known to change its sign
};

/// Steps of SGD: losses, what the first step computed, and what became of the parameters.
template <class Net, class B>
void check_training(const Golden& golden, TrainingTolerance fp32) {
  const Json& json = golden.json;
  CHECK(json.at("net").at("parameters") == Net::parameters);
  Parameters<Net> parameters;
  golden.recipe.fill(parameters);
  std::map<std::string, std::vector<double>> start;
  for (const auto& slot : parameters.tensors()) {
    start[std::string(slot.entry.name().view())] = {parameters[slot].begin(), parameters[slot].end()};
  }
  TrainerOptions options;
  options.sgd = {json.at("sgd").at("momentum"), json.at("sgd").at("weight_decay"), json.at("sgd").at("nesterov")};
  options.label_smoothing = json.value("label_smoothing", 0.0);
  Trainer<Net, B> trainer(parameters, options);
  trainer.set_learning_rate(json.at("sgd").at("lr"));

  const int n = json.at("batch"), h = json.at("size")[0], w = json.at("size")[1];
  const auto at_step = [&](const char* key, std::size_t step) {
    std::string name = json.at(key);
    return name.replace(name.find("<step>"), 6, std::to_string(step));
  };
  for (std::size_t step = 0; step < json.at("losses").size(); ++step) {
    const auto values = golden.recipe.images(at_step("inputs", step), n, h, w, Net::inputs);
    const auto labels = golden.recipe.labels(at_step("labels", step), n, Net::classes);
    const Images images(values, n, h, w, Net::inputs);
    if (step == 0) {
      const double tolerance = is_double<B> ? 1e-12 : fp32.logits;
      BlockChecker blocks(golden, json.at("blocks_of_step_0"), tolerance);
      const Observer observer = blocks.observer();
      trainer.step(images, labels, &observer);
      CHECK(blocks.seen() == json.at("blocks_of_step_0").size());
      CHECK(relative_l2(golden.numbers(json.at("logits_of_step_0")), blocks.logits()) < tolerance);
      std::size_t seen = 0;
      trainer.show_gradients([&](std::string_view name, std::span<const double> gradient) {
        const Json& expected = json.at("gradients_of_step_0").at(std::string(name));
        const double error = (is_double<B> ? 1e-10 : fp32.gradients) * expected.at("norm").get<double>();
        const bool tight = !is_double<B> && fp32.sharp;
        check_tensor(golden, "gradient of " + std::string(name), expected, gradient, error,
                     tight ? 10 * expected.at("fp32_max_abs").get<double>() : error);
        ++seen;
      });
      CHECK(seen == json.at("gradients_of_step_0").size());
    } else {
      trainer.step(images, labels);
    }
    const auto metrics = trainer.read_metrics();
    CHECK(metrics.images == n);
    const double fp32_error = fp32.sharp ? 2e-5 : std::max(5e-6, 10 * json.at("losses_fp32_error")[step].get<double>());
    check_near("loss of step " + std::to_string(step), json.at("losses")[step], metrics.mean_loss(),
               is_double<B> ? (step == 0 ? 1e-12 : 1e-10) : fp32_error);
  }

  std::size_t seen = 0;
  trainer.show_weights([&](std::string_view name, std::span<const double> weights) {
    const Json& expected = json.at("parameters_after").at(std::string(name));
    const double length = expected.at("norm"), moved = expected.at("moved"), fp32_error = expected.at("fp32_rel_l2");
    const double rounding = std::max(5e-6, 10 * fp32_error) * length + fp32.movement * moved;
    const double error = is_double<B> ? 1e-10 * length : rounding;
    check_tensor(golden, std::string(name), expected, weights, error, error);
    std::vector<double> movement(weights.begin(), weights.end());
    const auto& from = start.at(std::string(name));
    for (std::size_t i = 0; i < movement.size(); ++i) movement[i] -= from[i];
    // a way is no better than the gradients that it follows
    check_near(std::string(name) + " movement", moved, norm(movement),
               error + (is_double<B> ? 0 : fp32.gradients * moved));
    ++seen;
  });
  CHECK(seen == json.at("parameters_after").size());

  const auto& after = trainer.parameters();
  for (const auto& entry : json.at("running_after").items()) {
    const std::string& name = entry.key();
    const Json& expected = entry.value();
    auto truth = golden.numbers(expected.contains("values") ? expected.at("values") : expected.at("file"));
    if (expected.contains("row")) {
      const auto half = std::ptrdiff_t(truth.size() / 2);
      truth = expected.at("row") == 0 ? std::vector<double>(truth.begin(), truth.begin() + half)
                                      : std::vector<double>(truth.begin() + half, truth.end());
    }
    const std::span<const float> found = after[name];  // floats on the host, whatever the backend has
    const double fp32_error = expected.at("fp32_error").at("rel_l2");
    const double allowed = std::max(1e-6, is_double<B> ? 0 : 10 * fp32_error);
    const double error = relative_l2(truth, std::vector<double>(found.begin(), found.end()));
    CHECK_MESSAGE(error < allowed, name, ": ", error, " of ", allowed);
  }
}

}  // namespace support
