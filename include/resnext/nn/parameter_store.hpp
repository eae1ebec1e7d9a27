/// @file
/// The learned tensors of a training run in backend memory: flat, in the order in which gradients become ready.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <resnext/backend/backend.hpp>
#include <resnext/error.hpp>
#include <resnext/nn/plan/fold.hpp>
#include <resnext/nn/state_dict.hpp>
#include <resnext/nn/trainer_options.hpp>
#include <resnext/tensor/number.hpp>

namespace resnext {

/// Weights, gradients and velocities as three flat arrays with one layout, cut into buckets for communication, and BN's
/// statistics: the running ones, and those of the step. The layout runs from the last layer to the first, so that
/// buckets fill up during backward; what is frozen comes last, and is only among the weights. Where operators read
/// weights in another type than they are learned in, a fourth array has them rounded.
template <Backend B>
class ParameterStore {
 public:
  using Scalar = typename B::Scalar;      ///< of weights as operators read them
  using Master = typename B::Master;      ///< of weights as they are learned
  using Gradient = typename B::Gradient;  ///< of gradients

  /// A run of the flat arrays that is communicated at once, as soon as the backward pass has left `row`.
  struct Bucket {
    std::size_t offset = 0;  ///< in numbers
    std::size_t size = 0;    ///< in numbers
    int row = 0;             ///< of the layer table, the first that has a share in it
  };

  /// @param bucket_size numbers after which a bucket is closed
  /// @param weight_decay of the group `{}`
  /// @param group_of a tensor; empty for the same of all
  /// @param averaged there are moving averages, which begin as `state`
  ParameterStore(const StateDict& state, typename B::Stream& stream, std::size_t bucket_size, double weight_decay,
                 Decay decay, const std::function<ParameterGroup(const StateEntry&)>& group_of, bool averaged)
      : places_(state.tensors().size()), frozen_(state.tensors().size()) {
    std::size_t learned = 0, statistics = 0;
    for_each_slot_backwards(state, [&](int row, const StateDict::Slot& slot, std::size_t index) {
      if (!slot.entry.learned()) return;
      const ParameterGroup group = checked(group_of ? group_of(slot.entry) : ParameterGroup(), slot.entry);
      frozen_[index] = group.frozen;
      if (group.frozen) return;
      const std::size_t room = room_of(slot);
      places_[index] = std::exchange(learned, learned + room);
      const bool decayed = decay == Decay::all || slot.entry.rank > 1;
      const UpdateSegment segment{places_[index], 0, group.rate, decayed ? weight_decay * group.decay : 0};
      if (segments_.empty() || !alike(segments_.back(), segment)) segments_.push_back(segment);
      segments_.back().size += room;
      if (buckets_.empty() || buckets_.back().size >= bucket_size) buckets_.push_back({places_[index], 0, row});
      buckets_.back().size += room;
      buckets_.back().row = row;
    });
    for_each_slot_backwards(state, [&](int row, const StateDict::Slot& slot, std::size_t index) {
      if (!slot.entry.learned()) frozen_[index] = is_frozen_norm(state, row);
      if (slot.entry.learned() || frozen_[index]) return;
      places_[index] = std::exchange(statistics, statistics + room_of(slot));
    });
    std::size_t all_learned = learned, all_statistics = statistics, folded = 0;
    for_each_slot_backwards(state, [&](int row, const StateDict::Slot& slot, std::size_t index) {
      if (!frozen_[index]) return;
      auto& end = slot.entry.learned() ? all_learned : all_statistics;
      places_[index] = std::exchange(end, end + room_of(slot));
      if (slot.entry.role != TensorRole::running_var) return;
      norms_.push_back({row, folded, room_of(slot)});
      folded += 2 * room_of(slot);
    });
    updated_statistics_ = statistics;
    weights_ = Masters(all_learned);
    gradients_ = typename B::template Buffer<Gradient>(learned);
    velocities_ = Masters(learned);
    statistics_ = Masters(all_statistics);
    batch_statistics_ = Masters(statistics);
    more_statistics_ = Masters(statistics);
    averages_ = Masters(averaged ? learned : 0);
    average_statistics_ = Masters(averaged ? statistics : 0);
    folded_ = Masters(folded + (norms_.empty() ? 0 : widest_norm()));
    if constexpr (!read_as_learned) operands_ = typename B::template Buffer<Scalar>(all_learned);
    upload_weights(state, stream);
    upload_statistics(state, stream);
    upload_averages(state, stream);
  }

  ParameterStore(const ParameterStore&) = delete;  // plans point into it: it stays where it is
  ParameterStore& operator=(const ParameterStore&) = delete;

