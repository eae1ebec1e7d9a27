/// @file
/// A network made ready to classify batches of one extent on one backend.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <resnext/backend/backend.hpp>
#include <resnext/backend/check_shapes.hpp>
#include <resnext/error.hpp>
#include <resnext/nn/plan/arena.hpp>
#include <resnext/nn/plan/fold.hpp>
#include <resnext/nn/plan/fusion.hpp>
#include <resnext/nn/plan/packed_weights.hpp>
#include <resnext/nn/profile.hpp>
#include <resnext/nn/state_dict.hpp>
#include <resnext/nn/value_formats.hpp>
#include <resnext/tensor/memory_plan.hpp>
#include <resnext/tensor/number_format.hpp>
#include <resnext/tensor/typed_pointer.hpp>

namespace resnext {

/// Sees the output of a unit right after it was computed: the name of its last row (`layer1.0.relu` at the end of a
/// block), the extent and the values `[N, H, W, C]`, valid during the call.
struct Observer : std::function<void(std::string_view name, Extent extent, std::span<const double> values)> {
  using function::function;  // a type of its own, for short symbols
};

namespace detail {

/// Extents of all values for n images, or a ShapeError that names the layer where they stop fitting.
inline std::vector<Extent> checked_extents(std::span<const Layer> layers, int n, Extent image) {
  const auto [h, w, c] = image;
  if (layers.empty()) throw_error<ShapeError>("the network has no layers");
  const std::string_view first = layers[0].name.view();
  if (n < 1 || h < 1 || w < 1) {
    throw_error<ShapeError>(first, ": expected at least one image of at least 1 x 1, found N = ", n, ", H = ", h,
                            ", W = ", w);
  }
  if (c != layers[0].in) {
    throw_error<ShapeError>(first, ": expected images of ", layers[0].in, " channels, found ", c);
  }
  // before any arithmetic of int on them
  if (n > largest_extent || h > largest_extent || w > largest_extent) {
    throw_error<ShapeError>(first, ": expected N, H and W to be at most 2^24, found N = ", n, ", H = ", h, ", W = ", w);
  }
  check_map(first, n, h, w, c);
  std::vector<Extent> extents(layers.size() + 1);
  compute_extents(layers, image, extents);
  for (const Layer& layer : layers) {
    const Extent extent = extents[static_cast<std::size_t>(layer.output)];
    if (extent.h < 1 || extent.w < 1) {
      const Extent from = extents[static_cast<std::size_t>(layer.input)];
      throw_error<ShapeError>(layer.name.view(), ": a map of ", from.h, " x ", from.w, " is too small for a window of ",
                              layer.kernel, " x ", layer.kernel, " padded by ", layer.padding, "; the images are ", h,
                              " x ", w);
    }
    check_map(layer.name.view(), n, extent.h, extent.w, extent.c);
  }
  return extents;
}

/// @throws ShapeError unless there are as many values as the plan has room for: members of Images can be changed.
inline void check_values(std::size_t found, int n, Extent extent) {
  const auto expected = static_cast<std::size_t>(n * extent.size());
  if (found != expected) {
    throw_error<ShapeError>("images [N, H, W, C] = [", n, ", ", extent.h, ", ", extent.w, ", ", extent.c, "] have ",
                            expected, " values, but ", found, " were given");
  }
}

inline ConvolutionShape convolution_shape(const Layer& layer, int n, Extent input, const MapFormats& formats) {
  return {n, input.h, input.w, layer.in, layer.out, layer.kernel, layer.stride, layer.padding, layer.groups, formats};
}

/// The formats of what a unit reads, adds and writes.
inline MapFormats unit_formats(const Unit& unit, std::span<const NumberFormat> formats) {
  const auto of = [&](int value) { return formats[static_cast<std::size_t>(value)]; };
  return {of(unit.input), of(unit.other >= 0 ? unit.other : unit.output), of(unit.output)};
}

}  // namespace detail

/// Batch norms folded, kernels chosen, weights packed, memory laid out: all at construction. Running allocates nothing.
/// Packed weights and memory belong to the executor, whose plans share them, so a plan for another extent is cheap.
template <InferenceBackend B>
class InferencePlan {
 public:
  using Master = typename B::Master;  ///< of logits

