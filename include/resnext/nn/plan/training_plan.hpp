/// @file
/// A network made ready for training steps on batches of one extent on one backend.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <utility>
#include <variant>
#include <vector>

#include <resnext/backend/backend.hpp>
#include <resnext/nn/parameter_store.hpp>
#include <resnext/nn/plan/arena.hpp>
#include <resnext/nn/plan/fusion.hpp>
#include <resnext/nn/plan/inference_plan.hpp>
#include <resnext/nn/plan/schedule.hpp>
#include <resnext/nn/value_formats.hpp>
#include <resnext/tensor/memory_plan.hpp>
#include <resnext/tensor/number_format.hpp>
#include <resnext/tensor/typed_pointer.hpp>

namespace resnext {

/// What a plan for training steps is made for.
struct TrainingPlanOptions {
  double label_smoothing = 0;   ///< 0 for one-hot targets
  int ghost_batch = 0;          ///< images that share batch statistics, the last ones may be fewer; 0 for all
  ValueFormats formats{};       ///< how the values are stored, as `Scalar` or as `Master`
  bool recompute = false;       ///< forget the inside of blocks, and compute it again: less memory, more time
  bool input_gradient = false;  ///< what the network begins at has a gradient
};

/// What a recording of a plan's work depends on beside the plan.
struct RecordingName {
  /// Parts of a step.
  enum class Work : std::uint8_t { step, gradients, forward, backward };

  Work work = Work::step;  ///< which of them
  int done = 0;            ///< images of the same step that were run before
  bool last = false;       ///< the last ones
  friend bool operator==(const RecordingName&, const RecordingName&) = default;
};

/// Operators, memory and order of a forward and a backward pass. Running allocates nothing and reads no host scalar.
template <Backend B>
class TrainingPlan {
 public:
  using Scalar = typename B::Scalar;      ///< of maps, their gradients, and weights as operators read them
  using Master = typename B::Master;      ///< of logits and of what is learned
  using Gradient = typename B::Gradient;  ///< of the gradients of what is learned
  using Store = ParameterStore<B>;        ///< where the learned tensors live

  /// @param state gives names and shapes; the numbers live in `store`
  /// @param outputs the values that are wanted, as `outputs` of a network
  /// @param arena the memory to calculate in; @param shares the same for gradients that are to be added to others. All
  /// outlive the plan.
  /// @throws ShapeError when n images of that extent do not fit, or a batch norm would see one value a channel;
  /// OptionError for impossible formats
  TrainingPlan(const typename B::Registry& registry, const StateDict& state, std::span<const int> outputs, Store& store,
               detail::Arena<B>& arena, detail::Arena<B>& shares, int n, Extent image,
               const TrainingPlanOptions& options = {})
      : layers_(state.layers()),
        outputs_(outputs),
        store_(&store),
        arena_(&arena),
        shares_(&shares),
        n_(n),
        ghost_batch_(options.ghost_batch),
        extents_(detail::checked_extents(layers_, n, image)),
        formats_(detail::all_formats<B>(layers_, options.formats)),
        units_(fuse(layers_, Fusion::training, outputs)),
        needs_(extents_.size()) {
    check_types();
    find_trained(state, options.input_gradient);
    events_ = schedule(units_, options.recompute, trained_);
    if (is_logits(outputs[0])) loss_.emplace(LossShape{n, row(outputs[0] - 1).out, options.label_smoothing});
    build(registry, state);
    measure_shares();
    place_forward();
    place_backward();
    allocate();
  }

  /// Takes operators over; there are no copies.
  TrainingPlan(TrainingPlan&&) noexcept = default;
  /// The same.
  TrainingPlan& operator=(TrainingPlan&&) noexcept = default;

  /// True for a batch of the plan's extents.
  bool fits(int n, Extent image) const { return n == n_ && image == extents_[0]; }

  /// Called with each bucket of gradients as soon as it is complete.
  using Ready = std::function<void(const typename Store::Bucket&)>;

