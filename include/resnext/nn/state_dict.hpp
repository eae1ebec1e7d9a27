/// @file
/// The tensors of a network on the host, by torchvision's names.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
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
  virtual std::span<const float> at(int row, Role role) const = 0;
  /// A reader is done with a tensor: a hint for sources that can do without the memory.
  virtual void release(int /*row*/, Role) const {}
};

/// All tensors of a layer table in fp32: weights `[out, in / groups, k, k]`, BN's four vectors, the classifier.
/// `Parameters<Net>` is this with the network's type attached.
class StateDict : public ParameterSource {
 public:
  /// A tensor's entry and where it lies in values(). `num_batches_tracked` has no floats: see batches_tracked().
  struct Slot {
    Entry entry;             ///< name, role and shape
    std::size_t offset = 0;  ///< of its first float
    std::size_t size = 0;    ///< floats
  };

  /// BN starts as the identity (scale and variance 1, shift and mean 0), everything else at zero.
  explicit StateDict(std::span<const Layer> layers) : layers_(layers), first_slot_(layers.size() + 1) {
    std::size_t total = 0;
    for_each_entry(layers, [&](const Entry& entry) {
      const std::size_t size = entry.role == Role::num_batches_tracked ? 0 : static_cast<std::size_t>(entry.size());
      slots_.push_back({entry, total, size});
      first_slot_[static_cast<std::size_t>(entry.layer) + 1] = slots_.size();
      total += size;
    });
    for (std::size_t row = 1; row < first_slot_.size(); ++row) {
      first_slot_[row] = std::max(first_slot_[row], first_slot_[row - 1]);
    }
    values_.resize(total);
    for (const Slot& slot : slots_) {
      const bool norm = layers_[static_cast<std::size_t>(slot.entry.layer)].op == Op::batch_norm;
      const bool one = norm && (slot.entry.role == Role::weight || slot.entry.role == Role::running_var);
      std::fill_n(values_.begin() + static_cast<std::ptrdiff_t>(slot.offset), slot.size, one ? 1.0f : 0.0f);
    }
  }

  /// The table that the tensors belong to.
  std::span<const Layer> layers() const { return layers_; }
  /// In torchvision's order.
  std::span<const Slot> slots() const { return slots_; }
  /// Every tensor, one after the other, in torchvision's order.
  std::span<float> values() { return values_; }
  /// The same.
  std::span<const float> values() const { return values_; }

  /// The tensor of a slot of slots().
  std::span<float> operator[](const Slot& slot) { return {values_.data() + slot.offset, slot.size}; }
  /// The same.
  std::span<const float> operator[](const Slot& slot) const { return {values_.data() + slot.offset, slot.size}; }
  /// A tensor by name, for instance `layer1.0.conv2.weight`.
  /// @throws Error when the network has no such tensor.
  std::span<float> operator[](std::string_view name) { return (*this)[find(name)]; }
  /// The same.
  std::span<const float> operator[](std::string_view name) const { return (*this)[find(name)]; }
  std::span<const float> at(int row, Role role) const override {
    const Slot* slot = slot_of(row, role);
    return slot == nullptr ? std::span<const float>() : (*this)[*slot];
  }
  /// The slot of a tensor of a row, or nullptr.
  const Slot* slot_of(int row, Role role) const {
    const auto index = static_cast<std::size_t>(row);
    for (std::size_t i = first_slot_[index]; i < first_slot_[index + 1]; ++i) {
      if (slots_[i].entry.role == role) return &slots_[i];
    }
    return nullptr;
  }

  /// Training steps that the running statistics have seen: torchvision's `num_batches_tracked`, one for all layers.
  const std::int64_t& batches_tracked() const { return batches_tracked_; }
  /// Sets it.
  void set_batches_tracked(std::int64_t batches) { batches_tracked_ = batches; }

 private:
  const Slot& find(std::string_view name) const {
    for (const Slot& slot : slots_) {
      if (name.starts_with(slot.entry.prefix.view()) && slot.entry.name().view() == name) return slot;
    }
    fail<Error>("the network has no tensor \"", name, "\"; its first is \"",
                slots_.empty() ? std::string_view() : std::string_view(slots_[0].entry.name().view()), "\"");
  }

  std::span<const Layer> layers_;
  std::vector<std::size_t> first_slot_;  // of each row
  std::vector<Slot> slots_;
  std::vector<float> values_;
  std::int64_t batches_tracked_ = 0;
};

}  // namespace resnext