  /// @param layers a layer table that outlives the plan
  /// @param outputs the values that are wanted, as `outputs` of a network; outlive the plan
  /// @param weights of the network, packed or to be packed; outlive the plan, as `arena` does
  /// @param formats how the values are stored
  /// @throws ShapeError when n images of that extent do not fit the network, OptionError for impossible formats
  InferencePlan(std::span<const Layer> layers, std::span<const int> outputs, const typename B::Registry& registry,
                detail::PackedWeights<B>& weights, detail::Arena<B>& arena, typename B::Stream& stream, int n,
                Extent image, const ValueFormats& formats = {})
      : layers_(layers),
        outputs_(outputs),
        weights_(&weights),
        arena_(&arena),
        n_(n),
        extents_(detail::checked_extents(layers, n, image)),
        formats_(detail::all_formats<B>(layers, formats)),
        units_(fuse(layers, Fusion::inference, outputs, formats_)) {
    check_scales(formats);
    place_values();
    build(registry);
    pack_all(stream);
    arena_->reserve(bytes_);
  }

  /// Takes operators over; there are no copies.
  InferencePlan(InferencePlan&&) noexcept = default;
  /// The same.
  InferencePlan& operator=(InferencePlan&&) noexcept = default;

  /// Runs a batch of the plan's extents. Returns the first output, the logits `[N, K]` of a classifier, valid until the
  /// next call.
  template <class Host>
  std::span<const Master> run(typename B::Stream& stream, std::span<const Host> images,
                              const Observer* observer = nullptr, Profile* profile = nullptr) {
    detail::check_values(images.size(), n_, extents_[0]);
    if (version_ != weights_->version()) pack_all(stream);
    memory_ = arena_->reserve(bytes_);
    B::upload_map(stream, images, map_of(0), value(0));
    if (profile != nullptr || observer != nullptr) {
      watch(stream, observer, profile);
    } else {
      if (std::exchange(recorded_, arena_->version()) != arena_->version()) recording_ = {};
      B::record(stream, recording_, [&] {
        for (std::size_t i = 0; i < units_.size(); ++i) run_unit(stream, i);
      });
    }
    for (std::size_t i = 0; i < outputs_.size(); ++i) download(stream, outputs_[i], std::span(results_[i]));
    return results_[0];
  }
  /// An output of the last run: logits `[N, K]` or a map `[N, H, W, C]`.
  std::span<const Master> result(std::size_t output) const { return results_[output]; }
  /// Its extent; of logits 1 x 1 x K.
  Extent extent(std::size_t output) const { return extents_[static_cast<std::size_t>(outputs_[output])]; }

  /// True for a batch of the plan's extents.
  bool fits(int n, Extent image) const { return n == n_ && image == extents_[0]; }
  /// In the order of execution.
  std::span<const Unit> units() const { return units_; }
  /// What the backend chose for a unit.
  std::string_view implementation(std::size_t unit) const {
    const auto* convolution = std::get_if<Convolution>(&operators_[unit]);
    return convolution == nullptr ? std::string_view(unit_name(units_[unit])) : convolution->implementation();
  }
  /// Bytes of activations and scratch, in the executor's arena.
  std::size_t activation_bytes() const { return bytes_; }
  /// Bytes of the packed weights that it reads, some of which plans for other extents may read too.
  std::size_t weight_bytes() const {
    std::size_t bytes = 0;
    for (const auto& block : blocks_) bytes += block == nullptr ? 0 : block->size;
    return bytes;
  }