  /// What is copied from the host before a forward pass: images, or the maps that the network begins at.
  template <class Host>
  void stage(typename B::Stream& stream, std::span<const Host> images) {
    detail::check_values(images.size(), n_, extents_[0]);
    memory_ = arena_->reserve(scratch_offset_ + scratch_);
    B::upload_map(stream, images, map_of(0), value(0));
  }
  /// And before a loss.
  void stage_labels(typename B::Stream& stream, std::span<const std::int32_t> labels) {
    B::upload(stream, labels, at<std::int32_t>(labels_));
  }
  /// And before a backward pass: gradients of the outputs, as result() has them.
  void stage_gradients(typename B::Stream& stream, std::span<const std::span<const Master>> gradients) {
    for (std::size_t i = 0; i < outputs_.size(); ++i) {
      const TypedPointer to = gradient(output_gradients_[i], outputs_[i]);
      if (is_logits(outputs_[i])) {
        B::upload(stream, gradients[i], static_cast<Master*>(to));
      } else {
        B::upload_map(stream, gradients[i], map_of(outputs_[i]), to);
      }
    }
  }

  /// Does `work`, which is made of the passes below, or repeats what it enqueued the last time that it was done under
  /// this name.
  /// @param name whatever `work` depends on, but for the memory that is staged
  template <class Work>
  void record(typename B::Stream& stream, const RecordingName& name, const Work& work) {
    const std::pair<int, int> versions(arena_->version(), shares_->version());
    if (std::exchange(versions_, versions) != versions) recordings_.clear();
    auto found = std::find_if(recordings_.begin(), recordings_.end(), [&](const auto& r) { return r.first == name; });
    if (found == recordings_.end()) {
      if (recordings_.size() == most_recordings) recordings_.erase(recordings_.begin());
      found = recordings_.emplace(recordings_.end(), name, typename B::Recording());
    }
    B::record(stream, found->second, work);
  }

  /// Forward pass, loss, backward pass of a network that ends in logits. Afterwards the store's gradients are those of
  /// the losses' sum over the images of `StepControl`, times the loss scale.
  /// @param control the `StepControl` numbers, in backend memory
  /// @param metrics the `Metric` sums, in backend memory, added to
  /// @param done images of the same step that were run before: gradients are added to theirs, and batch norms'
  /// statistics are averaged with theirs
  void run(typename B::Stream& stream, const double* control, double* metrics, int done, const Ready& ready,
           const Observer* observer = nullptr, Profile* profile = nullptr) {
    forward(stream, done, observer, profile);
    loss_->run(stream, static_cast<const Master*>(value(outputs_[0])), at<std::int32_t>(labels_), control,
               at<Master>(output_gradients_[0]), metrics);
    run_backward(stream, ready, profile);
  }

  /// Makes room for a run after `done` images of the same step. Before record().
  void prepare(int done) {
    adds_ = done > 0;
    if (adds_ || dumps_) shares_->reserve(share_size_);
  }
  /// The forward pass, after which result() has the outputs; backward() may follow.
  void forward(typename B::Stream& stream, int done, const Observer* observer = nullptr, Profile* profile = nullptr) {
    if (profile != nullptr) profile->start();
    for (const TrainingEvent& event : events_) {
      if (event.pass == TrainingPass::loss) break;
      run_event(stream, event, observer, profile);
    }
    if (adds_) average_statistics(stream, done);
  }
  /// An output of the forward pass, before anything else is run. Waits.
  void result(typename B::Stream& stream, std::size_t output, std::span<Master> to) {
    download(stream, outputs_[output], to);
  }
  /// The extent of what comes in.
  Extent input() const { return extents_[0]; }
  /// That of an output; of logits 1 x 1 x K.
  Extent extent(std::size_t output) const { return extents_[static_cast<std::size_t>(outputs_[output])]; }

  /// The backward pass from gradients that were staged, which are multiplied by the loss scale.
  void backward(typename B::Stream& stream, const double* control) {
    for (std::size_t i = 0; i < outputs_.size(); ++i) {
      B::scale(stream, control + static_cast<int>(StepControl::loss_scale), gradient(output_gradients_[i], outputs_[i]),
               size_in_numbers(outputs_[i]));
    }
    run_backward(
        stream, [](const auto&) {}, nullptr);
  }
  /// The gradient of what the network begins at, times the loss scale, after a backward pass. Waits.
  void download_input_gradient(typename B::Stream& stream, std::span<Master> to) {
    B::download_map(stream, ConstTypedPointer(gradient(input_contributions_[0], 0)), map_of(0), to);
  }

  /// In the order in which they run.
  std::span<const TrainingEvent> events() const { return events_; }
  /// In the order of the forward pass.
  std::span<const Unit> units() const { return units_; }
  /// What the backend chose for a unit.
  std::string_view implementation(std::size_t unit) const {
    const auto* convolution = std::get_if<typename B::Convolution>(&steps_[unit].op);
    return convolution == nullptr ? unit_name(units_[unit]) : std::string_view(convolution->implementation());
  }
  /// Bytes of activations, gradients of activations and scratch.
  std::size_t activation_bytes() const { return scratch_offset_ + scratch_; }

