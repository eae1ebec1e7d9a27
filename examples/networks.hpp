/// The networks that train, classify and imagenet are compiled with, and the data sets of the small ones. The programs
/// see interfaces only; the networks are compiled once, in networks/.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <resnext/data/augment.hpp>
#include <resnext/data/cifar.hpp>
#include <resnext/data/idx.hpp>
#include <resnext/error.hpp>
#include <resnext/nn/any_executors.hpp>
#include <resnext/nn/parameters.hpp>
#include <resnext/nn/trainer_options.hpp>

namespace examples {

using namespace resnext;

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

/// Names of the networks for small pictures; each is there for every data set.
std::vector<std::string> small_networks();
/// A new trainer of the one with that name for a data set.
std::unique_ptr<AnyTrainer> small_trainer(std::string_view network, const Source& source, std::uint64_t seed,
                                          const TrainerOptions& options, Initializer initializer);
/// A classifier with the parameters of a file.
std::unique_ptr<AnyClassifier> small_classifier(std::string_view network, const Source& source,
                                                const std::filesystem::path& weights);

/// Names of the networks for ImageNet.
std::vector<std::string> imagenet_networks();
/// A classifier with the parameters of a file.
std::unique_ptr<AnyClassifier> imagenet_classifier(std::string_view network, const std::filesystem::path& weights);
/// A classifier with random parameters.
std::unique_ptr<AnyClassifier> imagenet_classifier(std::string_view network, std::uint64_t seed);

}  // namespace examples