 private:
  using Block = typename detail::PackedWeights<B>::Block;
  using Convolution = typename B::InferenceConvolution;
  using ScaleShift = typename B::ScaleShift;
  using Linear = detail::InferenceLinear<B>;
  using Operator = std::variant<Convolution, ScaleShift, typename B::Pointwise, typename B::MaxPool,
                                typename B::AveragePool, Linear>;

  TypedPointer value(int index) { return {memory_ + offsets_[static_cast<std::size_t>(index)], format_of(index).type}; }
  bool is_logits(int index) const { return index > 0 && row(index - 1).op == LayerOp::linear; }
  /// To the host, densely.
  template <class Host>
  void download(typename B::Stream& stream, int index, std::span<Host> to) {
    if (is_logits(index)) {
      B::download(stream, static_cast<const Master*>(value(index)), to);
    } else {
      B::download_map(stream, value(index), map_of(index), to);
    }
  }

  /// Integers stand for nothing without a scale.
  void check_scales(const ValueFormats& chosen) const {
    if (!is_quantized(dtype_of<typename B::Scalar>)) return;
    const auto check = [&](int index) {
      if (is_logits(index) || chosen[index]) return;
      throw_error<OptionError>(detail::value_name(layers_, index), ": ", B::name(),
                               " expected a format of every value, found none; make them of a Calibration");
    };
    check(0);
    for (const Unit& unit : units_) check(unit.output);
  }

  /// The units one by one.
  void watch(typename B::Stream& stream, const Observer* observer, Profile* profile) {
    if (profile != nullptr) profile->start();
    for (std::size_t i = 0; i < units_.size(); ++i) {
      run_unit(stream, i);
      if (profile != nullptr) {
        B::finish(stream);
        profile->lap([&] { return describe(i); });
      }
      if (observer != nullptr) observe(stream, units_[i], *observer);
    }
  }

  /// One interval a value, but a shortcut that is added in place is one with the sum.
  void place_values() {
    std::vector<MemoryInterval> intervals;
    std::vector<std::size_t> interval_of(extents_.size(), 0);
    const auto touch = [&](int index, int step) {
      intervals[interval_of[static_cast<std::size_t>(index)]].last = step;
    };
    const auto size_of = [&](int index) {
      return is_logits(index) ? count_of(index) * sizeof(Master)
                              : B::map_size(map_of(index)) * dtype_size(format_of(index).type);
    };
    intervals.push_back({size_of(0), 0, 0});
    for (int step = 0; step < static_cast<int>(units_.size()); ++step) {
      const Unit& unit = units_[static_cast<std::size_t>(step)];
      touch(unit.input, step);
      if (unit.other >= 0) touch(unit.other, step);
      const bool in_place = unit.kind == UnitKind::convolution && unit.other >= 0;
      if (in_place) {
        interval_of[static_cast<std::size_t>(unit.output)] = interval_of[static_cast<std::size_t>(unit.other)];
      } else {
        interval_of[static_cast<std::size_t>(unit.output)] = intervals.size();
        intervals.push_back({size_of(unit.output), step, step});
      }
    }
    for (const int output : outputs_) touch(output, static_cast<int>(units_.size()));
    scratch_ = plan_memory(intervals, B::alignment);
    offsets_.resize(extents_.size());
    for (std::size_t i = 0; i < offsets_.size(); ++i) offsets_[i] = intervals[interval_of[i]].offset;
    for (const int output : outputs_) results_.emplace_back(count_of(output));
  }