 private:
  /// A batch norm with fixed statistics, made of other operators.
  class FrozenNorm {
   public:
    FrozenNorm(const MapShape& shape, bool add, bool relu)
        : add_(add),
          relu_(relu),
          norm_(shape, relu && !add),
          scale_(with_formats(shape, shape.formats.y, {}, shape.formats.x), false),
          after_(with_formats(shape, shape.formats.y, shape.formats.other, shape.formats.y), add, relu) {}

    void forward(typename B::Stream& stream, ConstTypedPointer x, ConstTypedPointer other,
                 const typename Store::FrozenNorm& norm, TypedPointer y) {
      norm_.run(stream, x, norm.scale, norm.shift, y);
      if (add_) after_.forward(stream, ConstTypedPointer(y), other, y);
    }
    /// dy becomes what the ReLU lets pass; dother and, where nothing was added, dx may be dy.
    void backward(typename B::Stream& stream, ConstTypedPointer y, TypedPointer dy,
                  const typename Store::FrozenNorm& norm, TypedPointer dx, TypedPointer dother) {
      if (relu_) after_.backward(stream, y, ConstTypedPointer(dy), dy);
      if (dother && dother.data() != dy.data()) after_.backward(stream, y, ConstTypedPointer(dy), dother);
      if (dx) scale_.run(stream, ConstTypedPointer(dy), norm.scale, norm.zeros, dx);
    }

   private:
    using Format = std::optional<NumberFormat>;

    static MapShape with_formats(MapShape shape, const Format& x, const Format& other, const Format& y) {
      shape.formats = {x, other, y};
      return shape;
    }

    bool add_, relu_;
    typename B::ScaleShift norm_, scale_;
    typename B::Pointwise after_;
  };
  using Operator = std::variant<typename B::Convolution, typename B::BatchNorm, typename B::Pointwise,
                                typename B::MaxPool, typename B::AveragePool, typename B::Linear, FrozenNorm>;
  static constexpr std::size_t none = static_cast<std::size_t>(-1);
  static constexpr std::size_t most_recordings = 16;

  /// A unit's operator and where its numbers are. Intervals become arena offsets in allocate().
  struct Step {
    explicit Step(Operator chosen) : op(std::move(chosen)) {}

    Operator op;
    std::size_t weight = none, bias = none;  // in the store's flat arrays
    std::size_t weight_size = 0, bias_size = 0;
    bool weight_frozen = false, bias_frozen = false;
    typename Store::FrozenNorm frozen_norm = {};
    std::size_t mean = none, variance = none;  // in the store's statistics
    std::size_t kept = none;                   // interval: packed weights, saved statistics
    std::size_t kept_indices = none;           // interval: max pool
    std::vector<std::size_t> dy;               // intervals: what readers of the output contributed to its gradient
    std::size_t dx = none, dother = none;      // intervals
  };

  /// When a unit's pass is, or -1.
  int time_of(TrainingPass pass, int unit) const {
    const auto found = std::find_if(events_.begin(), events_.end(),
                                    [&](const TrainingEvent& e) { return e.pass == pass && e.unit == unit; });
    return found == events_.end() ? -1 : static_cast<int>(found - events_.begin());
  }
  const Layer& row(int index) const { return layers_[static_cast<std::size_t>(index)]; }
  MapShape map_of(int index) const {
    const auto [h, w, c] = extents_[static_cast<std::size_t>(index)];
    return {n_, h, w, c, {.x = NumberFormat{type_of(index)}}};
  }
  Dtype type_of(int index) const { return formats_[static_cast<std::size_t>(index)].type; }
  std::size_t count_of(int index) const { return static_cast<std::size_t>(map_of(index).size()); }
  bool is_logits(int index) const { return index > 0 && row(index - 1).op == LayerOp::linear; }
  std::int64_t size_in_numbers(int index) const {
    return is_logits(index) ? map_of(index).size() : static_cast<std::int64_t>(B::map_size(map_of(index)));
  }
  /// Bytes of a value, and of its gradient.
  std::size_t size_of(int index) const {
    return static_cast<std::size_t>(size_in_numbers(index)) * dtype_size(type_of(index));
  }
  template <class Number>
  Number* at(std::size_t interval) {
    return interval == none ? nullptr : reinterpret_cast<Number*>(memory_ + intervals_[interval].offset);
  }
  /// A value as the forward pass left it or, from the backward pass of its block on, as it was computed again.
  TypedPointer value(int index) {
    if (index < 0) return nullptr;
    const std::size_t second = second_value_[static_cast<std::size_t>(index)];
    const bool again = again_ && second != none;
    return {at<std::byte>(again ? second : value_[static_cast<std::size_t>(index)]), type_of(index)};
  }
  /// An interval that holds a gradient of the value.
  TypedPointer gradient(std::size_t interval, int index) {
    if (interval == none) return nullptr;
    return {at<std::byte>(interval), type_of(index)};
  }
  /// Weights in the type of what their operator reads.
  ConstTypedPointer operand(const Unit& unit, std::size_t offset) {
    if (type_of(unit.input) == dtype_of<Scalar>) return store_->operands() + offset;
    return store_->weights() + offset;
  }

