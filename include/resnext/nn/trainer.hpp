/// @file
/// The executor that trains.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <resnext/backend/operators.hpp>
#include <resnext/nn/classifier.hpp>
#include <resnext/nn/executors.hpp>
#include <resnext/nn/parameter_store.hpp>
#include <resnext/nn/parameters.hpp>
#include <resnext/nn/training_plan.hpp>

namespace resnext {

/// What stays the same through a training run. The defaults are the paper's, but for Nesterov's momentum, which its
/// code uses and its text does not mention.
struct TrainerOptions {
  SgdOptions sgd{};            ///< momentum and weight decay
  Decay decay = Decay::all;    ///< what the decay applies to
  double label_smoothing = 0;  ///< 0 for one-hot targets; 0.1 in later recipes
  int ghost_batch = 0;         ///< images that share batch statistics; 0 for the whole batch. The paper has 32 a GPU
  double loss_scale = 1;       ///< for backends with 16-bit gradients
  std::size_t bucket_bytes = std::size_t{25} << 20;  ///< gradients that are communicated at once
};

/// Sums since they were last read.
struct TrainingMetrics {
  double loss = 0;     ///< sum over images of the cross-entropy
  double correct = 0;  ///< images whose label had the largest logit
  double images = 0;   ///< how many

  /// Of an image; 0 without images.
  double mean_loss() const { return images > 0 ? loss / images : 0; }
  /// The share of correct images; 0 without images.
  double accuracy() const { return images > 0 ? correct / images : 0; }
};

namespace detail {

// What Trainer hands over as std::function. As lambdas in it they would put the whole network into symbols, twice.

/// Sums a bucket of gradients over the ranks.
template <class B, class Comm>
struct ReduceBucket {
  Comm& communicator;
  typename B::Stream& stream;
  typename B::Scalar* gradients;

  void operator()(const typename ParameterStore<B>::Bucket& bucket) const {
    communicator.all_reduce(gradients + bucket.offset, static_cast<std::int64_t>(bucket.size), stream);
  }
};
inline constexpr auto ignore_bucket = [](const auto&) {};

/// Remembers the first layer that has a value which is not finite.
struct FirstNotFinite {
  std::optional<std::string>& layer;

  void operator()(std::string_view name, Extent, std::span<const double> values) const {
    if (!layer && !std::all_of(values.begin(), values.end(), [](double x) { return std::isfinite(x); })) layer = name;
  }
};

inline void check_labels(const Images& images, std::span<const std::int32_t> labels, int classes) {
  if (labels.size() != static_cast<std::size_t>(images.n)) {
    fail<ShapeError>("expected one label an image, found ", images.n, " images and ", labels.size(), " labels");
  }
  const auto wrong = std::find_if(labels.begin(), labels.end(), [=](std::int32_t k) { return k < 0 || k >= classes; });
  if (wrong != labels.end()) {
    fail<ShapeError>("label ", *wrong, " of image ", wrong - labels.begin(), " is outside the network's ", classes,
                     " classes");
  }
}

}  // namespace detail

/// Trains `Net` on backend `B`, data-parallel over the ranks of `Comm`, each with its own batches and batch statistics.
/// A step only enqueues work: metrics stay in backend memory until they are asked for. One trainer serves one thread.
template <class Net, Backend B, class Comm>
class Trainer {
  static_assert(Communicator<Comm, B>,
                "Trainer<Net, B, Comm>: Comm must be a Communicator for this backend, such as Solo");

 public:
  /// Batch extents whose plans are kept.
  static constexpr std::size_t most_plans = 2;
  using Scalar = typename B::Scalar;  ///< of the backend

  /// Starts from `parameters`, which must be the same on every rank. The learning rate starts at 0.
  explicit Trainer(const Parameters<Net>& parameters, TrainerOptions options = {}, Comm communicator = {})
      : options_(options),
        communicator_(std::move(communicator)),
        state_(parameters),
        store_(state_, stream_, options.decay, std::max<std::size_t>(1, options.bucket_bytes / sizeof(Scalar))),
        hyper_(static_cast<std::size_t>(Hyper::count)),
        metrics_(static_cast<std::size_t>(Metric::count)) {
    set_learning_rate(0);
  }
  /// Does not compile, in one sentence.
  template <class Other>
  explicit Trainer(const Parameters<Other>& parameters, TrainerOptions = {}, Comm = {}) : Trainer(Parameters<Net>()) {
    detail::SameNetwork<Net, Other>();
    static_cast<void>(parameters);
  }

  /// The rate of the steps that follow.
  void set_learning_rate(double rate) {
    const std::array<double, static_cast<std::size_t>(Hyper::count)> hyper{
        rate, options_.loss_scale, 1 / (options_.loss_scale * communicator_.size())};
    B::upload(stream_, std::span<const double>(hyper), hyper_.data());
  }

