/// @file
/// The executor that trains.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <resnext/backend/backend.hpp>
#include <resnext/nn/classifier.hpp>
#include <resnext/nn/executors.hpp>
#include <resnext/nn/output_map.hpp>
#include <resnext/nn/parameter_store.hpp>
#include <resnext/nn/parameters.hpp>
#include <resnext/nn/plan/plan_cache.hpp>
#include <resnext/nn/plan/training_plan.hpp>
#include <resnext/nn/trainer_options.hpp>
#include <resnext/nn/trainer_state.hpp>
#include <resnext/nn/training_metrics.hpp>
#include <resnext/nn/value_formats.hpp>
#include <resnext/tensor/number.hpp>

namespace resnext {

namespace detail {

// What Trainer hands over as std::function. As lambdas in it they would put the whole network into symbols, twice.

/// Sums a bucket of gradients over the ranks.
template <class B, class Comm>
struct ReduceBucket {
  Comm& communicator;
  typename B::Stream& stream;
  typename B::Gradient* gradients;

  void operator()(const typename ParameterStore<B>::Bucket& bucket) const {
    communicator.all_reduce(gradients + bucket.offset, static_cast<std::int64_t>(bucket.size), stream);
  }
};
inline constexpr auto ignore_bucket = [](const auto&) {};

inline bool all_finite(std::span<const double> values) {
  return std::all_of(values.begin(), values.end(), [](double x) { return is_finite(x); });
}

/// Remembers the first layer that has a value which is not finite.
struct FirstNotFinite {
  std::optional<std::string>& place;

  void operator()(std::string_view name, Extent, std::span<const double> values) const {
    if (!place && !all_finite(values)) place = "the output of " + std::string(name);
  }
};
struct LastGradientNotFinite {
  std::optional<std::string>& place;

  void operator()(std::string_view name, std::span<const double> values) const {
    if (!all_finite(values)) place = "the gradient of " + std::string(name);
  }
};

inline void check_labels(const Images& images, std::span<const std::int32_t> labels, int classes) {
  if (labels.size() != static_cast<std::size_t>(images.n)) {
    throw_error<ShapeError>("expected one label an image, found ", images.n, " images and ", labels.size(), " labels");
  }
  const auto wrong = std::find_if(labels.begin(), labels.end(), [=](std::int32_t k) { return k < 0 || k >= classes; });
  if (wrong != labels.end()) {
    throw_error<ShapeError>("label ", *wrong, " of image ", wrong - labels.begin(), " is outside the network's ",
                            classes, " classes");
  }
}

}  // namespace detail

/// Trains `Net` on backend `B`, data-parallel over the ranks of `Comm`, each with its own batches and batch statistics.
/// A step only enqueues work: metrics stay in backend memory until they are asked for. One trainer serves one thread.
/// It moves, but has no copies; one that was moved from can only be assigned to or destroyed.
///
/// With weights alone, N ranks equal one rank with N times the batch in ghost batches of a rank's size. Running
/// statistics do not: ghost batches are averaged, a rank has those of its own batches, and rank 0's are the ones that
/// checkpoints keep.
template <class Net, Backend B, class Comm>
class Trainer {
  static_assert(Communicator<Comm, B>,
                "Trainer<Net, B, Comm>: Comm must be a Communicator for this backend, such as Solo");

 public:
  /// Batch extents whose plans are kept.
  static constexpr std::size_t most_plans = 4;
  /// Starts from `parameters`, which must be the same on every rank. There is no learning rate yet.
  /// @throws OptionError for an option that has an impossible value
  explicit Trainer(const Parameters<Net>& parameters, TrainerOptions options = {}, Comm communicator = {})
      : core_(std::make_unique<Core>(parameters, detail::checked(options), std::move(communicator))) {
    start_control();
  }
  /// Does not compile, in one sentence.
  template <class Other>
  explicit Trainer(const Parameters<Other>& parameters, const TrainerOptions& = {}, const Comm& = {})
      : Trainer(Parameters<Net>()) {
    detail::SameNetwork<Net, Other>();
    static_cast<void>(parameters);
  }