  /// A layer's weights are there as they are learned, and as `Scalar`.
  void check_types() const {
    for (int index = 0; index < static_cast<int>(formats_.size()); ++index) {
      if (type_of(index) == dtype_of<Scalar> || type_of(index) == dtype_of<Master>) continue;
      throw_error<OptionError>(detail::value_name(layers_, index), ": expected ", dtype_name(dtype_of<Scalar>), " or ",
                               dtype_name(dtype_of<Master>), " for training on ", B::name(), ", found ",
                               dtype_name(type_of(index)));
    }
  }
  std::size_t add_interval(std::size_t size, int first, int last) {
    intervals_.push_back({size, first, last, 0});
    return intervals_.size() - 1;
  }

  /// Which values need a gradient, and so which units a backward pass: those that have something to learn, and those
  /// behind them.
  void find_trained(const StateDict& state, bool input_gradient) {
    needs_[0] = input_gradient;
    for (const Unit& unit : units_) {
      bool learns = false;
      for (const TensorRole role : {TensorRole::weight, TensorRole::bias}) {
        const bool there = state.slot_of(unit.row, role) != nullptr;
        learns |= there && !store_->is_frozen(state, unit.row, role);
      }
      const bool passes = needs(unit.input) || (unit.other >= 0 && needs(unit.other));
      trained_.push_back(learns || passes);
      needs_[static_cast<std::size_t>(unit.output)] = trained_.back();
    }
  }
  bool needs(int index) const { return needs_[static_cast<std::size_t>(index)]; }

  void build(const typename B::Registry& registry, const StateDict& state) {
    for (const Unit& unit : units_) {
      const Layer& layer = row(unit.row);
      const Extent in = extents_[static_cast<std::size_t>(unit.input)];
      const MapFormats formats = detail::unit_formats(unit, formats_);
      const MapShape map{n_, in.h, in.w, in.c, formats};
      const auto place = [&](TensorRole role) { return store_->place(state, unit.row, role); };
      const auto place_learned = [&](Step& step, bool bias) {
        const auto size = [&](TensorRole role) { return store_->tensor_size(state, unit.row, role); };
        step.weight = place(TensorRole::weight);
        step.weight_size = size(TensorRole::weight);
        step.weight_frozen = store_->is_frozen(state, unit.row, TensorRole::weight);
        if (!bias) return;
        step.bias = place(TensorRole::bias);
        step.bias_size = size(TensorRole::bias);
        step.bias_frozen = store_->is_frozen(state, unit.row, TensorRole::bias);
      };
      switch (unit.kind) {
        case UnitKind::convolution: {
          Step step(typename B::Convolution(detail::convolution_shape(layer, n_, in, formats), registry, layer.name));
          const auto& op = std::get<typename B::Convolution>(step.op);
          place_learned(step, false);
          step.kept = op.packed_size();
          scratch_ = std::max(scratch_, static_cast<std::size_t>(op.scratch_size()));
          steps_.push_back(std::move(step));
          break;
        }
        case UnitKind::batch_norm: {
          if (store_->is_frozen(state, unit.row, TensorRole::running_var)) {
            Step step(FrozenNorm(map, unit.other >= 0, unit.relu));
            step.frozen_norm = store_->frozen_norm(unit.row);
            steps_.push_back(std::move(step));
            break;
          }
          NormOptions options;
          options.add = unit.other >= 0;
          options.relu = unit.relu;
          options.ghost_batch = ghost_batch_;
          Step step(typename B::BatchNorm(map, options, layer.name));
          const auto& op = std::get<typename B::BatchNorm>(step.op);
          place_learned(step, true);
          step.mean = place(TensorRole::running_mean);
          step.variance = place(TensorRole::running_var);
          step.kept = op.saved_size();
          scratch_ = std::max(scratch_, static_cast<std::size_t>(op.scratch_size()));
          steps_.push_back(std::move(step));
          break;
        }
        case UnitKind::pointwise:
          steps_.push_back(Step(typename B::Pointwise(map, unit.other >= 0, unit.relu)));
          break;
        case UnitKind::max_pool: {
          const PoolShape shape{n_, in.h, in.w, in.c, layer.kernel, layer.stride, layer.padding, formats};
          steps_.push_back(Step(typename B::MaxPool(shape, layer.name)));
          steps_.back().kept_indices = static_cast<std::size_t>(shape.output_size());
          break;
        }
        case UnitKind::average_pool:
          steps_.push_back(Step(typename B::AveragePool(map)));
          break;
        case UnitKind::linear: {
          Step step(typename B::Linear(LinearShape{n_, layer.in, layer.out, formats}, layer.name));
          place_learned(step, true);
          scratch_ = std::max(scratch_, static_cast<std::size_t>(std::get<typename B::Linear>(step.op).scratch_size()));
          steps_.push_back(std::move(step));
          break;
        }
      }
    }
  }

