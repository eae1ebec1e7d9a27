/// @file
/// The building blocks of Fig. 3: empty tags that know how to write their rows.
#pragma once

#include <resnext/model/stem.hpp>
#include <resnext/model/table_builder.hpp>

namespace resnext {

/// The shortcut of a block (He et al. 2015): a projection where the shape changes, or in every block.
enum class Shortcut { projection /* type B */, projection_always /* type C */ };

/// What can be varied in a block beside C and d. Blocks are post-activation, aggregated in form (c) of Fig. 3.
/// Give a named constant as the template argument: clang 14 refuses designated initialisers inside `<...>`.
struct BlockOptions {
  Shortcut shortcut = Shortcut::projection;  ///< where it is a convolution
  bool residual = true;                      ///< false removes the shortcuts (the ablation of Sec. 5.1)
  friend constexpr bool operator==(const BlockOptions&, const BlockOptions&) = default;
};

/// Where a block stands; all that its template rules leave open follows from this.
struct BlockPlace {
  int stage = 0;     ///< from 0
  int block = 0;     ///< from 0, in the stage
  int in = 0;        ///< channels that come in
  int planes = 0;    ///< n of stage 0; the block's own is `planes << stage`
  LayerName prefix;  ///< `layer1.0.`

  /// 2 where the map is halved: in the first block of every stage but the first.
  constexpr int stride() const { return stage > 0 && block == 0 ? 2 : 1; }
  /// The name of a row of the block.
  constexpr LayerName path(std::string_view part) const { return LayerName(prefix).append(part); }
};

namespace detail {

/// Adds the shortcut to `branch`, then ReLU. Returns the block's output.
constexpr int close_block(TableBuilder& table, BlockPlace at, BlockOptions options, int input, int branch, int out) {
  if (options.residual) {
    int shortcut = input;
    if (options.shortcut == Shortcut::projection_always || at.stride() != 1 || at.in != out) {
      shortcut = table.convolution(at.path("downsample.0"), input, at.in, out, 1, at.stride());
      shortcut = table.batch_norm(at.path("downsample.1"), shortcut, out);
    }
    branch = table.add(at.path("add"), branch, shortcut, out);
  }
  return table.relu(at.path("relu"), branch, out);
}

}  // namespace detail

/// The ResNeXt block, form (c) of Fig. 3: 1x1, grouped 3x3 with C paths of width d, 1x1; BN after each, shortcut added.
/// `d` is the width of a path in the first stage and doubles with each stage. `Bottleneck<1, 64>` is ResNet's block.
template <int C, int d, BlockOptions Options = BlockOptions{}>
struct Bottleneck {
  static constexpr TemplatePart part = TemplatePart::block;  ///< its place in a `Template`
  static constexpr int cardinality = C;                      ///< paths
  static constexpr int width = d;                            ///< of a path in the first stage
  static constexpr int expansion = 4;                        ///< output channels over those of `Planes`

  /// Appends the rows of the block at `at` that read value `input`; returns the value that the last one writes.
  static constexpr int rows(TableBuilder& table, BlockPlace at, int input) {
    const int inner = C * d << at.stage;
    const int out = expansion * at.planes << at.stage;
    int value = table.convolution(at.path("conv1"), input, at.in, inner, 1, 1);
    value = table.relu(at.path("relu1"), table.batch_norm(at.path("bn1"), value, inner), inner);
    value = table.convolution(at.path("conv2"), value, inner, inner, 3, at.stride(), C);
    value = table.relu(at.path("relu2"), table.batch_norm(at.path("bn2"), value, inner), inner);
    value = table.batch_norm(at.path("bn3"), table.convolution(at.path("conv3"), value, inner, out, 1, 1), out);
    return detail::close_block(table, at, Options, input, value, out);
  }
};

/// The block of depth 2 (Fig. 4): two 3x3. Aggregating C paths of two layers is the same as a dense block of width
/// `C * d`, so that is what it becomes. `Basic<1, 64>` is the block of ResNet-18 and -34.
template <int C, int d, BlockOptions Options = BlockOptions{}>
struct Basic {
  static constexpr TemplatePart part = TemplatePart::block;  ///< its place in a `Template`
  static constexpr int cardinality = C;                      ///< paths
  static constexpr int width = d;                            ///< of a path in the first stage
  static constexpr int expansion = 1;                        ///< output channels over those of `Planes`

  /// Appends the rows of the block at `at` that read value `input`; returns the value that the last one writes.
  static constexpr int rows(TableBuilder& table, BlockPlace at, int input) {
    const int inner = C * d << at.stage;
    const int out = expansion * at.planes << at.stage;
    int value = table.convolution(at.path("conv1"), input, at.in, inner, 3, at.stride());
    value = table.relu(at.path("relu1"), table.batch_norm(at.path("bn1"), value, inner), inner);
    value = table.batch_norm(at.path("bn2"), table.convolution(at.path("conv2"), value, inner, out, 3, 1), out);
    return detail::close_block(table, at, Options, input, value, out);
  }
};

}  // namespace resnext
