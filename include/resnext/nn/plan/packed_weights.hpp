/// @file
/// Weights as a backend's operators read them, shared by the plans of all extents.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <resnext/nn/state_dict.hpp>

namespace resnext::detail {

/// Packs the weights of each unit once for every layout in which plans ask for them: plans of other extents mostly ask
/// for the same.
template <class B>
class PackedWeights {
 public:
  using Memory = typename B::template Buffer<std::byte>;

  /// A unit's weights in one layout.
  struct Block {
    int row = 0;                          ///< at the unit's core
    std::string layout;                   ///< as the operator names it; empty for what one plan has alone
    std::size_t size = 0;                 ///< bytes
    std::byte* data = nullptr;            ///< where they are
    int version = 0;                      ///< of the parameters that were packed
    std::shared_ptr<Memory> memory = {};  ///< that `data` lies in
  };

  explicit PackedWeights(std::shared_ptr<const ParameterSource> source) : source_(std::move(source)) {}

  /// What is packed.
  const ParameterSource& source() const { return *source_; }
  /// Other parameters of the same network. Plans pack them anew before they run, into the same memory.
  void replace(std::shared_ptr<const ParameterSource> source) {
    source_ = std::move(source);
    ++version_;
  }
  /// Of source(), from 1.
  int version() const { return version_; }

  /// The blocks that are wanted, each of which is there already or gets memory.
  std::vector<std::shared_ptr<Block>> blocks(std::vector<Block> wanted) {
    const auto room = [](const Block& block) { return (block.size + B::alignment - 1) / B::alignment * B::alignment; };
    std::vector<std::shared_ptr<Block>> found;
    std::size_t bytes = 0;
    for (const Block& block : wanted) {
      found.push_back(find(block));
      if (found.back() == nullptr) bytes += room(block);
    }
    const auto memory = std::make_shared<Memory>(bytes);
    std::erase_if(single_, [](const auto& block) { return block.expired(); });
    std::byte* at = memory->data();
    for (std::size_t i = 0; i < found.size(); ++i) {
      if (found[i] != nullptr) continue;
      wanted[i].memory = memory;
      wanted[i].data = std::exchange(at, at + room(wanted[i]));
      found[i] = std::make_shared<Block>(std::move(wanted[i]));
      if (found[i]->layout.empty()) {
        single_.push_back(found[i]);
      } else {
        shared_.push_back(found[i]);
      }
    }
    return found;
  }
  /// Of all that is packed, without gaps.
  std::size_t bytes() const {
    std::size_t sum = 0;
    for (const auto& block : shared_) sum += block->size;
    for (const auto& block : single_) {
      if (const auto there = block.lock()) sum += there->size;
    }
    return sum;
  }

 private:
  std::shared_ptr<Block> find(const Block& wanted) const {
    for (const auto& block : shared_) {
      if (block->row == wanted.row && block->layout == wanted.layout) return block;
    }
    return nullptr;
  }

  std::shared_ptr<const ParameterSource> source_;
  int version_ = 1;
  std::vector<std::shared_ptr<Block>> shared_;
  std::vector<std::weak_ptr<Block>> single_;  // the plans' own
};

/// The layout of what an operator packs, or nothing.
template <class Operator>
std::string packed_layout(const Operator& op) {
  if constexpr (requires { op.packed_layout(); }) {
    return std::string(op.packed_layout());
  } else {
    return {};
  }
}

}  // namespace resnext::detail
