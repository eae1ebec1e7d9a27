// The networks of the golden cases, as types.
#pragma once

#include <string>

#include <resnext/model/family.hpp>

#include "support/golden.hpp"

namespace support {

/// Calls `check.operator()<Net>(golden)`, if the case is there.
template <class Net, class... Arguments>
void with_case(const std::string& name, auto check, Arguments... arguments) {
  CAPTURE(name);
  if (const auto golden = shared_golden(name)) check.template operator()<Net>(*golden, arguments...);
}

using TinyNet = Network<
    Template<ImageNetStem<8>, Bottleneck<4, 4>, Planes<8>, Stage<1>, Stage<1>, Stage<1>, Stage<1>, Classes<10>>>;

inline constexpr TrainingTolerance sharp{.gradients = 3e-5, .sharp = true};

/// The repository's own cases: small networks that no register is wide as, every kind of block and stem.
void for_each_own(auto check) {
  using Bottlenecks = Network<Template<CifarStem<8>, Bottleneck<3, 2>, Planes<4>, Stage<1>, Stage<2>, Classes<5>>>;
  using Pooled = Network<Template<ImageNetStem<6>, Bottleneck<2, 5>, Planes<3>, Stage<1>, Stage<1>, Classes<7>>>;
  using Basics = Network<Template<CifarStem<8>, Basic<1, 8>, Planes<8>, Stage<1>, Stage<1>, Classes<4>>>;
  check.template operator()<Bottlenecks>(own_golden("bottleneck"));
  check.template operator()<Pooled>(own_golden("imagenet"));
  check.template operator()<Basics>(own_golden("basic"));
}

/// The large collection: what every backend has to classify, and to train.
void for_each_inference(auto check) {
  with_case<ResNet50>("infer_resnet50_1x64d", check);
  with_case<ResNeXt50<32, 4>>("infer_resnext50_32x4d", check);
  with_case<ResNeXt101<32, 4>>("infer_resnext101_32x4d", check);
  with_case<ResNeXt29<4, 8>>("infer_cifar29_4x8d", check);
  with_case<ResNeXt29<8, 64>>("infer_cifar29_8x64d", check);
  with_case<TinyNet>("files", check);
}

void for_each_training(auto check) {
  using Basic14 = Network<CifarTemplate<Basic<1, 64>, 2>>;
  constexpr TrainingTolerance ordinary{}, small_maps{.logits = 3e-5};
  with_case<Network<CifarTemplate<Bottleneck<4, 8>, 2>>>("train_sharp_cifar20_4x8d", check, sharp);
  with_case<Basic14>("train_sharp_cifar14_basic", check, sharp);
  with_case<Network<ImageNetTemplate<Bottleneck<32, 4>, 1, 1, 1, 1, 10>>>("train_sharp_imagenet14_32x4d", check, sharp);
  with_case<ResNeXt50<32, 4>>("train_resnext50_32x4d_64px", check, small_maps);
  with_case<Basic14>("train_cifar14_basic", check, ordinary);
  with_case<ResNeXt29<4, 8>>("train_cifar29_4x8d", check, ordinary);
}

}  // namespace support
