#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <resnext/nn/make_executors.hpp>
#include <resnext/reference.hpp>
#include <resnext/resnext.hpp>

#include "files.hpp"
#include "nn/networks.hpp"

using namespace resnext;
using test::RandomBatch;
using test::SmallBasic;
using test::SmallImageNet;
using testing::message_of;
using testing::TemporaryFolder;

namespace {

/// A backend that this machine does not have.
struct Absent : Reference<float> {
  struct InferenceConvolution : Reference<float>::InferenceConvolution {
    template <class... Arguments>
    explicit InferenceConvolution(Arguments&&... arguments)
        : Reference<float>::InferenceConvolution(std::forward<Arguments>(arguments)...) {
      throw_error<DeviceError>("absent: not on this machine");
    }
  };
  static constexpr std::string_view name() { return "Absent"; }
};

/// One that takes its time, after the plan is made.
struct Slow : Reference<float> {
  struct AveragePool : Reference<float>::AveragePool {
    using Reference<float>::AveragePool::AveragePool;
    template <class... Arguments>
    void forward(Arguments&&... arguments) const {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      Reference<float>::AveragePool::forward(std::forward<Arguments>(arguments)...);
    }
  };
  static constexpr std::string_view name() { return "Slow"; }
};

const NetworkList<SmallImageNet, SmallBasic> networks{{"imagenet", "basic"}};
constexpr BackendList<Reference<float>, Reference<double>> backends;

template <class Net, class B>
std::vector<float> logits_of(const Parameters<Net>& parameters, const RandomBatch& batch) {
  Classifier<Net, B> classify(parameters);
  const auto logits = classify(batch.images());
  return std::vector<float>(logits.begin(), logits.end());
}
std::vector<float> logits_of(AnyClassifier& classify, const RandomBatch& batch) {
  const auto logits = classify(batch.images());
  return {logits.begin(), logits.end()};
}

}  // namespace

TEST_CASE("a network and a backend by name are those of the types") {
  const TemporaryFolder folder;
  const auto path = (folder / "weights.safetensors").string();
  const auto parameters = test::random_parameters<SmallBasic>(1);
  save_safetensors(path, parameters);
  const RandomBatch batch("any", 3, 12, 11, 1, 4);

  const auto first = make_classifier(networks, backends, "basic", "", path);
  CHECK(first->backend() == "Reference<float>");
  CHECK(first->classes() == 4);
  CHECK(first->inputs() == 1);
  CHECK(logits_of(*first, batch) == logits_of<SmallBasic, Reference<float>>(parameters, batch));

  CHECK(first->layers().data() == SmallBasic::layers.data());
  CHECK(first->parameter_count() == SmallBasic::parameters);
  CHECK(first->macs(12, 11) == SmallBasic::macs(12, 11));
  CHECK(first->libraries().empty());
  CHECK(first->peak_gflops() == 0);
  Profile profile;
  const auto profiled = first->profile(batch.images(), profile);
  CHECK(std::vector<float>(profiled.begin(), profiled.end()) == logits_of(*first, batch));
  CHECK(profile.rows().size() ==
        Classifier<SmallBasic, Reference<float>>(parameters).plan(batch.images()).units().size());
  CHECK(logits_of(*make_classifier(networks, backends, "basic", "", 3), batch) ==
        logits_of<SmallBasic, Reference<float>>(initialized<SmallBasic>(3), batch));

  const auto oracle = make_classifier(networks, backends, "basic", "Reference<double>", path);
  CHECK(oracle->backend() == "Reference<double>");
  CHECK(logits_of(*oracle, batch) == logits_of<SmallBasic, Reference<double>>(parameters, batch));

  CHECK(message_of<OptionError>([&] { make_classifier(networks, backends, "alexnet", "", path); }) ==
        "there is no network \"alexnet\" in this program, only imagenet, basic");
  CHECK(message_of<OptionError>([&] { make_classifier(networks, backends, "basic", "Gpu", path); }) ==
        "there is no backend \"Gpu\" in this program, only Reference<float>, Reference<double>");
  CHECK(message_of<FileError>([&] {
          make_classifier(networks, backends, "imagenet", "", path);
        }).find("does not hold the parameters of this network") != std::string::npos);
}