  /// The rate of the steps that follow; before the first step there must be one.
  /// @throws OptionError when it is negative, infinite or not a number
  void set_learning_rate(double rate) {
    if (!(rate >= 0 && is_finite(rate)))
      throw_error<OptionError>("trainer: learning rate: expected a finite number from 0, found ", rate);
    upload_rate(rate);
    core_->has_rate = true;
  }

  /// One step on images `[N, H, W, C]` with labels in [0, K). Where gradients overflow at a loss scale above 1 it
  /// changes nothing but the scale, which is halved. From the first step whose loss is infinite or not a number, or
  /// whose gradients are at a scale of 1, on whichever rank, until read_metrics() weights, velocities and running
  /// statistics stay what they are on all ranks, and no more images are counted. Images and labels have been read when
  /// it returns, whatever is still to be done with them.
  /// @throws ShapeError when they do not fit the network or each other, OptionError when no learning rate was set
  /// @param observer sees every unit's output of the forward pass; @param profile gets the time of every unit
  void step(const Images& images, std::span<const std::int32_t> labels, const Observer* observer = nullptr,
            Profile* profile = nullptr) {
    check_rate();
    run(images, labels, Work::step, observer, profile);
  }

  /// The forward pass alone, in train mode: the outputs of any network, in the order of `Net::outputs`, valid until the
  /// next call. For losses of one's own: backward() takes their gradients.
  /// @throws ShapeError when the images do not fit the network
  std::span<const OutputMap<typename B::Master>> forward(const Images& images, const Observer* observer = nullptr) {
    return forward(images.n, {images.h, images.w, images.c}, images.values, observer);
  }
  /// The same of a network that begins at maps, from an output of another one.
  std::span<const OutputMap<typename B::Master>> forward(const OutputMap<typename B::Master>& maps,
                                                         const Observer* observer = nullptr) {
    return forward(maps.n, maps.extent, maps.values, observer);
  }
  /// The backward pass of the last forward() from the gradients of its outputs, which are as large as those. Gradients
  /// add up over any number of such pairs of passes until update(), and so do batch norms' statistics.
  /// @throws Error without a forward() before it, ShapeError for gradients of another size
  void backward(std::span<const std::span<const typename B::Master>> gradients) {
    Core& core = *core_;
    if (core.pending == nullptr) throw_error<Error>("trainer: backward() needs a forward() before it");
    if (gradients.size() != core.outputs.size()) {
      throw_error<ShapeError>("trainer: expected a gradient for each of ", core.outputs.size(), " outputs, found ",
                              gradients.size());
    }
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      if (gradients[i].size() == core.outputs[i].values.size()) continue;
      throw_error<ShapeError>("trainer: gradient of output ", i, ": expected ", core.outputs[i].values.size(),
                              " numbers, found ", gradients[i].size());
    }
    TrainingPlan<B>& plan = *std::exchange(core.pending, nullptr);
    plan.stage_gradients(core.stream, gradients);
    plan.record(core.stream, {Work::backward, core.done}, [&] { plan.backward(core.stream, core.control.data()); });
    core.done += core.outputs[0].n;
    if constexpr (Net::begins_at_map) {
      core.input_gradient.resize(static_cast<std::size_t>(core.outputs[0].n * plan.input().size()));
      plan.download_input_gradient(core.stream, std::span(core.input_gradient));
      const auto scale = static_cast<typename B::Master>(1 / loss_scale());
      for (auto& x : core.input_gradient) x *= scale;
    }
  }
  /// The gradient of the maps that the last backward() led back to, `[N, H, W, C]`; of images there is none.
  std::span<const typename B::Master> input_gradient() const { return core_->input_gradient; }
  /// The step from what backward() has added up, over all ranks. As step() it changes nothing where gradients overflow,
  /// and at a loss scale of 1 not before read_metrics().
  /// @throws OptionError when no learning rate was set, Error without a backward() before it
  void update() {
    check_rate();
    Core& core = *core_;
    if (core.done == 0) throw_error<Error>("trainer: update() needs a backward() before it");
    core.pending = nullptr;
    core.is_current = false;
    const detail::ReduceBucket<B, Comm> reduce{core.communicator, core.stream, core.store.gradients()};
    for (const auto& bucket : core.store.buckets()) reduce(bucket);
    apply(0);
    core.done = 0;
  }

