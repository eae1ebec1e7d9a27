/// @file
/// The tensors of a network on the host, by torchvision's names.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <resnext/error.hpp>
#include <resnext/model/layer.hpp>

namespace resnext {

/// Where an executor reads the tensors of a network. Any number of threads may read at once.
class ParameterSource {
 public:
  virtual ~ParameterSource() = default;
  /// A tensor of a row of the layer table, in torchvision's order of elements; empty when the row has none of that
  /// role.
  virtual std::span<const float> at(int row, TensorRole role) const = 0;
  /// A reader is done with a tensor: a hint for sources that can do without the memory.
  virtual void release(int /*row*/, TensorRole) const {}
};

/// All tensors of a layer table in fp32: weights `[out, in / groups, k, k]`, BN's four vectors, the classifier.
/// `Parameters<Net>` is this with the network's type attached.
///
/// A copy shares the tensors until one of the two is written to: whoever asks for a span of floats that are not const
/// gets tensors of their own first. So a copy costs nothing, an executor holds one, and nobody sees the writing of
/// another. A span for writing is good until the next copy is made. Copies may be used by different threads.
class StateDict : public ParameterSource {
 public:
  /// A tensor's entry and where it lies in values(). `num_batches_tracked` has no floats: see batches_tracked().
  struct Slot {
    StateEntry entry;        ///< name, role and shape
    std::size_t offset = 0;  ///< of its first float
    std::size_t size = 0;    ///< floats
  };

  /// BN starts as the identity (scale and variance 1, shift and mean 0), everything else at zero.
  explicit StateDict(std::span<const Layer> layers)
      : layout_(std::make_shared<const Layout>(layers)), values_(std::make_shared<Values>(layout_->size)) {
    for (const Slot& slot : tensors()) {
      const bool norm = layers[static_cast<std::size_t>(slot.entry.layer)].op == LayerOp::batch_norm;
      const bool one = norm && (slot.entry.role == TensorRole::weight || slot.entry.role == TensorRole::running_var);
      if (one) std::fill_n(values_->begin() + static_cast<std::ptrdiff_t>(slot.offset), slot.size, 1.0f);
    }
  }

  /// The table that the tensors belong to.
  std::span<const Layer> layers() const { return layout_->layers; }
  /// Where every tensor lies, in torchvision's order.
  std::span<const Slot> tensors() const { return layout_->tensors; }
  /// Every tensor, one after the other, in torchvision's order.
  std::span<float> values() {
    detach();
    return *values_;
  }
  /// The same.
  std::span<const float> values() const { return *values_; }

  /// The tensor of a slot of tensors().
  std::span<float> operator[](const Slot& slot) { return values().subspan(slot.offset, slot.size); }
  /// The same.
  std::span<const float> operator[](const Slot& slot) const { return values().subspan(slot.offset, slot.size); }
  /// A tensor by name, for instance `layer1.0.conv2.weight`.
  /// @throws Error when the network has no such tensor.
  std::span<float> operator[](std::string_view name) { return (*this)[existing(name)]; }
  /// The same.
  std::span<const float> operator[](std::string_view name) const { return (*this)[existing(name)]; }
  std::span<const float> at(int row, TensorRole role) const override {
    const Slot* slot = slot_of(row, role);
    return slot == nullptr ? std::span<const float>() : (*this)[*slot];
  }
  /// The slot of a tensor of a row, or nullptr.
  const Slot* slot_of(int row, TensorRole role) const {
    const auto index = static_cast<std::size_t>(row);
    for (std::size_t i = layout_->first_slot[index]; i < layout_->first_slot[index + 1]; ++i) {
      if (layout_->tensors[i].entry.role == role) return &layout_->tensors[i];
    }
    return nullptr;
  }
  /// The slot of a tensor by name, or nullptr.
  const Slot* find(std::string_view name) const {
    for (const Slot& slot : tensors()) {
      if (name.starts_with(slot.entry.prefix.view()) && slot.entry.name().view() == name) return &slot;
    }
    return nullptr;
  }

  /// What an executor holds: these tensors as they are now, whatever becomes of this object.
  std::shared_ptr<const ParameterSource> source() const { return std::make_shared<const StateDict>(*this); }

  /// Training steps that the running statistics have seen: torchvision's `num_batches_tracked`, one for all layers.
  const std::int64_t& batches_tracked() const { return batches_tracked_; }
  /// Sets it.
  void set_batches_tracked(std::int64_t batches) { batches_tracked_ = batches; }

 private:
  using Values = std::vector<float>;

  /// Names, shapes and places, which never change.
  struct Layout {
    std::span<const Layer> layers;
    std::vector<std::size_t> first_slot;  // of each row
    std::vector<Slot> tensors;
    std::size_t size = 0;  // of all tensors, in floats

    explicit Layout(std::span<const Layer> table) : layers(table), first_slot(table.size() + 1) {
      for_each_entry(layers, [&](const StateEntry& entry) {
        const bool counter = entry.role == TensorRole::num_batches_tracked;
        tensors.push_back({entry, size, counter ? 0 : static_cast<std::size_t>(entry.size())});
        first_slot[static_cast<std::size_t>(entry.layer) + 1] = tensors.size();
        size += tensors.back().size;
      });
      for (std::size_t row = 1; row < first_slot.size(); ++row) {
        first_slot[row] = std::max(first_slot[row], first_slot[row - 1]);
      }
    }
  };

  const Slot& existing(std::string_view name) const {
    if (const Slot* slot = find(name)) return *slot;
    throw_error<Error>("the network has no tensor \"", name, "\"; its first is \"",
                       tensors().empty() ? std::string_view() : std::string_view(tensors()[0].entry.name().view()),
                       "\"");
  }

  /// Tensors of its own from here on.
  void detach() {
    if (values_.use_count() > 1) {
      values_ = std::make_shared<Values>(*values_);
    } else {
      std::atomic_thread_fence(std::memory_order_acquire);  // after whatever the last other owner has read
    }
  }

  std::shared_ptr<const Layout> layout_;
  std::shared_ptr<Values> values_;
  std::int64_t batches_tracked_ = 0;
};

}  // namespace resnext