TEST_CASE("a trainer by name takes the steps of its type") {
  const RandomBatch batch("any", 4, 12, 11, 1, 4);
  const auto any = make_trainer(networks, backends, "basic", "", 5);
  CHECK(any->backend() == "Reference<float>");
  CHECK(any->classes() == 4);
  CHECK(any->inputs() == 1);
  CHECK_THROWS_AS(any->step(batch.images(), batch.labels), OptionError);
  Trainer<SmallBasic, Reference<float>> trainer(initialized<SmallBasic>(5));
  any->set_learning_rate(0.1);
  trainer.set_learning_rate(0.1);
  const auto step_both = [&] {
    any->step(batch.images(), batch.labels);
    trainer.step(batch.images(), batch.labels);
    CHECK(any->read_metrics().loss == trainer.read_metrics().loss);
    const StateDict a = any->parameters(), b = trainer.parameters();
    CHECK(std::equal(a.values().begin(), a.values().end(), b.values().begin()));
  };
  step_both();
  const TrainerState state = any->state();
  step_both();
  any->restore(state);
  trainer.restore(state);
  step_both();

  CHECK(any->rank() == 0);
  CHECK(any->ranks() == 1);
  CHECK(logits_of(*any->classifier(), batch) == logits_of<SmallBasic, Reference<float>>(trainer.parameters(), batch));
  Profile profile;
  any->step(batch.images(), batch.labels, &profile);
  CHECK(profile.rows().size() > 0);
  CHECK(any->first_not_finite(batch.images(), batch.labels) == std::nullopt);
  TrainerState bad = any->state();
  bad.parameters["conv1.weight"][0] = std::numeric_limits<float>::infinity();
  any->restore(bad);
  CHECK(any->first_not_finite(batch.images(), batch.labels) == "the output of conv1");

  const StateDict start = make_trainer(networks, backends, "basic", "", 5, {}, Initializer::torchvision)->parameters();
  const StateDict expected = initialized<SmallBasic>(5, Initializer::torchvision);
  CHECK(std::equal(start.values().begin(), start.values().end(), expected.values().begin()));

  const auto other = make_trainer(networks, backends, "imagenet", "Reference<double>", 5);
  CHECK(message_of<ShapeError>([&] { other->restore(state); }).find("expected the parameters of this network with ") ==
        0);
  CHECK_THROWS_AS(make_trainer(networks, backends, "alexnet", "", 5), OptionError);
}

TEST_CASE("the fastest backend is the one that takes least time") {
  const auto parameters = test::random_parameters<SmallImageNet>(1);
  const RandomBatch batch("fastest", 1, 16, 16, 3, 7);
  CHECK(fastest<SmallImageNet, Slow, Reference<float>>(parameters, batch.images())->backend() == "Reference<float>");
  CHECK(fastest<SmallImageNet, Reference<float>, Slow>(parameters, batch.images())->backend() == "Reference<float>");
}

TEST_CASE("a fastest backend is one of those that run") {
  const auto parameters = test::random_parameters<SmallImageNet>(1);
  const RandomBatch batch("fastest", 2, 32, 32, 3, 7);
  const auto quickest = fastest<SmallImageNet, Absent, Reference<double>, Reference<float>>(parameters, batch.images());
  const bool single = quickest->backend() == "Reference<float>";
  CHECK((single || quickest->backend() == "Reference<double>"));
  CHECK(logits_of(*quickest, batch) == (single ? logits_of<SmallImageNet, Reference<float>>(parameters, batch)
                                               : logits_of<SmallImageNet, Reference<double>>(parameters, batch)));
  CHECK(message_of<DeviceError>([&] { fastest<SmallImageNet, Absent>(parameters, batch.images()); }) ==
        "no backend runs on this machine: absent: not on this machine");
}