  /// One step on images `[N, H, W, C]` with labels in [0, K). From the first batch whose loss is infinite or not a
  /// number until read_metrics() the weights stay what they are, and no more images are counted.
  /// @throws ShapeError when they do not fit the network or each other
  /// @param observer sees every unit's output of the forward pass; @param profile gets the time of every unit
  void step(const Images& images, std::span<const std::int32_t> labels, const Observer* observer = nullptr,
            Profile* profile = nullptr) {
    compute_gradients(images, labels, observer, profile);
    stream_.join();
    for (const auto& segment : store_.segments()) {
      SgdOptions sgd = options_.sgd;
      if (!segment.decayed) sgd.weight_decay = 0;
      B::sgd(stream_, sgd, hyper_.data(), metrics_.data(), static_cast<std::int64_t>(segment.size),
             store_.weights() + segment.offset, store_.gradients() + segment.offset,
             store_.velocities() + segment.offset);
    }
  }

  /// The forward and backward pass of a step without the update; gradients() has the result.
  void compute_gradients(const Images& images, std::span<const std::int32_t> labels, const Observer* observer = nullptr,
                         Profile* profile = nullptr) {
    detail::check_labels(images, labels, Net::classes);
    const detail::ReduceBucket<B, Comm> reduce{communicator_, stream_, store_.gradients()};
    plan(images).run(stream_, images, labels, hyper_.data(), metrics_.data(), std::ref(reduce), observer, profile);
    state_.set_batches_tracked(state_.batches_tracked() + 1);
  }

  /// The first layer of the forward pass whose output for these images is infinite or not a number; nothing when all
  /// are finite. It leaves its marks in the running statistics and on this rank only: for a run that ends here.
  std::optional<std::string> first_not_finite(const Images& images, std::span<const std::int32_t> labels) {
    std::optional<std::string> layer;
    const Observer observer = detail::FirstNotFinite{layer};
    plan(images).run(stream_, images, labels, hyper_.data(), metrics_.data(), detail::ignore_bucket, &observer);
    return layer;
  }

  /// Waits, reads the sums of this rank since the last call, and clears them.
  TrainingMetrics read_metrics() {
    std::array<double, static_cast<std::size_t>(Metric::count)> sums{};
    B::download(stream_, metrics_.data(), std::span(sums));
    B::clear(stream_, metrics_.data(), static_cast<std::int64_t>(sums.size()));
    return {sums[0], sums[1], sums[2]};
  }

  /// Waits and copies the learned tensors and running statistics to the host. Valid until the next call.
  const Parameters<Net>& parameters() {
    store_.download(store_.weights(), state_, stream_);
    store_.download_statistics(state_, stream_);
    return state_;
  }
  /// Gradients of the last step by name, summed over the ranks and times the loss scale.
  Parameters<Net> gradients() { return copy(store_.gradients()); }
  /// Momentum buffers by name: with parameters(), all that a run's state consists of on this rank.
  Parameters<Net> velocities() { return copy(store_.velocities()); }
  /// Shows the gradients as they are now, in the backend's precision: `visit(name, std::span<const
  /// double>)`.
  template <class Visit>
  void show_gradients(Visit&& visit) {
    stream_.join();
    store_.show(state_, store_.gradients(), stream_, visit);
  }
  /// The same of the weights.
  template <class Visit>
  void show_weights(Visit&& visit) {
    store_.show(state_, store_.weights(), stream_, visit);
  }
  /// Goes on from a state that parameters() and velocities() gave.
  void restore(const Parameters<Net>& parameters, const Parameters<Net>& velocities) {
    state_ = parameters;
    store_.upload(parameters, store_.weights(), stream_);
    store_.upload_statistics(parameters, stream_);
    store_.upload(velocities, store_.velocities(), stream_);
  }

  /// The plan for batches like this one, built if need be.
  TrainingPlan<B>& plan(const Images& images) {
    for (auto at = plans_.begin(); at != plans_.end(); ++at) {
      if (!at->fits(images)) continue;
      plans_.splice(plans_.begin(), plans_, at);
      return plans_.front();
    }
    if (plans_.size() == most_plans) plans_.pop_back();
    plans_.emplace_front(B::template training_registry<Net>(), static_cast<const StateDict&>(state_), store_, images.n,
                         Extent{images.h, images.w, images.c}, options_.label_smoothing, options_.ghost_batch);
    return plans_.front();
  }
  /// As given to the constructor.
  const Comm& communicator() const { return communicator_; }

 private:
  Parameters<Net> copy(const Scalar* flat) {
    Parameters<Net> host;
    stream_.join();
    store_.download(flat, host, stream_);
    return host;
  }

  TrainerOptions options_;
  Comm communicator_;
  typename B::Stream stream_;
  Parameters<Net> state_;  // names, shapes and the last download
  ParameterStore<B> store_;
  typename B::template Buffer<Scalar> hyper_;
  typename B::template Buffer<double> metrics_;
  std::list<TrainingPlan<B>> plans_;  // most recently used first
};

}  // namespace resnext
