/// @file
/// One row of a network's layer table: an operator, the values it reads and writes, and its hyper-parameters.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string_view>

namespace resnext {

/// A short text that can be a template argument and a constant, for instance `layer3.2.conv2`.
struct LayerName {
  char text[48] = {};  ///< not ended by a zero
  int size = 0;        ///< letters in use

  constexpr LayerName() = default;
  /// The text, which must fit.
  constexpr LayerName(std::string_view words) { append(words); }
  /// The same.
  constexpr LayerName(const char* words) : LayerName(std::string_view(words)) {}

  /// Appends text; a name that is too long does not compile (and throws std::out_of_range at run time).
  constexpr LayerName& append(std::string_view words) {
    if (words.size() > sizeof text - static_cast<std::size_t>(size))
      throw std::out_of_range("a layer's name is too long");
    for (const char letter : words) text[size++] = letter;
    return *this;
  }
  /// Appends a number from 0 in decimal.
  constexpr LayerName& append(int number) {
    if (number >= 10) append(number / 10);
    const char digit = static_cast<char>('0' + number % 10);
    return append(std::string_view(&digit, 1));
  }
  /// The text, valid as long as the name.
  constexpr std::string_view view() const { return {text, static_cast<std::size_t>(size)}; }
  /// The same.
  constexpr operator std::string_view() const { return view(); }
};

/// What a row computes.
enum class LayerOp : std::uint8_t { convolution, batch_norm, relu, add, max_pool, average_pool, linear };

/// One row of a layer table. Values are numbered: 0 is the network's input, and each row writes a value of its own.
struct Layer {
  LayerOp op = LayerOp::relu;  ///< what it computes
  LayerName name;              ///< path in torchvision's spelling, also the prefix of its state-dict entries
  int input = 0;               ///< value read
  int other = -1;              ///< second value read (add), or -1
  int output = 0;              ///< value written
  int in = 0;                  ///< channels (linear: features) of `input`
  int out = 0;                 ///< channels (linear: features) of `output`
  int kernel = 1;              ///< edge of the square window
  int stride = 1;              ///< step of the window
  int padding = 0;             ///< zeros (max pool: minus infinity) around the map
  int groups = 1;              ///< paths of a grouped convolution: the paper's cardinality C
};

/// Height, width and channels of a value. N is free.
struct Extent {
  int h = 0;  ///< rows
  int w = 0;  ///< columns
  int c = 0;  ///< channels

  /// Numbers in it.
  constexpr std::int64_t size() const { return std::int64_t{h} * w * c; }
  friend constexpr bool operator==(const Extent&, const Extent&) = default;
};

/// Extent after one row, for an input of h x w; zero or negative where the window does not fit.
constexpr Extent output_extent(const Layer& layer, Extent input) {
  switch (layer.op) {
    case LayerOp::convolution:
    case LayerOp::max_pool: {
      const auto reach = [&](int edge) {
        const int room = edge + 2 * layer.padding - layer.kernel;
        return room < 0 ? 0 : room / layer.stride + 1;
      };
      return {reach(input.h), reach(input.w), layer.out};
    }
    case LayerOp::average_pool:
    case LayerOp::linear:
      return {1, 1, layer.out};
    default:
      return input;
  }
}

/// Fills `extents[value]` for every value of the table; `extents` has `layers.size() + 1` places.
constexpr void compute_extents(std::span<const Layer> layers, Extent input, std::span<Extent> extents) {
  if (extents.empty()) return;  // g++ follows the vector without elements too, and warns in its user's program
  extents[0] = input;
  for (const Layer& layer : layers) {
    extents[static_cast<std::size_t>(layer.output)] =
        output_extent(layer, extents[static_cast<std::size_t>(layer.input)]);
  }
}

/// Multiply-adds of one row for one image (convolution and linear; the paper counts nothing else).
constexpr std::int64_t layer_macs(const Layer& layer, Extent output) {
  if (layer.op == LayerOp::convolution) return output.size() * (layer.in / layer.groups) * layer.kernel * layer.kernel;
  if (layer.op == LayerOp::linear) return std::int64_t{layer.in} * layer.out;
  return 0;
}

/// Which tensor of a layer a state-dict entry is.
enum class TensorRole : std::uint8_t { weight, bias, running_mean, running_var, num_batches_tracked };

/// torchvision's word for a role.
constexpr std::string_view role_name(TensorRole role) {
  constexpr std::string_view words[] = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"};
  return words[static_cast<int>(role)];
}

/// One entry of a state dict.
struct StateEntry {
  int layer = 0;                            ///< row of the table
  TensorRole role = TensorRole::weight;     ///< which of its tensors
  LayerName prefix;                         ///< name of the row
  int rank = 0;                             ///< dimensions; 0 for a scalar
  std::array<int, 4> shape = {1, 1, 1, 1};  ///< the first `rank` count

  /// Full name, `layer1.0.conv2.weight`.
  constexpr LayerName name() const { return LayerName(prefix).append(".").append(role_name(role)); }
  /// Numbers in it.
  constexpr std::int64_t size() const { return std::int64_t{shape[0]} * shape[1] * shape[2] * shape[3]; }
  /// Learned by gradient descent, and counted as a parameter.
  constexpr bool learned() const { return role == TensorRole::weight || role == TensorRole::bias; }
};

/// Calls `visit(StateEntry)` for every state-dict entry of the table, in torchvision's order.
template <class Visit>
constexpr void for_each_entry(std::span<const Layer> layers, Visit&& visit) {
  for (int row = 0; row < static_cast<int>(layers.size()); ++row) {
    const Layer& layer = layers[static_cast<std::size_t>(row)];
    if (layer.op == LayerOp::convolution) {
      visit(StateEntry{
          row, TensorRole::weight, layer.name, 4, {layer.out, layer.in / layer.groups, layer.kernel, layer.kernel}});
    } else if (layer.op == LayerOp::batch_norm) {
      for (const TensorRole role :
           {TensorRole::weight, TensorRole::bias, TensorRole::running_mean, TensorRole::running_var}) {
        visit(StateEntry{row, role, layer.name, 1, {layer.out, 1, 1, 1}});
      }
      visit(StateEntry{row, TensorRole::num_batches_tracked, layer.name, 0, {1, 1, 1, 1}});
    } else if (layer.op == LayerOp::linear) {
      visit(StateEntry{row, TensorRole::weight, layer.name, 2, {layer.out, layer.in, 1, 1}});
      visit(StateEntry{row, TensorRole::bias, layer.name, 1, {layer.out, 1, 1, 1}});
    }
  }
}

}  // namespace resnext
