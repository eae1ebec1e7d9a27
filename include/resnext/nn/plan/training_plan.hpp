/// @file
/// A network made ready for training steps on batches of one extent on one backend.
#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
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
#include <resnext/nn/plan/value_formats.hpp>
#include <resnext/tensor/images.hpp>
#include <resnext/tensor/memory_plan.hpp>
#include <resnext/tensor/number_format.hpp>
#include <resnext/tensor/typed_pointer.hpp>

namespace resnext {

/// What a plan for training steps is made for.
struct TrainingPlanOptions {
  double label_smoothing = 0;  ///< 0 for one-hot targets
  int ghost_batch = 0;         ///< images that share batch statistics, the last ones may be fewer; 0 for all
  ValueFormats formats{};      ///< how the values are stored, as `Scalar` or as `Master`
  bool recompute = false;      ///< forget the inside of blocks, and compute it again: less memory, more time
  bool accumulates = false;    ///< other images of the same step may be run before
};

/// Operators, memory and order of a forward and a backward pass. Running allocates nothing and reads no host scalar.
template <Backend B>
class TrainingPlan {
 public:
  using Scalar = typename B::Scalar;      ///< of maps, their gradients, and weights as operators read them
  using Master = typename B::Master;      ///< of logits and of what is learned
  using Gradient = typename B::Gradient;  ///< of the gradients of what is learned
  using Store = ParameterStore<B>;        ///< where the learned tensors live

  /// @param state gives names and shapes; the numbers live in `store`. Both outlive the plan, as `arena` does, in which
  /// it calculates.
  /// @throws ShapeError when n images of that extent do not fit, or a batch norm would see one value a channel;
  /// OptionError for impossible formats
  TrainingPlan(const typename B::Registry& registry, const StateDict& state, Store& store, detail::Arena<B>& arena,
               int n, Extent image, const TrainingPlanOptions& options = {})
      : layers_(state.layers()),
        store_(&store),
        arena_(&arena),
        n_(n),
        ghost_batch_(options.ghost_batch),
        extents_(detail::checked_extents(layers_, n, image)),
        formats_(detail::all_formats<B>(layers_, options.formats)),
        units_(fuse(layers_, Fusion::training)),
        events_(schedule(units_, options.recompute)),
        loss_(LossShape{n, layers_.back().out, options.label_smoothing}) {
    detail::check_last<B>(layers_);
    check_types();
    build(registry, state);
    if (options.accumulates) reserve_shares();
    place_forward();
    place_backward();
    allocate();
  }

  /// Takes operators over; there are no copies.
  TrainingPlan(TrainingPlan&&) = default;
  /// The same.
  TrainingPlan& operator=(TrainingPlan&&) = default;

  /// True for a batch of the plan's extents.
  bool fits(const Images& images) const {
    return images.n == n_ && Extent{images.h, images.w, images.c} == extents_[0];
  }