  /// The forward and backward pass of a step without the update; gradients() has the result.
  void compute_gradients(const Images& images, std::span<const std::int32_t> labels, const Observer* observer = nullptr,
                         Profile* profile = nullptr) {
    run(images, labels, Work::gradients, observer, profile);
  }

  /// Where a step on these images first meets what is infinite or not a number, from the forward pass to the end of the
  /// backward pass: "the output of layer1.0.conv2", "the gradient of fc.weight". Nothing when all is finite on this
  /// rank. Gradients are this rank's afterwards: for a run that ends here.
  std::optional<std::string> first_not_finite(const Images& images, std::span<const std::int32_t> labels) {
    std::optional<std::string> place;
    const Observer observer = detail::FirstNotFinite{place};
    run(images, labels, std::nullopt, &observer, nullptr);
    if (place) return place;
    show_gradients(detail::LastGradientNotFinite{place});  // the last one is the first to be made
    return place;
  }

  /// Waits, reads the sums of this rank since the last call, and clears them.
  TrainingMetrics read_metrics() {
    std::array<double, static_cast<std::size_t>(Metric::count)> sums{};
    B::download(core_->stream, core_->metrics.data(), std::span<double>(sums));
    B::clear(core_->stream, core_->metrics.data(), static_cast<std::int64_t>(sums.size()));
    return {sums[0], sums[1], sums[2]};
  }

  /// Waits and copies the learned tensors and running statistics to the host. Valid until the next call; a copy of it,
  /// which costs nothing, stays what it is.
  const Parameters<Net>& parameters() {
    Core& core = *core_;
    if (std::exchange(core.is_current, true)) return core.state;
    core.store.download(core.store.weights(), core.state, core.stream);
    core.store.download_statistics(core.state, core.stream);
    core.state.set_batches_tracked(core.tracked_before + updates());
    return core.state;
  }
  /// Gradients of the last step by name, summed over the ranks and times the loss scale.
  Parameters<Net> gradients() { return copy(core_->store.gradients()); }
  /// Momentum buffers by name.
  Parameters<Net> velocities() { return copy(core_->store.velocities()); }
  /// Waits: what is to be evaluated. The moving average of parameters() where TrainerOptions ask for it, which began as
  /// what the trainer began with; else parameters().
  Parameters<Net> ema() {
    Parameters<Net> host = parameters();
    if (core_->store.averaged()) core_->store.download_averages(host, core_->stream);
    return host;
  }
  /// Waits: all that a run goes on from on this rank, beside its options. Equal states go on with equal bits.
  TrainerState state() {
    TrainerState state{parameters(), {{"velocity", velocities()}}};
    if (core_->store.averaged()) state.optimizer.push_back({"ema", ema(), true});
    const auto now = control();
    const auto count = [&](StepControl which) {
      return static_cast<std::int64_t>(now[static_cast<std::size_t>(which)]);
    };
    state.counters = {now[static_cast<std::size_t>(StepControl::loss_scale)], count(StepControl::good_steps),
                      count(StepControl::step), count(StepControl::skipped)};
    return state;
  }
  /// Shows the gradients as they are now, in the backend's precision: `visit(name, std::span<const
  /// double>)`.
  template <class Visit>
  void show_gradients(Visit&& visit) {
    core_->stream.join();
    core_->store.show(core_->state, core_->store.gradients(), core_->stream, visit);
  }
  /// The same of the weights.
  template <class Visit>
  void show_weights(Visit&& visit) {
    core_->store.show(core_->state, core_->store.weights(), core_->stream, visit);
  }
  /// Goes on from a state that state() gave, of a trainer on any backend. The loss scale is the state's, not that of
  /// the options.
  /// @throws ShapeError when it is another network's, OptionError for a state of another optimiser; nothing has changed
  void restore(const TrainerState& state) {
    Core& core = *core_;
    const Parameters<Net> parameters(state.parameters);
    for (const OptimizerState& kept : state.optimizer) {
      static_cast<void>(Parameters<Net>(kept.tensors));
      if (kept.name == "velocity" || (kept.name == "ema" && core.store.averaged())) continue;
      throw_error<OptionError>("trainer: expected the optimizer's states velocity",
                               core.store.averaged() ? ", ema" : "", ", found ", kept.name,
                               kept.name == "ema" ? ": it was trained with an ema_decay, these options have none" : "");
    }
    if (state.counters && !(state.counters->loss_scale >= 1 && is_finite(state.counters->loss_scale))) {
      throw_error<OptionError>("trainer: expected a state with a finite loss scale from 1, found ",
                               state.counters->loss_scale);
    }
    const OptimizerState* const velocity = state.find("velocity");
    Parameters<Net> none;
    if (velocity == nullptr) std::ranges::fill(none.values(), 0.0f);
    core.stream.join();
    core.state = parameters;
    core.is_current = true;
    core.store.upload_weights(parameters, core.stream);
    core.store.upload_statistics(parameters, core.stream);
    core.store.upload_velocities(velocity == nullptr ? none : velocity->tensors, core.stream);
    core.store.upload_averages(state.ema(), core.stream);
    if (state.counters) upload_counters(*state.counters);
    core.tracked_before = parameters.batches_tracked() - updates();
    core.pending = nullptr;
    core.done = 0;
  }

