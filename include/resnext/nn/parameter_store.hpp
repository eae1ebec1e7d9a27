/// @file
/// The learned tensors of a training run in backend memory: flat, in the order in which gradients become ready.
#pragma once

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
#include <resnext/nn/state_dict.hpp>
#include <resnext/tensor/number.hpp>

namespace resnext {

/// Which learned tensors weight decay applies to.
enum class Decay {
  all,          ///< everything, as facebookresearch/ResNeXt does
  weights_only  ///< not BN's scale and shift nor biases (He et al. 2019, "Bag of Tricks")
};

/// How a learned tensor is updated.
struct ParameterGroup {
  double rate = 1;      ///< times the learning rate
  double decay = 1;     ///< times the weight decay
  bool frozen = false;  ///< stays what it is
};

/// Weights, gradients and velocities as three flat arrays with one layout, cut into buckets for communication, and BN's
/// statistics: the running ones, and those of the step. The layout runs from
/// the last layer to the first, so that buckets fill up during backward. Where operators read weights in another type
/// than they are learned in, a fourth array has them rounded.
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
  ParameterStore(const StateDict& state, typename B::Stream& stream, std::size_t bucket_size, double weight_decay,
                 Decay decay, const std::function<ParameterGroup(const StateEntry&)>& group_of)
      : places_(state.tensors().size()) {
    std::size_t learned = 0, statistics = 0;
    const auto tensors = state.tensors();
    for (int row = static_cast<int>(state.layers().size()) - 1; row >= 0; --row) {
      for (const TensorRole role :
           {TensorRole::weight, TensorRole::bias, TensorRole::running_mean, TensorRole::running_var}) {
        const StateDict::Slot* slot = state.slot_of(row, role);
        if (slot == nullptr) continue;
        auto& at = slot->entry.learned() ? learned : statistics;
        places_[static_cast<std::size_t>(slot - tensors.data())] = at;
        // rows of a vector register, zero at the end
        const std::size_t room = (B::tensor_size(shape_of(*slot)) + 15) / 16 * 16;
        at += room;
        if (!slot->entry.learned()) continue;
        const bool decayed = decay == Decay::all || slot->entry.rank > 1;
        const ParameterGroup group = checked(group_of ? group_of(slot->entry) : ParameterGroup(), slot->entry);
        const UpdateSegment segment{at - room, 0, group.rate, decayed ? weight_decay * group.decay : 0, group.frozen};
        if (segments_.empty() || !alike(segments_.back(), segment)) segments_.push_back(segment);
        segments_.back().size += room;
        if (buckets_.empty() || buckets_.back().size >= bucket_size) buckets_.push_back({at - room, 0, row});
        buckets_.back().size += room;
        buckets_.back().row = row;
      }
    }
    weights_ = Masters(learned);
    gradients_ = typename B::template Buffer<Gradient>(learned);
    velocities_ = Masters(learned);
    statistics_ = Masters(statistics);
    batch_statistics_ = Masters(statistics);
    more_statistics_ = Masters(statistics);
    if constexpr (!read_as_learned) operands_ = typename B::template Buffer<Scalar>(learned);
    upload_weights(state, stream);
    upload_statistics(state, stream);
  }

  ParameterStore(const ParameterStore&) = delete;  // plans point into it: it stays where it is
  ParameterStore& operator=(const ParameterStore&) = delete;

  /// Copies the learned tensors of `state` to weights(), and rounded to operands().
  void upload_weights(const StateDict& state, typename B::Stream& stream) {
    upload(state, weights(), stream);
    if constexpr (!read_as_learned) {
      B::round(stream, weights(), operands(), static_cast<std::int64_t>(weights_.size()));
    }
  }
  /// The same to velocities().
  void upload_velocities(const StateDict& state, typename B::Stream& stream) { upload(state, velocities(), stream); }
  /// Copies a flat array of this store, weights(), gradients() or velocities(), to the learned tensors of `state`.
  template <class Number>
  void download(const Number* flat, StateDict& state, typename B::Stream& stream) const {
    for_each_slot(state, true, [&](const StateDict::Slot& slot, std::size_t at) {
      B::download_tensor(stream, flat + at, shape_of(slot), state[slot]);
    });
  }
  /// Shows a flat array of this store, tensor by tensor: `visit(name, std::span<const double>)`.
  template <class Number, class Visit>
  void show(const StateDict& state, const Number* flat, typename B::Stream& stream, Visit&& visit) const {
    std::vector<double> values;
    for_each_slot(state, true, [&](const StateDict::Slot& slot, std::size_t at) {
      values.resize(slot.size);
      B::download_tensor(stream, flat + at, shape_of(slot), std::span(values));
      visit(slot.entry.name().view(), std::span<const double>(values));
    });
  }
  /// Copies BN's running statistics from the host.
  void upload_statistics(const StateDict& state, typename B::Stream& stream) {
    for_each_slot(state, false, [&](const StateDict::Slot& slot, std::size_t at) {
      B::upload_tensor(stream, state[slot], shape_of(slot), statistics_.data() + at);
    });
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
    return {weights(), gradients(), velocities(), operands(), statistics(), batch_statistics()};
  }

  /// Numbers of weights(), gradients() and velocities() each.
  std::size_t size() const { return weights_.size(); }
  /// Numbers of statistics() and batch_statistics() each.
  std::size_t statistics_size() const { return statistics_.size(); }

  /// In the order in which they become complete.
  std::span<const Bucket> buckets() const { return buckets_; }
  /// In the order of the flat arrays.
  std::span<const UpdateSegment> segments() const { return segments_; }

 private:
  using Masters = typename B::template Buffer<Master>;
  static constexpr bool read_as_learned = std::is_same_v<Scalar, Master>;

  static bool alike(const UpdateSegment& a, const UpdateSegment& b) {
    return a.rate == b.rate && a.weight_decay == b.weight_decay && a.frozen == b.frozen;
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
  void upload(const StateDict& state, Master* flat, typename B::Stream& stream) const {
    for_each_slot(state, true, [&](const StateDict::Slot& slot, std::size_t at) {
      B::upload_tensor(stream, state[slot], shape_of(slot), flat + at);
    });
  }
  template <class Visit>
  void for_each_slot(const StateDict& state, bool learned, Visit&& visit) const {
    for (std::size_t i = 0; i < places_.size(); ++i) {
      const StateDict::Slot& slot = state.tensors()[i];
      if (slot.size > 0 && slot.entry.learned() == learned) visit(slot, places_[i]);
    }
  }

  std::vector<std::size_t> places_;  // of each slot of the state dict
  std::vector<Bucket> buckets_;
  std::vector<UpdateSegment> segments_;
  Masters weights_, velocities_, statistics_, batch_statistics_, more_statistics_;
  typename B::template Buffer<Gradient> gradients_;
  typename B::template Buffer<Scalar> operands_;
};

}  // namespace resnext
