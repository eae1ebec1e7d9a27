/// @file
/// The specialised kernels that a network's type asks for, and no others.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <utility>

#include <resnext/backend/cpu/grouped.hpp>
#include <resnext/model/layer.hpp>

namespace resnext {

/// The functions of one `GroupedConvolution<width>`, its width erased.
struct GroupedKernel {
  /// @name The types of the functions
  /// @{

  /// See `GroupedConvolution`.
  using Pack = void (*)(const float* weights, int channels, float* packed, Isa);
  using PackBackward = void (*)(const float* weights, int channels, int stride, float* packed, Isa);
  using Forward = void (*)(const GroupedShape&, const float* x, const float* packed, const float* bias, bool relu,
                           float* y, Isa);
  using BackwardData = void (*)(const GroupedShape&, const float* dy, const float* packed, float* dx, Isa);
  using BackwardWeights = void (*)(const GroupedShape&, const float* x, const float* dy, float* dweights,
                                   float* scratch, Isa, int parts);
  /// @}

  int width = 0;                                                               ///< channels of a group
  std::size_t (*packed_size)(int channels, Isa) = nullptr;                     ///< floats
  Pack pack_forward = nullptr;                                                 ///< weights for forward
  Forward forward = nullptr;                                                   ///< reads packed weights
  PackBackward pack_backward_data = nullptr;                                   ///< null for inference, as the rest
  BackwardData backward_data = nullptr;                                        ///< reads packed weights
  BackwardWeights backward_weights = nullptr;                                  ///< writes them as they are in a file
  std::size_t (*scratch_size)(const GroupedShape&, Isa, int parts) = nullptr;  ///< of backward_weights
};

/// Kernels by width; empty unless a network filled it.
class KernelRegistry {
 public:
  KernelRegistry() = default;
  /// Of kernels that outlive it.
  explicit KernelRegistry(std::span<const GroupedKernel> grouped) : grouped_(grouped) {}

  /// The kernel for groups of `width` channels, or null.
  const GroupedKernel* find(int width) const {
    const auto at = std::find_if(grouped_.begin(), grouped_.end(), [&](const auto& k) { return k.width == width; });
    return at == grouped_.end() ? nullptr : &*at;
  }
  /// All kernels.
  std::span<const GroupedKernel> grouped() const { return grouped_; }

 private:
  std::span<const GroupedKernel> grouped_;
};

namespace detail {

/// True if the own grouped kernels compute this convolution; `Convolution` is a row or a shape.
template <class Convolution>
constexpr bool is_grouped_3x3(const Convolution& c) {
  return c.groups > 1 && c.in == c.out && c.kernel == 3 && c.padding == 1 && (c.stride == 1 || c.stride == 2);
}

/// The distinct widths of a table's grouped 3x3 convolutions, in the table's order.
template <std::size_t n>
struct Widths {
  std::array<int, n> values = {};
  std::size_t count = 0;

  constexpr explicit Widths(const std::array<Layer, n>& layers) {
    for (const Layer& layer : layers) {
      if (layer.op != LayerOp::convolution || !is_grouped_3x3(layer)) continue;
      const int width = layer.in / layer.groups;
      const auto end = values.begin() + static_cast<std::ptrdiff_t>(count);
      if (std::find(values.begin(), end, width) == end) values[count++] = width;
    }
  }
};

/// Entries depend on the widths alone, so networks share them and symbols stay short.
template <bool training, int d>
constexpr GroupedKernel grouped_kernel() {
  using Grouped = GroupedConvolution<d>;
  GroupedKernel kernel{d, Grouped::packed_size, Grouped::pack_forward, Grouped::forward};
  if constexpr (training) {
    kernel.pack_backward_data = Grouped::pack_backward_data;
    kernel.backward_data = Grouped::backward_data;
    kernel.backward_weights = Grouped::backward_weights;
    kernel.scratch_size = Grouped::scratch_size;
  }
  return kernel;
}
template <bool training, int... d>
inline constexpr std::array<GroupedKernel, sizeof...(d)> grouped_kernels = {grouped_kernel<training, d>()...};

template <bool training, class Net>
KernelRegistry make_registry() {
  static constexpr Widths widths(Net::layers);
  return []<std::size_t... i>(std::index_sequence<i...>) {
    return KernelRegistry(grouped_kernels<training, widths.values[i]...>);
  }
  (std::make_index_sequence<widths.count>());
}

}  // namespace detail
}  // namespace resnext