  void build(const typename B::Registry& registry) {
    std::size_t scratch = 0;
    std::vector<Block> wanted;
    std::vector<std::size_t> readers;  // of each
    const auto want = [&](int row, std::string layout, std::size_t size) {
      readers.push_back(operators_.size());
      wanted.push_back({row, std::move(layout), size});
    };
    for (const Unit& unit : units_) {
      const Layer& layer = row(unit.row);
      const Extent in = extents_[static_cast<std::size_t>(unit.input)];
      const MapFormats formats = detail::unit_formats(unit, formats_);
      const MapShape map{n_, in.h, in.w, in.c, formats};
      switch (unit.kind) {
        case UnitKind::convolution: {
          Convolution op(detail::convolution_shape(layer, n_, in, formats), Epilogue{unit.other >= 0, unit.relu},
                         registry, layer.name);
          scratch = std::max(scratch, static_cast<std::size_t>(op.scratch_size()));
          want(unit.row, detail::packed_layout(op), op.packed_size());
          operators_.push_back(std::move(op));
          break;
        }
        case UnitKind::batch_norm:
          want(unit.row, "scale, shift", shift_offset(layer) + channel_bytes(layer));
          operators_.push_back(ScaleShift(map, unit.relu));
          break;
        case UnitKind::pointwise:
          operators_.push_back(typename B::Pointwise(map, unit.other >= 0, unit.relu));
          break;
        case UnitKind::max_pool:
          operators_.push_back(typename B::MaxPool(
              PoolShape{n_, in.h, in.w, in.c, layer.kernel, layer.stride, layer.padding, formats}, layer.name));
          break;
        case UnitKind::average_pool:
          operators_.push_back(typename B::AveragePool(map));
          break;
        case UnitKind::linear: {
          Linear op(LinearShape{n_, layer.in, layer.out, formats}, layer.name);
          scratch = std::max(scratch, static_cast<std::size_t>(op.scratch_size()));
          want(unit.row, detail::packed_layout(op), op.packed_size());
          operators_.push_back(std::move(op));
          break;
        }
      }
    }
    bytes_ = scratch_ + scratch;
    blocks_.assign(units_.size(), nullptr);
    const auto found = weights_->blocks(std::move(wanted));
    for (std::size_t i = 0; i < found.size(); ++i) blocks_[readers[i]] = found[i];
  }

  static std::size_t channel_bytes(const Layer& layer) { return B::tensor_size(channels_of(layer)) * sizeof(Master); }
  /// Of a batch norm that was not folded: where in its block the shift begins.
  static std::size_t shift_offset(const Layer& layer) {
    return (channel_bytes(layer) + B::alignment - 1) / B::alignment * B::alignment;
  }

  /// Packs what no plan has packed since the parameters last changed.
  void pack_all(typename B::Stream& stream) {
    for (std::size_t i = 0; i < units_.size(); ++i) {
      if (blocks_[i] == nullptr || blocks_[i]->version == weights_->version()) continue;
      pack(units_[i], operators_[i], weights_->source(), stream, blocks_[i]->data);
      blocks_[i]->version = weights_->version();
    }
    version_ = weights_->version();
  }

  void pack(const Unit& unit, Operator& op, const ParameterSource& parameters, typename B::Stream& stream,
            std::byte* block) {
    const Layer& layer = row(unit.row);
    const auto channels = static_cast<std::size_t>(layer.out);
    std::vector<double> scale(channels, 1.0);
    std::vector<Master> shift(channels);
    if (auto* convolution = std::get_if<Convolution>(&op)) {
      if (unit.norm >= 0) detail::fold_norm(parameters, unit.norm, scale, shift);
      const auto weights = parameters.at(unit.row, TensorRole::weight);
      std::vector<Master> folded(weights.begin(), weights.end());
      parameters.release(unit.row, TensorRole::weight);
      const std::size_t each = folded.size() / channels;
      for (std::size_t i = 0; i < folded.size(); ++i) folded[i] = static_cast<Master>(folded[i] * scale[i / each]);
      convolution->pack(stream, folded.data(), shift.data(), block);
    } else if (std::get_if<ScaleShift>(&op) != nullptr) {
      detail::fold_norm(parameters, unit.row, scale, shift);
      const auto upload = [&](const auto& from, std::size_t offset) {
        B::upload_tensor(stream, std::span(from), channels_of(layer), reinterpret_cast<Master*>(block + offset));
      };
      upload(std::as_const(scale), 0);
      upload(std::as_const(shift), shift_offset(layer));
    } else if (auto* linear = std::get_if<Linear>(&op)) {
      linear->pack(stream, parameters.at(unit.row, TensorRole::weight).data(),
                   parameters.at(unit.row, TensorRole::bias).data(), block);
      parameters.release(unit.row, TensorRole::weight);
    }
  }