  /// Where a unit's share of the gradients is while others are summed up already: a gradient of a tensor is as large as
  /// the tensor's place in the store.
  void measure_shares() {
    const auto most = [&](std::size_t Step::*numbers) {
      std::size_t count = 0;
      for (const Step& step : steps_) count = std::max(count, step.*numbers);
      return (count * sizeof(Gradient) + B::alignment - 1) / B::alignment * B::alignment;
    };
    bias_share_ = most(&Step::weight_size);
    share_size_ = bias_share_ + most(&Step::bias_size);
    // what an operator makes with the others of its gradients, but nobody wants
    dumps_ = std::any_of(steps_.begin(), steps_.end(),
                         [](const Step& s) { return s.bias != none && (s.weight_frozen || s.bias_frozen); });
  }

  /// Values live from their unit to their last reader, the backward pass included. One that is computed again has two
  /// lives, the second from there on.
  void place_forward() {
    value_.assign(extents_.size(), none);
    second_value_.assign(extents_.size(), none);
    value_[0] = add_interval(size_of(0), 0, 0);
    const auto touch = [&](std::vector<std::size_t>& intervals, int index, int time) {
      MemoryInterval& interval = intervals_[intervals[static_cast<std::size_t>(index)]];
      interval.last = std::max(interval.last, time);
    };
    const auto touch_latest = [&](int index, int time) {
      touch(second_value_[static_cast<std::size_t>(index)] != none ? second_value_ : value_, index, time);
    };
    for (int time = 0; time < static_cast<int>(events_.size()); ++time) {
      const auto [pass, i] = events_[static_cast<std::size_t>(time)];
      const Unit& unit = units_[static_cast<std::size_t>(i)];
      Step& step = steps_[static_cast<std::size_t>(i)];
      switch (pass) {
        case TrainingPass::forward:
          value_[static_cast<std::size_t>(unit.output)] = add_interval(size_of(unit.output), time, time);
          touch(value_, unit.input, time);
          if (unit.other >= 0) touch(value_, unit.other, time);
          for (std::size_t* kept : {&step.kept, &step.kept_indices}) {  // from bytes to intervals
            if (*kept != none) *kept = add_interval(*kept, time, std::max(time, time_of(TrainingPass::backward, i)));
          }
          break;
        case TrainingPass::recompute:
          second_value_[static_cast<std::size_t>(unit.output)] = add_interval(size_of(unit.output), time, time);
          touch_latest(unit.input, time);
          if (unit.other >= 0) touch_latest(unit.other, time);
          break;
        case TrainingPass::loss:
          for (const int output : outputs_) touch(value_, output, time);
          labels_ = add_interval(static_cast<std::size_t>(n_) * sizeof(std::int32_t), 0, time);
          break;
        case TrainingPass::backward:
          if (unit.kind == UnitKind::convolution || unit.kind == UnitKind::batch_norm ||
              unit.kind == UnitKind::linear) {
            touch_latest(unit.input, time);
          }
          if (unit.relu) touch_latest(unit.output, time);
          break;
      }
    }
  }