  /// Copies the learned tensors of `state` to weights(), and rounded to operands().
  void upload_weights(const StateDict& state, typename B::Stream& stream) {
    for_each_slot(state, true, [&](const StateDict::Slot& slot, std::size_t at) {
      B::upload_tensor(stream, state[slot], shape_of(slot), weights() + at);
    });
    if constexpr (!read_as_learned) {
      B::round(stream, weights(), operands(), static_cast<std::int64_t>(weights_.size()));
    }
  }
  /// Copies the learned tensors of `state` that are not frozen to velocities().
  void upload_velocities(const StateDict& state, typename B::Stream& stream) {
    for_each_slot(state, true, [&](const StateDict::Slot& slot, std::size_t at) {
      if (at < size()) B::upload_tensor(stream, state[slot], shape_of(slot), velocities() + at);
    });
  }
  /// Copies all tensors of `state` that are not frozen to averages() and average_statistics(), if there are any.
  void upload_averages(const StateDict& state, typename B::Stream& stream) {
    if (!averaged()) return;
    for_each_slot(state, true, [&](const StateDict::Slot& slot, std::size_t at) {
      if (at < size()) B::upload_tensor(stream, state[slot], shape_of(slot), averages() + at);
    });
    for_each_slot(state, false, [&](const StateDict::Slot& slot, std::size_t at) {
      if (at < statistics_size())
        B::upload_tensor(stream, state[slot], shape_of(slot), average_statistics_.data() + at);
    });
  }
  /// Copies them to the host; what is frozen stays what it is in `state`.
  void download_averages(StateDict& state, typename B::Stream& stream) {
    download(averages(), state, stream);
    for_each_slot(state, false, [&](const StateDict::Slot& slot, std::size_t at) {
      if (at >= statistics_size()) return;
      B::download_tensor(stream, average_statistics_.data() + at, shape_of(slot), state[slot]);
    });
  }
  /// Copies a flat array of this store, weights(), gradients(), velocities() or averages(), to the learned tensors of
  /// `state`; what is frozen is only in the first, and its tensors stay what they are there.
  template <class Number>
  void download(const Number* flat, StateDict& state, typename B::Stream& stream) const {
    for_each_slot(state, true, [&](const StateDict::Slot& slot, std::size_t at) {
      if (has(flat, at)) B::download_tensor(stream, flat + at, shape_of(slot), state[slot]);
    });
  }
  /// Shows a flat array of this store, tensor by tensor: `visit(name, std::span<const double>)`.
  template <class Number, class Visit>
  void show(const StateDict& state, const Number* flat, typename B::Stream& stream, Visit&& visit) const {
    std::vector<double> values;
    for_each_slot(state, true, [&](const StateDict::Slot& slot, std::size_t at) {
      if (!has(flat, at)) return;
      values.resize(slot.size);
      B::download_tensor(stream, flat + at, shape_of(slot), std::span(values));
      visit(slot.entry.name().view(), std::span<const double>(values));
    });
  }
  /// Copies BN's running statistics from the host, after the weights, and folds frozen batch norms.
  void upload_statistics(const StateDict& state, typename B::Stream& stream) {
    for_each_slot(state, false, [&](const StateDict::Slot& slot, std::size_t at) {
      B::upload_tensor(stream, state[slot], shape_of(slot), statistics_.data() + at);
    });
    for (const FoldedNorm& norm : norms_) {
      const auto channels = TensorShape{1, {state.layers()[static_cast<std::size_t>(norm.row)].out, 1, 1, 1}};
      std::vector<double> scale(static_cast<std::size_t>(channels.size())), shift(scale.size());
      detail::fold_norm(state, norm.row, scale, shift);
      B::upload_tensor(stream, std::span<const double>(scale), channels, folded_.data() + norm.offset);
      B::upload_tensor(stream, std::span<const double>(shift), channels, folded_.data() + norm.offset + norm.room);
    }
  }
  /// Copies BN's running statistics to the host.
  void download_statistics(StateDict& state, typename B::Stream& stream) const {
    for_each_slot(state, false, [&](const StateDict::Slot& slot, std::size_t at) {
      B::download_tensor(stream, statistics_.data() + at, shape_of(slot), state[slot]);
    });
  }

  /// Where a tensor of a row lies in weights(), gradients() and velocities(), or in
  /// statistics() and batch_statistics().
  std::size_t place(const StateDict& state, int row, TensorRole role) const {
    return places_[static_cast<std::size_t>(state.slot_of(row, role) - state.tensors().data())];
  }
  /// True for a tensor that stays what it is.
  bool is_frozen(const StateDict& state, int row, TensorRole role) const {
    return frozen_[static_cast<std::size_t>(state.slot_of(row, role) - state.tensors().data())];
  }
  /// Scale and shift of a frozen batch norm, and as many zeros as it has channels.
  struct FrozenNorm {
    const Master* scale = nullptr;  ///< of each channel
    const Master* shift = nullptr;  ///< the same
    const Master* zeros = nullptr;  ///< as many
  };
  /// Those of a row.
  FrozenNorm frozen_norm(int row) const {
    const auto at = std::find_if(norms_.begin(), norms_.end(), [&](const FoldedNorm& norm) { return norm.row == row; });
    const Master* const scale = folded_.data() + at->offset;
    return {scale, scale + at->room, folded_.data() + folded_.size() - widest_norm()};
  }
  /// Numbers that it takes there.
  std::size_t tensor_size(const StateDict& state, int row, TensorRole role) const {
    return B::tensor_size(shape_of(*state.slot_of(row, role)));
  }
  /// @name Flat arrays in backend memory
  /// @{

