/// @file
/// Weights as a backend's operators read them, shared by the plans of all extents.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <resnext/nn/state_dict.hpp>

namespace resnext::detail {

/// Packs the weights of each unit once for every layout in which plans ask for them: plans of other extents mostly ask
/// for the same.
template <class B>
class PackedWeights {
 public:
  /// A unit's weights in one layout.
  struct Block {
    int row = 0;           ///< at the unit's core
    std::string layout;    ///< as the operator names it
    std::size_t size = 0;  ///< bytes
    std::byte* data = nullptr;
    int version = 0;  ///< of the parameters that were packed
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
  std::vector<Block*> blocks(std::vector<Block> wanted) {
    std::vector<Block*> found;
    std::size_t bytes = 0;
    const auto first_new = blocks_.size();
    for (Block& block : wanted) {
      Block* there = find(block.row, block.layout);
      if (there == nullptr) {
        bytes += (block.size + B::alignment - 1) / B::alignment * B::alignment;
        there = &blocks_.emplace_back(std::move(block));
      }
      found.push_back(there);
    }
    if (bytes > 0) {
      std::byte* at = memory_.emplace_back(bytes).data();
      for (auto block = std::next(blocks_.begin(), static_cast<std::ptrdiff_t>(first_new)); block != blocks_.end();
           ++block) {
        block->data = at;
        at += (block->size + B::alignment - 1) / B::alignment * B::alignment;
      }
    }
    return found;
  }
  /// In the order in which they were first asked for.
  const std::list<Block>& blocks() const { return blocks_; }

 private:
  Block* find(int row, std::string_view layout) {
    for (Block& block : blocks_) {
      if (block.row == row && block.layout == layout) return &block;
    }
    return nullptr;
  }

  std::shared_ptr<const ParameterSource> source_;
  int version_ = 1;
  std::list<Block> blocks_;
  std::list<typename B::template Buffer<std::byte>> memory_;
};

/// The layout of what an operator packs: operators of one row for other extents whose layouts are equal pack the same
/// bytes. One that does not say shares with nobody.
template <class Operator>
std::string packed_layout(const Operator& op, const void* owner) {
  if constexpr (requires { op.packed_layout(); }) {
    static_cast<void>(owner);
    return std::string(op.packed_layout());
  } else {
    static_cast<void>(op);
    return "of " + std::to_string(reinterpret_cast<std::uintptr_t>(owner));
  }
}

}  // namespace resnext::detail