  /// Gradients live from the reader that contributes them to the unit that uses them up. A value that is read twice
  /// gets two contributions; they are added by the unit that uses them.
  void place_backward() {
    std::vector<std::vector<std::size_t>> contributions(extents_.size());
    const auto contribute = [&](int index, std::size_t interval) {
      if (needs(index)) contributions[static_cast<std::size_t>(index)].push_back(interval);
    };
    const auto fresh = [&](int index, int time) {
      const std::size_t interval = add_interval(size_of(index), time, time);
      contribute(index, interval);
      return interval;
    };
    // The gradient of `index` in the memory of that of the unit's output, if they are of one type.
    const auto in_place_of_dy = [&](const Step& step, const Unit& unit, int index, int time) {
      if (type_of(index) != type_of(unit.output)) return fresh(index, time);
      contribute(index, step.dy[0]);
      return step.dy[0];
    };
    const int loss = time_of(TrainingPass::loss, static_cast<int>(units_.size()) - 1);
    for (const int output : outputs_) output_gradients_.push_back(fresh(output, loss));
    for (int time = 0; time < static_cast<int>(events_.size()); ++time) {
      const auto [pass, i] = events_[static_cast<std::size_t>(time)];
      if (pass != TrainingPass::backward) continue;
      const Unit& unit = units_[static_cast<std::size_t>(i)];
      Step& step = steps_[static_cast<std::size_t>(i)];
      step.dy = contributions[static_cast<std::size_t>(unit.output)];
      for (const std::size_t interval : step.dy) intervals_[interval].last = time;
      switch (unit.kind) {
        case UnitKind::batch_norm:
          if (unit.other >= 0) {  // the shortcut's gradient takes the place of dy
            step.dother = in_place_of_dy(step, unit, unit.other, time);
            step.dx = fresh(unit.input, time);
          } else {
            step.dx = in_place_of_dy(step, unit, unit.input, time);
          }
          break;
        case UnitKind::pointwise:
          if (unit.other >= 0 && needs(unit.other)) step.dother = fresh(unit.other, time);
          if (needs(unit.input)) step.dx = in_place_of_dy(step, unit, unit.input, time);
          break;
        default:  // a fully connected layer makes all its gradients at once
          if (needs(unit.input) || unit.kind == UnitKind::linear) step.dx = fresh(unit.input, time);
          break;
      }
    }
    input_contributions_ = contributions[0];
    for (const std::size_t interval : input_contributions_) {
      intervals_[interval].last = static_cast<int>(events_.size());
    }
  }

  void allocate() {
    scratch_offset_ = plan_memory(intervals_, B::alignment);
    arena_->reserve(scratch_offset_ + scratch_);
  }

  void run_event(typename B::Stream& stream, const TrainingEvent& event, const Observer* observer, Profile* profile) {
    const auto i = static_cast<std::size_t>(event.unit);
    again_ = event.pass == TrainingPass::recompute || event.pass == TrainingPass::backward;
    if (event.pass == TrainingPass::backward) {
      backward_unit(stream, units_[i], steps_[i]);
    } else {
      forward_unit(stream, units_[i], steps_[i]);
    }
    if (profile != nullptr) {
      B::finish(stream);
      profile->lap([&] { return describe(i, event.pass); });
    }
    if (observer != nullptr && event.pass == TrainingPass::forward) observe(stream, units_[i], *observer);
  }

  void run_backward(typename B::Stream& stream, const Ready& ready, Profile* profile) {
    std::size_t bucket = 0;
    const auto loss = std::find_if(events_.begin(), events_.end(),
                                   [](const TrainingEvent& event) { return event.pass == TrainingPass::loss; });
    for (auto event = loss + 1; event != events_.end(); ++event) {
      run_event(stream, *event, nullptr, profile);
      if (event->pass != TrainingPass::backward) continue;
      const int row = units_[static_cast<std::size_t>(event->unit)].row;
      while (bucket < store_->buckets().size() && store_->buckets()[bucket].row >= row) {
        ready(store_->buckets()[bucket++]);
      }
    }
    for (std::size_t i = 1; i < input_contributions_.size(); ++i) {
      B::accumulate(stream, ConstTypedPointer(gradient(input_contributions_[i], 0)),
                    gradient(input_contributions_[0], 0), size_in_numbers(0));
    }
  }