  void run_unit(typename B::Stream& stream, std::size_t index) {
    const Unit& unit = units_[index];
    Operator& op = operators_[index];
    const ConstTypedPointer x = value(unit.input);
    const ConstTypedPointer other = unit.other >= 0 ? ConstTypedPointer(value(unit.other)) : nullptr;
    const TypedPointer y = value(unit.output);
    const std::byte* const weights = blocks_[index] == nullptr ? nullptr : blocks_[index]->data;
    std::byte* scratch = memory_ + scratch_;
    if (auto* convolution = std::get_if<Convolution>(&op)) {
      convolution->run(stream, x, weights, y, scratch);
    } else if (auto* norm = std::get_if<ScaleShift>(&op)) {
      norm->run(stream, x, reinterpret_cast<const Master*>(weights),
                reinterpret_cast<const Master*>(weights + shift_offset(row(unit.row))), y);
    } else if (auto* pointwise = std::get_if<typename B::Pointwise>(&op)) {
      pointwise->forward(stream, x, other, y);
    } else if (auto* max_pool = std::get_if<typename B::MaxPool>(&op)) {
      max_pool->forward(stream, x, y, nullptr);
    } else if (auto* average_pool = std::get_if<typename B::AveragePool>(&op)) {
      average_pool->forward(stream, x, y);
    } else {
      std::get<Linear>(op).run(stream, x, weights, static_cast<Master*>(y), scratch);
    }
  }

  Profile::Row describe(std::size_t index) const {
    const Unit& unit = units_[index];
    const std::int64_t macs = layer_macs(row(unit.row), extents_[static_cast<std::size_t>(row(unit.row).output)]);
    return {std::string(row(unit.row).name.view()), std::string(unit_name(unit)), std::string(implementation(index)),
            2 * macs * n_};
  }

  void observe(typename B::Stream& stream, const Unit& unit, const Observer& observer) {
    const Extent extent = extents_[static_cast<std::size_t>(unit.output)];
    std::vector<double> values(count_of(unit.output));
    download(stream, unit.output, std::span(values));
    observer(row(unit.output - 1).name, extent, values);
  }

  const Layer& row(int index) const { return layers_[static_cast<std::size_t>(index)]; }
  MapShape map_of(int index) const {
    const auto [h, w, c] = extents_[static_cast<std::size_t>(index)];
    return {n_, h, w, c, {.x = format_of(index)}};
  }
  NumberFormat format_of(int index) const { return formats_[static_cast<std::size_t>(index)]; }
  std::size_t count_of(int index) const { return static_cast<std::size_t>(map_of(index).size()); }
  static TensorShape channels_of(const Layer& layer) { return {1, {layer.out, 1, 1, 1}}; }

  std::span<const Layer> layers_;
  std::span<const int> outputs_;
  detail::PackedWeights<B>* weights_;
  detail::Arena<B>* arena_;
  int n_;
  std::vector<Extent> extents_;
  std::vector<NumberFormat> formats_;  // of each value
  std::vector<Unit> units_;
  std::vector<Operator> operators_;
  std::vector<std::shared_ptr<Block>> blocks_;  // of each unit, or null
  int version_ = 0;                             // of the weights
  std::vector<std::size_t> offsets_;            // of each value, in the arena
  std::size_t scratch_ = 0;                     // offset in the arena
  std::size_t bytes_ = 0;                       // of the arena that are used
  std::byte* memory_ = nullptr;                 // the arena, during a run
  typename B::Recording recording_;             // of all units
  int recorded_ = 0;                            // version of the arena that it is for
  std::vector<std::vector<Master>> results_;    // of each output
};

}  // namespace resnext