  /// The plan for batches, or micro-batches, like this one, built if need be.
  TrainingPlan<B>& plan(const Images& images) { return plan(images.n, {images.h, images.w, images.c}); }
  /// Waits, and says what the loss is multiplied by now.
  double loss_scale() { return control()[static_cast<std::size_t>(StepControl::loss_scale)]; }
  /// Waits, and says how many steps were skipped because gradients overflowed at their loss scale.
  std::int64_t skipped_steps() {
    return static_cast<std::int64_t>(control()[static_cast<std::size_t>(StepControl::skipped)]);
  }
  /// Bytes of activations, their gradients and scratch: what the largest plan needs.
  std::size_t activation_bytes() const { return core_->arena.size(); }
  /// As given to the constructor.
  const TrainerOptions& options() const { return core_->options; }
  /// The same.
  const Comm& communicator() const { return core_->communicator; }

 private:
  /// All that plans and transfers under way point to: it stays where it is while the trainer moves.
  struct Core {
    Core(const Parameters<Net>& parameters, const TrainerOptions& chosen, Comm comm)
        : options(chosen),
          communicator(std::move(comm)),
          state(parameters),
          tracked_before(parameters.batches_tracked()),
          store(state, stream, options.bucket_bytes / sizeof(typename B::Gradient), options.sgd.weight_decay,
                options.decay, options.group_of, options.ema_decay > 0),
          update(UpdateOptions{options.sgd.momentum, options.sgd.nesterov, options.clip_norm, options.norm_momentum,
                               options.ema_decay},
                 store.segments(), store.statistics_size()),
          control(static_cast<std::size_t>(StepControl::count)),
          metrics(static_cast<std::size_t>(Metric::count)) {}
    ~Core() {
      try {
        stream.join();  // gradients that are under way must not be freed
      } catch (...) {   // nobody is left who needs them
      }
    }
    Core(const Core&) = delete;
    Core& operator=(const Core&) = delete;

