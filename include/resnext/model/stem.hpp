/// @file
/// The first layers of a network, before the stages.
#pragma once

#include <resnext/model/table_builder.hpp>

namespace resnext {

/// What a template argument of `Template` is.
enum class TemplatePart { stem, input, block, planes, stage, classes, features, unknown };

/// The stem of Table 1: 7x7 convolution of stride 2, BN, ReLU, 3x3 max pool of stride 2.
/// `[N, H, W, Inputs]` becomes `[N, H / 4, W / 4, Channels]`.
template <int Channels = 64, int Inputs = 3>
struct ImageNetStem {
  static constexpr TemplatePart part = TemplatePart::stem;  ///< its place in a `Template`
  static constexpr int channels = Channels;                 ///< that go out
  static constexpr int inputs = Inputs;                     ///< of an image

  /// Appends the rows that read value `input`; returns the value that the last one writes.
  static constexpr int rows(TableBuilder& table, int input) {
    const int convolved = table.convolution("conv1", input, Inputs, Channels, 7, 2);
    const int normalised = table.batch_norm("bn1", convolved, Channels);
    return table.max_pool("maxpool", table.relu("relu", normalised, Channels), Channels, 3, 2);
  }
};

/// The stem of the CIFAR networks (Sec. 5.3): 3x3 convolution, BN, ReLU.
/// `[N, H, W, Inputs]` becomes `[N, H, W, Channels]`.
template <int Channels = 64, int Inputs = 3>
struct CifarStem {
  static constexpr TemplatePart part = TemplatePart::stem;  ///< its place in a `Template`
  static constexpr int channels = Channels;                 ///< that go out
  static constexpr int inputs = Inputs;                     ///< of an image

  /// Appends the rows that read value `input`; returns the value that the last one writes.
  static constexpr int rows(TableBuilder& table, int input) {
    const int convolved = table.convolution("conv1", input, Inputs, Channels, 3, 1);
    return table.relu("relu", table.batch_norm("bn1", convolved, Channels), Channels);
  }
};

/// No stem: a network that begins at a map `[N, H, W, Channels]`, as a part of a larger one does. Stages of no blocks
/// before its first one stand for those that the map comes from.
template <int Channels>
struct Input {
  static constexpr TemplatePart part = TemplatePart::input;  ///< its place in a `Template`
  static constexpr int channels = Channels;                  ///< of the map
  static constexpr int inputs = Channels;                    ///< the same

  /// Appends nothing.
  static constexpr int rows(TableBuilder&, int input) { return input; }
};

}  // namespace resnext