  void forward_unit(typename B::Stream& stream, const Unit& unit, Step& step) {
    const ConstTypedPointer x = value(unit.input), other = value(unit.other);
    const TypedPointer y = value(unit.output);
    const Master* weights = store_->weights();
    if (auto* convolution = std::get_if<typename B::Convolution>(&step.op)) {
      convolution->forward(stream, x, operand(unit, step.weight), y, at<std::byte>(step.kept), scratch());
    } else if (auto* norm = std::get_if<typename B::BatchNorm>(&step.op)) {
      Master* statistics = adds_ ? store_->more_statistics() : store_->batch_statistics();
      norm->forward(stream, x, other, weights + step.weight, weights + step.bias, statistics + step.mean,
                    statistics + step.variance, y, at<std::byte>(step.kept), scratch());
    } else if (auto* frozen = std::get_if<FrozenNorm>(&step.op)) {
      frozen->forward(stream, x, other, step.frozen_norm, y);
    } else if (auto* pointwise = std::get_if<typename B::Pointwise>(&step.op)) {
      pointwise->forward(stream, x, other, y);
    } else if (auto* max_pool = std::get_if<typename B::MaxPool>(&step.op)) {
      max_pool->forward(stream, x, y, at<std::uint8_t>(step.kept_indices));
    } else if (auto* average_pool = std::get_if<typename B::AveragePool>(&step.op)) {
      average_pool->forward(stream, x, y);
    } else {
      std::get<typename B::Linear>(step.op).forward(stream, x, operand(unit, step.weight), weights + step.bias,
                                                    static_cast<Master*>(y), scratch());
    }
  }

  void backward_unit(typename B::Stream& stream, const Unit& unit, Step& step) {
    auto* norm = std::get_if<typename B::BatchNorm>(&step.op);
    // A batch norm adds a second contribution on the way; all others are added beforehand.
    const std::size_t taken = norm != nullptr ? 2 : 1;
    const TypedPointer dy = gradient(step.dy[0], unit.output);
    for (std::size_t i = taken; i < step.dy.size(); ++i) {
      B::accumulate(stream, ConstTypedPointer(gradient(step.dy[i], unit.output)), dy, size_in_numbers(unit.output));
    }
    const TypedPointer dy2 = gradient(taken == 2 && step.dy.size() > 1 ? step.dy[1] : none, unit.output);
    const ConstTypedPointer x = value(unit.input), y = value(unit.output);
    const Master* weights = store_->weights();
    Gradient* const gradients = store_->gradients();
    // of a tensor: where it belongs, or beside it
    const auto gradient_at = [&](std::size_t place, bool frozen, std::size_t beside) -> Gradient* {
      if (place == none) return nullptr;
      return adds_ || frozen ? share(beside) : gradients + place;
    };
    Gradient* const dweights = gradient_at(step.weight, step.weight_frozen, 0);
    Gradient* const dbias = gradient_at(step.bias, step.bias_frozen, bias_share_);
    const TypedPointer dx = gradient(step.dx, unit.input);
    if (auto* convolution = std::get_if<typename B::Convolution>(&step.op)) {
      if (!step.weight_frozen) convolution->backward_weights(stream, x, ConstTypedPointer(dy), dweights, scratch());
      if (dx) {
        convolution->backward_data(stream, ConstTypedPointer(dy), operand(unit, step.weight), dx,
                                   at<std::byte>(step.kept), scratch());
      }
    } else if (norm != nullptr) {
      norm->backward(stream, x, y, ConstTypedPointer(dy), ConstTypedPointer(dy2), weights + step.weight,
                     weights + step.bias, at<const std::byte>(step.kept), dx, gradient(step.dother, unit.other),
                     dweights, dbias, scratch());
    } else if (auto* frozen = std::get_if<FrozenNorm>(&step.op)) {
      frozen->backward(stream, y, dy, step.frozen_norm, dx, gradient(step.dother, unit.other));
    } else if (auto* pointwise = std::get_if<typename B::Pointwise>(&step.op)) {
      if (step.dother != none) {
        pointwise->backward(stream, y, ConstTypedPointer(dy), gradient(step.dother, unit.other));
      }
      if (dx) pointwise->backward(stream, y, ConstTypedPointer(dy), dx);
    } else if (auto* max_pool = std::get_if<typename B::MaxPool>(&step.op)) {
      max_pool->backward(stream, ConstTypedPointer(dy), at<const std::uint8_t>(step.kept_indices), dx);
    } else if (auto* average_pool = std::get_if<typename B::AveragePool>(&step.op)) {
      average_pool->backward(stream, ConstTypedPointer(dy), dx);
    } else {
      std::get<typename B::Linear>(step.op).backward(stream, x, operand(unit, step.weight),
                                                     static_cast<const Master*>(dy), dx, dweights, dbias, scratch());
    }
    if (!adds_) return;
    if (step.weight != none && !step.weight_frozen) {
      B::accumulate(stream, static_cast<const Gradient*>(dweights), gradients + step.weight,
                    static_cast<std::int64_t>(step.weight_size));
    }
    if (step.bias == none || step.bias_frozen) return;
    B::accumulate(stream, static_cast<const Gradient*>(dbias), gradients + step.bias,
                  static_cast<std::int64_t>(step.bias_size));
  }