    TrainerOptions options;
    bool has_rate = false;
    Comm communicator;
    typename B::Stream stream;
    Parameters<Net> state;        // names, shapes and the last download
    bool is_current = true;       // there was no step since
    std::int64_t tracked_before;  // batches that the running statistics had seen before the first update
    ParameterStore<B> store;
    typename B::Update update;
    typename B::template Buffer<double> control;
    typename B::template Buffer<double> metrics;
    detail::Arena<B> arena, shares;
    detail::PlanCache<TrainingPlan<B>, most_plans> plans;
    // Of forward() and backward():
    TrainingPlan<B>* pending = nullptr;  // whose values are there
    int done = 0;                        // images since the last update
    std::vector<std::vector<typename B::Master>> results;
    std::vector<OutputMap<typename B::Master>> outputs;
    std::vector<typename B::Master> input_gradient;
  };

  using Ready = typename TrainingPlan<B>::Ready;
  using Work = RecordingName::Work;

  TrainingPlan<B>& plan(int n, Extent image) {
    Core& core = *core_;
    if (auto* plan = core.plans.find(n, image)) return *plan;
    B::finish(core.stream);  // memory may move, and a plan may go
    const TrainerOptions& options = core.options;
    return core.plans.add(B::template training_registry<Net>(), static_cast<const StateDict&>(core.state), Net::outputs,
                          core.store, core.arena, core.shares, n, image,
                          TrainingPlanOptions{options.label_smoothing, options.ghost_batch, options.formats,
                                              options.recompute, Net::begins_at_map});
  }
  template <class Host>
  std::span<const OutputMap<typename B::Master>> forward(int n, Extent image, std::span<const Host> values,
                                                         const Observer* observer) {
    Core& core = *core_;
    core.pending = nullptr;
    core.stream.join();
    TrainingPlan<B>& chosen = plan(n, image);
    chosen.prepare(core.done);
    chosen.stage(core.stream, values);
    if (observer != nullptr) {
      chosen.forward(core.stream, core.done, observer);
    } else {
      chosen.record(core.stream, {Work::forward, core.done}, [&] { chosen.forward(core.stream, core.done); });
    }
    core.results.resize(Net::outputs.size());
    core.outputs.clear();
    for (std::size_t i = 0; i < Net::outputs.size(); ++i) {
      core.results[i].resize(static_cast<std::size_t>(n * chosen.extent(i).size()));
      chosen.result(core.stream, i, std::span(core.results[i]));
      core.outputs.push_back({n, chosen.extent(i), core.results[i]});
    }
    core.pending = &chosen;
    return core.outputs;
  }

  void check_rate() const {
    if (core_->has_rate) return;
    throw_error<OptionError>(
        "trainer: a step needs a learning rate, and none was set: call set_learning_rate() before it");
  }
  /// The update from the gradients of `images` images that metrics know of.
  void apply(int images) {
    auto& stream = core_->stream;
    auto& store = core_->store;
    stream.join();
    B::guard(stream, store.gradients(), static_cast<std::int64_t>(store.size()), std::int64_t{images},
             core_->control.data(), core_->metrics.data());
    core_->update.run(stream, core_->control.data(), store.update_arrays());
  }