  /// All tensors of a kind, each at its place().
  Master* weights() { return weights_.data(); }
  Gradient* gradients() { return gradients_.data(); }
  Master* velocities() { return velocities_.data(); }
  Master* averages() { return averages_.data(); }
  Master* statistics() { return statistics_.data(); }
  /// Of the step's batch, and of some more images of it before they are averaged.
  Master* batch_statistics() { return batch_statistics_.data(); }
  Master* more_statistics() { return more_statistics_.data(); }
  /// Weights as operators read them; `B::Update` keeps them up to date.
  Scalar* operands() {
    if constexpr (read_as_learned) {
      return weights();
    } else {
      return operands_.data();
    }
  }
  /// @}

  /// What `B::Update` works on.
  UpdateArrays<Scalar, Master, Gradient> update_arrays() {
    return {weights(),
            gradients(),
            velocities(),
            operands(),
            statistics(),
            batch_statistics(),
            averaged() ? averages_.data() : nullptr,
            averaged() ? average_statistics_.data() : nullptr};
  }
  /// True where there are moving averages.
  bool averaged() const { return averages_.size() > 0; }

  /// Numbers of gradients() and velocities() each, and of what is not frozen among weights().
  std::size_t size() const { return gradients_.size(); }
  /// Numbers of batch_statistics(), and of what is not frozen among statistics().
  std::size_t statistics_size() const { return updated_statistics_; }

  /// In the order in which they become complete.
  std::span<const Bucket> buckets() const { return buckets_; }
  /// In the order of the flat arrays.
  std::span<const UpdateSegment> segments() const { return segments_; }

 private:
  using Masters = typename B::template Buffer<Master>;
  static constexpr bool read_as_learned = std::is_same_v<Scalar, Master>;

  /// A frozen batch norm as y = scale x + shift.
  struct FoldedNorm {
    int row;
    std::size_t offset, room;  // of the scale, which the shift follows; numbers
  };

  static bool alike(const UpdateSegment& a, const UpdateSegment& b) {
    return a.rate == b.rate && a.weight_decay == b.weight_decay;
  }
  /// Numbers of a tensor's place: rows of a vector register, zero at the end.
  static std::size_t room_of(const StateDict::Slot& slot) { return (B::tensor_size(shape_of(slot)) + 15) / 16 * 16; }
  bool is_frozen_norm(const StateDict& state, int row) const {
    return is_frozen(state, row, TensorRole::weight) && is_frozen(state, row, TensorRole::bias);
  }
  std::size_t widest_norm() const {
    std::size_t widest = 0;
    for (const FoldedNorm& norm : norms_) widest = std::max(widest, norm.room);
    return widest;
  }
  /// False for a place that only weights() has.
  template <class Number>
  bool has(const Number* flat, std::size_t at) const {
    return static_cast<const void*>(flat) == weights_.data() || at < size();
  }
  /// Calls `visit(row, slot, index)` for every tensor, from the last row to the first.
  template <class Visit>
  static void for_each_slot_backwards(const StateDict& state, const Visit& visit) {
    for (int row = static_cast<int>(state.layers().size()) - 1; row >= 0; --row) {
      for (const TensorRole role :
           {TensorRole::weight, TensorRole::bias, TensorRole::running_mean, TensorRole::running_var}) {
        const StateDict::Slot* slot = state.slot_of(row, role);
        if (slot != nullptr) visit(row, *slot, static_cast<std::size_t>(slot - state.tensors().data()));
      }
    }
  }
  static ParameterGroup checked(const ParameterGroup& group, const StateEntry& entry) {
    const auto check = [&](double found, std::string_view what) {
      if (found >= 0 && is_finite(found)) return;
      throw_error<OptionError>("trainer: group_of ", entry.name().view(), ": ", what,
                               ": expected a finite number from 0, found ", found);
    };
    check(group.rate, "rate");
    check(group.decay, "decay");
    return group;
  }
  static TensorShape shape_of(const StateDict::Slot& slot) { return {slot.entry.rank, slot.entry.shape}; }
  template <class Visit>
  void for_each_slot(const StateDict& state, bool learned, Visit&& visit) const {
    for (std::size_t i = 0; i < places_.size(); ++i) {
      const StateDict::Slot& slot = state.tensors()[i];
      if (slot.size > 0 && slot.entry.learned() == learned) visit(slot, places_[i]);
    }
  }

  std::vector<std::size_t> places_;  // of each slot of the state dict
  std::vector<bool> frozen_;         // the same
  std::vector<FoldedNorm> norms_;
  std::size_t updated_statistics_ = 0;
  std::vector<Bucket> buckets_;
  std::vector<UpdateSegment> segments_;
  Masters weights_, velocities_, statistics_, batch_statistics_, more_statistics_, averages_, average_statistics_,
      folded_;
  typename B::template Buffer<Gradient> gradients_;
  typename B::template Buffer<Scalar> operands_;
};

}  // namespace resnext