  /// Forward pass, loss, backward pass. Afterwards the store's gradients are those of the losses' sum over the images of
  /// `StepControl`, times the loss scale.
  /// @param control the `StepControl` numbers, in backend memory
  /// @param metrics the `Metric` sums, in backend memory, added to
  /// @param done images of the same step that were run before: gradients are added to theirs, and batch norms'
  /// statistics are averaged with theirs
  /// @param ready called with each bucket of gradients as soon as it is complete
  void run(typename B::Stream& stream, const Images& images, std::span<const std::int32_t> labels,
           const double* control, double* metrics, int done,
           const std::function<void(const typename Store::Bucket&)>& ready, const Observer* observer = nullptr,
           Profile* profile = nullptr) {
    detail::check_values(images, extents_[0]);
    memory_ = arena_->reserve(scratch_offset_ + scratch_);
    adds_ = done > 0;
    B::upload_map(stream, images.values, map_of(0), value(0));
    B::upload(stream, labels, at<std::int32_t>(labels_));
    if (profile != nullptr) profile->start();
    std::size_t bucket = 0;
    for (const TrainingEvent& event : events_) {
      const auto i = static_cast<std::size_t>(event.unit);
      again_ = event.pass == TrainingPass::recompute || event.pass == TrainingPass::backward;
      switch (event.pass) {
        case TrainingPass::forward:
        case TrainingPass::recompute:
          forward(stream, units_[i], steps_[i]);
          if (observer != nullptr && !again_) observe(stream, units_[i], *observer);
          break;
        case TrainingPass::loss:
          loss_.run(stream, static_cast<const Master*>(value(units_[i].output)), at<std::int32_t>(labels_), control,
                    at<Master>(loss_gradient_), metrics);
          if (adds_) average_statistics(stream, done);
          continue;
        case TrainingPass::backward:
          backward(stream, units_[i], steps_[i]);
          break;
      }
      if (profile != nullptr) {
        B::finish(stream);
        profile->lap([&] { return describe(i, event.pass); });
      }
      if (event.pass != TrainingPass::backward) continue;
      while (bucket < store_->buckets().size() && store_->buckets()[bucket].row >= units_[i].row) {
        ready(store_->buckets()[bucket++]);
      }
    }
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
  using Operator = std::variant<typename B::Convolution, typename B::BatchNorm, typename B::Pointwise,
                                typename B::MaxPool, typename B::AveragePool, typename B::Linear>;
  static constexpr std::size_t none = static_cast<std::size_t>(-1);

  /// A unit's operator and where its numbers are. Intervals become arena offsets in allocate().
  struct Step {
    explicit Step(Operator chosen) : op(std::move(chosen)) {}

    Operator op;
    std::size_t weight = none, bias = none;    // in the store's flat arrays
    std::size_t weight_size = 0, bias_size = 0;
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
  bool is_logits(int index) const { return index == units_.back().output; }
  /// Bytes of a value, and of its gradient.
  std::size_t size_of(int index) const {
    return is_logits(index) ? count_of(index) * sizeof(Master)
                            : B::map_size(map_of(index)) * dtype_size(type_of(index));
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
    for (int index = 0; index + 1 < static_cast<int>(formats_.size()); ++index) {
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
        if (!bias) return;
        step.bias = place(TensorRole::bias);
        step.bias_size = size(TensorRole::bias);
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
  void reserve_shares() {
    for (const Step& step : steps_) {
      if (step.weight == none) continue;
      const auto bytes = [&](std::size_t numbers) {
        return (numbers * sizeof(Gradient) + B::alignment - 1) / B::alignment * B::alignment;
      };
      bias_share_ = std::max(bias_share_, bytes(step.weight_size));
      share_size_ = std::max(share_size_, bytes(step.weight_size) + bytes(step.bias_size));
    }
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
            if (*kept != none) *kept = add_interval(*kept, time, time_of(TrainingPass::backward, i));
          }
          break;
        case TrainingPass::recompute:
          second_value_[static_cast<std::size_t>(unit.output)] = add_interval(size_of(unit.output), time, time);
          touch_latest(unit.input, time);
          if (unit.other >= 0) touch_latest(unit.other, time);
          break;
        case TrainingPass::loss:
          touch(value_, unit.output, time);
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
      contributions[static_cast<std::size_t>(index)].push_back(interval);
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
    const int last = units_.back().output;
    const int loss = time_of(TrainingPass::loss, static_cast<int>(units_.size()) - 1);
    loss_gradient_ = add_interval(size_of(last), loss, loss);
    contribute(last, loss_gradient_);
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
          if (unit.other >= 0) step.dother = fresh(unit.other, time);
          step.dx = in_place_of_dy(step, unit, unit.input, time);
          break;
        default:
          if (unit.input != 0) step.dx = fresh(unit.input, time);
          break;
      }
    }
  }

  void allocate() {
    scratch_offset_ = plan_memory(intervals_, B::alignment);
    scratch_ += share_size_;
    arena_->reserve(scratch_offset_ + scratch_);
  }

  void forward(typename B::Stream& stream, const Unit& unit, Step& step) {
    const ConstTypedPointer x = value(unit.input), other = value(unit.other);
    const TypedPointer y = value(unit.output);
    const Master* weights = store_->weights();
    if (auto* convolution = std::get_if<typename B::Convolution>(&step.op)) {
      convolution->forward(stream, x, operand(unit, step.weight), y, at<std::byte>(step.kept), scratch());
    } else if (auto* norm = std::get_if<typename B::BatchNorm>(&step.op)) {
      Master* statistics = adds_ ? store_->more_statistics() : store_->batch_statistics();
      norm->forward(stream, x, other, weights + step.weight, weights + step.bias, statistics + step.mean,
                    statistics + step.variance, y, at<std::byte>(step.kept), scratch());
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

  void backward(typename B::Stream& stream, const Unit& unit, Step& step) {
    auto* norm = std::get_if<typename B::BatchNorm>(&step.op);
    // A batch norm adds a second contribution on the way; all others are added beforehand.
    const std::size_t taken = norm != nullptr ? 2 : 1;
    const TypedPointer dy = gradient(step.dy[0], unit.output);
    for (std::size_t i = taken; i < step.dy.size(); ++i) {
      B::accumulate(stream, ConstTypedPointer(gradient(step.dy[i], unit.output)), dy,
                    static_cast<std::int64_t>(B::map_size(map_of(unit.output))));
    }
    const TypedPointer dy2 = gradient(taken == 2 && step.dy.size() > 1 ? step.dy[1] : none, unit.output);
    const ConstTypedPointer x = value(unit.input), y = value(unit.output);
    const Master* weights = store_->weights();
    Gradient* const gradients = store_->gradients();
    // of a tensor: where it belongs, or beside it
    Gradient* const dweights = adds_ ? share(0) : gradients + step.weight;
    Gradient* const dbias = adds_ ? share(bias_share_) : gradients + step.bias;
    const TypedPointer dx = gradient(step.dx, unit.input);
    if (auto* convolution = std::get_if<typename B::Convolution>(&step.op)) {
      convolution->backward_weights(stream, x, ConstTypedPointer(dy), dweights, scratch());
      if (dx) {
        convolution->backward_data(stream, ConstTypedPointer(dy), operand(unit, step.weight), dx,
                                   at<std::byte>(step.kept), scratch());
      }
    } else if (norm != nullptr) {
      norm->backward(stream, x, y, ConstTypedPointer(dy), ConstTypedPointer(dy2), weights + step.weight,
                     weights + step.bias, at<const std::byte>(step.kept), dx, gradient(step.dother, unit.other),
                     dweights, dbias, scratch());
    } else if (auto* pointwise = std::get_if<typename B::Pointwise>(&step.op)) {
      if (step.dother != none) {
        pointwise->backward(stream, y, ConstTypedPointer(dy), gradient(step.dother, unit.other));
      }
      pointwise->backward(stream, y, ConstTypedPointer(dy), dx);
    } else if (auto* max_pool = std::get_if<typename B::MaxPool>(&step.op)) {
      max_pool->backward(stream, ConstTypedPointer(dy), at<const std::uint8_t>(step.kept_indices), dx);
    } else if (auto* average_pool = std::get_if<typename B::AveragePool>(&step.op)) {
      average_pool->backward(stream, ConstTypedPointer(dy), dx);
    } else {
      std::get<typename B::Linear>(step.op).backward(stream, x, operand(unit, step.weight),
                                                     static_cast<const Master*>(dy), dx, dweights, dbias,
                                                     scratch());
    }
    if (!adds_ || step.weight == none) return;
    B::accumulate(stream, static_cast<const Gradient*>(dweights), gradients + step.weight,
                  static_cast<std::int64_t>(step.weight_size));
    if (step.bias == none) return;
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
    if (pass == TrainingPass::backward) macs *= unit.input == 0 ? 1 : 2;  // the images need no gradient
    const std::string_view word = pass == TrainingPass::forward    ? "forward "
                                  : pass == TrainingPass::backward ? "backward "
                                                                   : "recompute ";
    return {std::string(row(unit.row).name.view()), std::string(word).append(unit_name(unit)),
            std::string(implementation(index)), 2 * macs * n_};
  }

  void observe(typename B::Stream& stream, const Unit& unit, const Observer& observer) {
    std::vector<double> values(count_of(unit.output));
    if (is_logits(unit.output)) {
      B::download(stream, static_cast<const Master*>(value(unit.output)), std::span(values));
    } else {
      B::download_map(stream, ConstTypedPointer(value(unit.output)), map_of(unit.output), std::span(values));
    }
    observer(row(unit.output - 1).name, extents_[static_cast<std::size_t>(unit.output)], values);
  }

  std::byte* scratch() { return memory_ + scratch_offset_ + share_size_; }
  Gradient* share(std::size_t offset) { return reinterpret_cast<Gradient*>(memory_ + scratch_offset_ + offset); }

  std::span<const Layer> layers_;
  Store* store_;
  detail::Arena<B>* arena_;
  int n_;
  int ghost_batch_;  // images; 0 for the whole batch
  std::vector<Extent> extents_;
  std::vector<NumberFormat> formats_;  // of each value
  std::vector<Unit> units_;
  std::vector<TrainingEvent> events_;
  typename B::CrossEntropy loss_;
  std::vector<Step> steps_;
  std::vector<MemoryInterval> intervals_;
  std::vector<std::size_t> value_;              // interval of each value
  std::vector<std::size_t> second_value_;       // the same of what is computed again
  std::size_t labels_ = 0, loss_gradient_ = 0;  // intervals
  std::size_t scratch_ = 0, scratch_offset_ = 0;
  std::size_t share_size_ = 0, bias_share_ = 0;  // bytes of a unit's gradients, and where that of the bias is
  // During a run:
  std::byte* memory_ = nullptr;  // the arena
  bool again_ = false;           // values that are computed again are there
  bool adds_ = false;            // gradients of earlier images are there
};

}  // namespace resnext
