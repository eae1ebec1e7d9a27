/// The networks for small pictures that train and classify are compiled with. A network is a type, so a list of names
/// is a list of types: one line here adds one to both programs.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <resnext/data/augment.hpp>
#include <resnext/data/cifar.hpp>
#include <resnext/data/idx.hpp>
#include <resnext/resnext.hpp>

namespace examples {

using namespace resnext;

/// 29 layers as in the paper (Sec. 5.3), for pictures of any number of channels.
template <int C, int d, int Inputs, int K>
using Net29 = Network<Template<CifarStem<64, Inputs>, Bottleneck<C, d>, Stage<3>, Stage<3>, Stage<3>, Classes<K>>>;

/// The same template, narrow and shallow enough to be trained in minutes on two cores.
template <int Inputs, int K>
using Small =
    Network<Template<CifarStem<16, Inputs>, Bottleneck<4, 4>, Planes<16>, Stage<1>, Stage<1>, Stage<1>, Classes<K>>>;

/// Calls `visit.operator()<Net>(name)` for every network with that many inputs and classes.
template <int Inputs, int K, class Visit>
void for_each_network_of(Visit&& visit) {
  visit.template operator()<Small<Inputs, K>>("small");
  visit.template operator()<Net29<4, 8, Inputs, K>>("resnext29_4x8d");
  visit.template operator()<Net29<32, 4, Inputs, K>>("resnext29_32x4d");
  visit.template operator()<Net29<8, 64, Inputs, K>>("resnext29_8x64d");
  visit.template operator()<Net29<16, 64, Inputs, K>>("resnext29_16x64d");
}

/// Calls it for every network: those for Fashion-MNIST, CIFAR-10 and CIFAR-100.
template <class Visit>
void for_each_network(Visit&& visit) {
  for_each_network_of<1, 10>(visit);
  for_each_network_of<3, 10>(visit);
  for_each_network_of<3, 100>(visit);
}

/// The names, once each.
inline std::vector<std::string> network_names() {
  std::vector<std::string> names;
  for_each_network_of<1, 10>([&]<class Net>(const char* name) { names.push_back(name); });
  return names;
}

/// A data set as the programs offer it.
struct Source {
  std::string name;
  int inputs, classes;
  std::string folder;  ///< where it is unless the user says otherwise
  Dataset (*read)(DatasetSplit, const std::filesystem::path&);
  Augmentation (*recipe)();
};

inline const std::vector<Source>& sources() {
  static const std::vector<Source> all{
      {"fashion-mnist", 1, 10, std::string(fashion_mnist_folder), fashion_mnist, fashion_mnist_recipe},
      {"cifar10", 3, 10, "cifar-10-batches-bin", cifar10, cifar10_recipe},
      {"cifar100", 3, 100, "cifar-100-binary",
       [](DatasetSplit split, const std::filesystem::path& folder) { return cifar100(split, folder); }, cifar100_recipe},
  };
  return all;
}

inline const Source& source(std::string_view name) {
  for (const Source& candidate : sources()) {
    if (candidate.name == name) return candidate;
  }
  throw_error<OptionError>("there is no data set ", name, "; expected fashion-mnist, cifar10 or cifar100");
}

}  // namespace examples