  /// Forward and backward passes over a batch, part by part, and in a step the update: recorded, or without
  /// `work` aside, where neither ranks nor metrics notice.
  void run(const Images& images, std::span<const std::int32_t> labels, std::optional<Work> work,
           const Observer* observer, Profile* profile) {
    static_assert(Net::layers.empty() || Net::classes > 0,
                  "Trainer: Net has no Classes<K>; call forward(), backward()");
    detail::check_labels(images, labels, Net::classes);
    const Extent extent{images.h, images.w, images.c};
    Core& core = *core_;
    const int most = core.options.micro_batch == 0 ? images.n : std::min(images.n, core.options.micro_batch);
    // Refuses impossible images before anything is changed.
    TrainingPlan<B>& whole = plan(most, extent);
    detail::check_values(images.values.size(), images.n, extent);
    TrainingPlan<B>& rest = images.n % most == 0 ? whole : plan(images.n % most, extent);
    core.pending = nullptr;  // its memory is used again
    core.done = 0;
    core.stream.join();  // sums of the call before may still be on their way
    if (work == Work::step) core.is_current = false;
    upload_images(images.n);
    typename B::template Buffer<double> lost(work ? 0 : static_cast<std::size_t>(Metric::count));
    const detail::ReduceBucket<B, Comm> reduce{core.communicator, core.stream, core.store.gradients()};
    const Ready keep = detail::ignore_bucket, ready = work ? Ready(std::ref(reduce)) : keep;
    const auto each = static_cast<std::size_t>(extent.size());
    for (int done = 0; done < images.n; done += most) {
      const int n = std::min(most, images.n - done);
      const auto first = static_cast<std::size_t>(done), some = static_cast<std::size_t>(n);
      TrainingPlan<B>& part = n == most ? whole : rest;
      part.prepare(done);
      part.stage(core.stream, images.values.subspan(first * each, some * each));
      part.stage_labels(core.stream, labels.subspan(first, some));
      const bool last = done + n == images.n;
      const auto pass = [&] {
        part.run(core.stream, core.control.data(), work ? core.metrics.data() : lost.data(), done, last ? ready : keep,
                 observer, n == most ? profile : nullptr);
        if (last && work == Work::step) apply(images.n);
      };
      if (!work || observer != nullptr || profile != nullptr) {
        pass();
      } else {
        part.record(core.stream, {*work, done, last}, pass);
      }
    }
    if (!work) B::finish(core.stream);  // `lost` goes
  }

  /// Steps that have changed anything.
  std::int64_t updates() {
    const auto now = control();
    return static_cast<std::int64_t>(now[static_cast<std::size_t>(StepControl::step)] -
                                     now[static_cast<std::size_t>(StepControl::skipped)]);
  }
  void upload_images(int images) {
    const double count = images;
    B::upload(core_->stream, std::span<const double>(&count, 1),
              core_->control.data() + static_cast<int>(StepControl::images));
  }
  void upload_counters(const StepCounters& counters) {
    const auto put = [this](StepControl which, double value) {
      B::upload(core_->stream, std::span<const double>(&value, 1), core_->control.data() + static_cast<int>(which));
    };
    put(StepControl::loss_scale, counters.loss_scale);
    put(StepControl::good_steps, static_cast<double>(counters.good_steps));
    put(StepControl::step, static_cast<double>(counters.steps));
    put(StepControl::skipped, static_cast<double>(counters.skipped));
  }
  void upload_rate(double rate) { B::upload(core_->stream, std::span<const double>(&rate, 1), core_->control.data()); }
  /// `StepControl` from the first step on.
  void start_control() {
    const TrainerOptions& options = core_->options;
    std::array<double, static_cast<std::size_t>(StepControl::count)> start{};
    start[static_cast<std::size_t>(StepControl::ranks)] = core_->communicator.size();
    start[static_cast<std::size_t>(StepControl::growth_interval)] = options.scale_growth;
    start[static_cast<std::size_t>(StepControl::loss_scale)] = options.loss_scale;
    B::upload(core_->stream, std::span<const double>(start), core_->control.data());
  }
  std::array<double, static_cast<std::size_t>(StepControl::count)> control() {
    std::array<double, static_cast<std::size_t>(StepControl::count)> now{};
    core_->stream.join();
    B::download(core_->stream, core_->control.data(), std::span<double>(now));
    return now;
  }

  template <class Number>
  Parameters<Net> copy(const Number* flat) {
    Parameters<Net> host;
    for (const StateDict::Slot& slot : host.tensors()) {  // what is frozen has none
      if (slot.entry.learned()) std::ranges::fill(host[slot], 0.0f);
    }
    core_->stream.join();
    core_->store.download(flat, host, core_->stream);
    return host;
  }

  std::unique_ptr<Core> core_;
};

}  // namespace resnext
