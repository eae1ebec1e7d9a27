/// @file
/// The networks of the paper and their relatives, each one line.
#pragma once

#include <resnext/model/network.hpp>

namespace resnext {

/// The ImageNet template of Table 1 (224 x 224, 1000 classes) with any block and any depths.
template <class Block, int N1, int N2, int N3, int N4, int K = 1000>
using ImageNetTemplate = Template<ImageNetStem<>, Block, Stage<N1>, Stage<N2>, Stage<N3>, Stage<N4>, Classes<K>>;

/// The CIFAR template of Sec. 5.3 (32 x 32): three stages of N blocks.
template <class Block, int N, int K = 10>
using CifarTemplate = Template<CifarStem<>, Block, Stage<N>, Stage<N>, Stage<N>, Classes<K>>;

/// Stages of 3, 4, 6 and 3 blocks of C paths of width d; `ResNeXt50<32, 4>` is torchvision's resnext50_32x4d.
template <int C, int d, int K = 1000>
using ResNeXt50 = Network<ImageNetTemplate<Bottleneck<C, d>, 3, 4, 6, 3, K>>;
/// Stages of 3, 4, 23 and 3 blocks; `ResNeXt101<64, 4>` is the paper's best.
template <int C, int d, int K = 1000>
using ResNeXt101 = Network<ImageNetTemplate<Bottleneck<C, d>, 3, 4, 23, 3, K>>;
/// Stages of 3, 8, 36 and 3 blocks, as in the paper's code.
template <int C, int d, int K = 1000>
using ResNeXt152 = Network<ImageNetTemplate<Bottleneck<C, d>, 3, 8, 36, 3, K>>;

/// ResNet is ResNeXt of cardinality 1.
using ResNet50 = ResNeXt50<1, 64>;
/// The same.
using ResNet101 = ResNeXt101<1, 64>;
/// The same.
using ResNet152 = ResNeXt152<1, 64>;
/// The shallow ones are made of two 3x3 a block (He et al. 2015).
using ResNet18 = Network<ImageNetTemplate<Basic<1, 64>, 2, 2, 2, 2>>;
/// The same.
using ResNet34 = Network<ImageNetTemplate<Basic<1, 64>, 3, 4, 6, 3>>;

/// ResNeXt-29 for K classes of 32 x 32 images (Table 7: 8x64d and 16x64d).
template <int C, int d, int K = 10>
using ResNeXt29 = Network<CifarTemplate<Bottleneck<C, d>, 3, K>>;

}  // namespace resnext
