/// @file
/// The executors of a type behind the interfaces without templates.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <resnext/nn/any_executors.hpp>
#include <resnext/nn/classifier.hpp>
#include <resnext/nn/trainer.hpp>

namespace resnext::detail {

/// What an executor of `Net` on `B` says of itself.
template <class Any, class Net, InferenceBackend B>
class ExecutorOf : public Any {
 public:
  std::span<const Layer> layers() const override { return Net::layers; }
  std::int64_t parameter_count() const override { return Net::parameters; }
  std::int64_t macs(int h, int w) const override { return Net::macs(h, w); }
  int classes() const override { return Net::classes; }
  int inputs() const override { return Net::inputs; }
  std::string_view backend() const override { return B::name(); }
  std::string libraries() const override {
    if constexpr (requires { B::libraries(); }) return B::libraries();
    return {};
  }
  double peak_gflops() const override {
    if constexpr (requires { B::peak_gflops(); }) return B::peak_gflops();
    return 0;
  }
};

template <class Net, InferenceBackend B>
class ClassifierOf : public ExecutorOf<AnyClassifier, Net, B> {
 public:
  template <NetworkParameters P>
  explicit ClassifierOf(const P& parameters, const ValueFormats& formats = {}) : classify_(parameters, formats) {}

  std::span<const float> operator()(const Images& images) override { return rounded(classify_(images)); }
  std::span<const float> profile(const Images& images, Profile& profile) override {
    return rounded(classify_.profile(images, profile));
  }
  void replace(const StateDict& parameters) override { classify_.replace(Parameters<Net>(parameters)); }

 private:
  std::span<const float> rounded(std::span<const typename B::Master> logits) {
    if constexpr (std::is_same_v<typename B::Master, float>) {
      return logits;
    } else {
      rounded_.assign(logits.begin(), logits.end());
      return rounded_;
    }
  }

  Classifier<Net, B> classify_;
  std::vector<float> rounded_;
};

/// @tparam Held the trainer, or a reference to one that somebody else has
template <class Net, Backend B, class Comm, class Held = Trainer<Net, B, Comm>>
class TrainerOf : public ExecutorOf<AnyTrainer, Net, B> {
 public:
  template <class... Arguments>
  explicit TrainerOf(Arguments&&... arguments) : trainer_(std::forward<Arguments>(arguments)...) {}

  void set_learning_rate(double rate) override { trainer_.set_learning_rate(rate); }
  void step(const Images& images, std::span<const std::int32_t> labels, Profile* profile) override {
    trainer_.step(images, labels, nullptr, profile);
  }
  TrainingMetrics read_metrics() override { return trainer_.read_metrics(); }
  std::optional<std::string> first_not_finite(const Images& images, std::span<const std::int32_t> labels) override {
    return trainer_.first_not_finite(images, labels);
  }
  StateDict parameters() override { return trainer_.parameters(); }
  StateDict ema() override { return trainer_.ema(); }
  TrainerState state() override { return trainer_.state(); }
  void restore(const TrainerState& state) override { trainer_.restore(state); }
  std::unique_ptr<AnyClassifier> classifier() override {
    return std::make_unique<ClassifierOf<Net, B>>(trainer_.ema(), trainer_.options().formats);
  }
  int rank() const override { return trainer_.communicator().rank(); }
  int ranks() const override { return trainer_.communicator().size(); }

 private:
  Held trainer_;
};

}  // namespace resnext::detail