  /// Statistics of all images up to these, after those of `done` images before them.
  void average_statistics(typename B::Stream& stream, int done) {
    const double all = done + n_;
    B::blend(stream, static_cast<const Master*>(store_->more_statistics()), store_->batch_statistics(),
             static_cast<std::int64_t>(store_->statistics_size()), done / all, n_ / all);
  }

  Profile::Row describe(std::size_t index, TrainingPass pass) const {
    const Unit& unit = units_[index];
    std::int64_t macs = layer_macs(row(unit.row), extents_[static_cast<std::size_t>(unit.output)]);
    if (pass == TrainingPass::backward) macs *= needs(unit.input) ? 2 : 1;  // images need no gradient
    const std::string_view word = pass == TrainingPass::forward    ? "forward "
                                  : pass == TrainingPass::backward ? "backward "
                                                                   : "recompute ";
    return {std::string(row(unit.row).name.view()), std::string(word).append(unit_name(unit)),
            std::string(implementation(index)), 2 * macs * n_};
  }

  void observe(typename B::Stream& stream, const Unit& unit, const Observer& observer) {
    std::vector<double> values(count_of(unit.output));
    download(stream, unit.output, std::span(values));
    observer(row(unit.output - 1).name, extents_[static_cast<std::size_t>(unit.output)], values);
  }

  /// To the host, densely.
  template <class Host>
  void download(typename B::Stream& stream, int index, std::span<Host> to) {
    if (is_logits(index)) {
      B::download(stream, static_cast<const Master*>(value(index)), to);
    } else {
      B::download_map(stream, ConstTypedPointer(value(index)), map_of(index), to);
    }
  }

  std::byte* scratch() { return memory_ + scratch_offset_; }
  Gradient* share(std::size_t offset) { return reinterpret_cast<Gradient*>(shares_->reserve(0) + offset); }

  std::span<const Layer> layers_;
  std::span<const int> outputs_;
  Store* store_;
  detail::Arena<B>* arena_;
  detail::Arena<B>* shares_;
  int n_;
  int ghost_batch_;  // images; 0 for the whole batch
  std::vector<Extent> extents_;
  std::vector<NumberFormat> formats_;  // of each value
  std::vector<Unit> units_;
  std::vector<TrainingEvent> events_;
  std::vector<bool> needs_;                       // of each value: it has a gradient
  std::vector<bool> trained_;                     // of each unit: it has a backward pass
  std::optional<typename B::CrossEntropy> loss_;  // of logits
  std::vector<Step> steps_;
  std::vector<MemoryInterval> intervals_;
  std::vector<std::size_t> value_;                // interval of each value
  std::vector<std::size_t> second_value_;         // the same of what is computed again
  std::size_t labels_ = 0;                        // interval
  std::vector<std::size_t> output_gradients_;     // intervals, of each output
  std::vector<std::size_t> input_contributions_;  // intervals: the first gets the gradient of what comes in
  std::size_t scratch_ = 0, scratch_offset_ = 0;
  std::size_t share_size_ = 0, bias_share_ = 0;  // bytes of a unit's gradients, and where that of the bias is
  bool dumps_ = false;
  std::vector<std::pair<RecordingName, typename B::Recording>> recordings_;
  std::pair<int, int> versions_{};  // of the memories that they are for
  // During a run:
  std::byte* memory_ = nullptr;  // the arena
  bool again_ = false;           // values that are computed again are there
  bool adds_ = false;            // gradients of earlier images are there
};

}  // namespace resnext
