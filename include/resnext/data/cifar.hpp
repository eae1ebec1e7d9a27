/// @file
/// The binary files of CIFAR-10 and CIFAR-100 (Krizhevsky 2009, www.cs.toronto.edu/~kriz/cifar.html).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <resnext/data/class_names.hpp>
#include <resnext/data/dataset.hpp>
#include <resnext/error.hpp>
#include <resnext/io/file.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace resnext {

/// The labels of CIFAR-100: 100 classes or 20 superclasses.
enum class CifarLabels { fine, coarse };

namespace detail {

/// A label byte of a record: the number of its classes.
struct CifarLabel {
  std::string_view name;
  int classes;
};

inline constexpr std::size_t cifar_side = 32;

/// Appends a file of `records` records: the label bytes, of which number `use` counts, then the planes R, G, B.
inline void append_cifar(Dataset& dataset, const MappedFile& file, std::size_t records,
                         std::span<const CifarLabel> label_bytes, std::size_t use) {
  constexpr std::size_t plane = cifar_side * cifar_side, image = 3 * plane;
  const std::size_t record = label_bytes.size() + image;
  if (file.size() != records * record)
    throw_error<FileError>(file.path(), ": expected ", records, " records of ", record, " bytes, ", records * record,
                           " in all, found ", file.size(), file.size() % record ? " (no whole number of records)" : "");
  const auto* from = reinterpret_cast<const std::uint8_t*>(file.bytes().data());
  dataset.images.resize((dataset.labels.size() + records) * image);
  for (std::size_t r = 0; r < records; ++r) {
    for (std::size_t l = 0; l < label_bytes.size(); ++l)
      if (from[l] >= label_bytes[l].classes)
        throw_error<FileError>(file.path(), ": byte ", r * record + l, ": expected a ", label_bytes[l].name,
                               " label below ", label_bytes[l].classes, ", found ", int{from[l]});
    std::uint8_t* to = dataset.images.data() + dataset.labels.size() * image;
    dataset.labels.push_back(from[use]);
    from += label_bytes.size();
    for (std::size_t i = 0; i < plane; ++i)
      for (std::size_t c = 0; c < 3; ++c) *to++ = from[c * plane + i];
    from += image;
  }
}

/// Reads files of `records` records each, and the names of the classes where there is such a file.
inline Dataset read_cifar(std::string name, std::span<const std::filesystem::path> files, std::size_t records,
                          std::span<const CifarLabel> label_bytes, std::size_t use,
                          const std::filesystem::path& class_names) {
  Dataset dataset;
  dataset.name = std::move(name);
  dataset.height = dataset.width = static_cast<int>(cifar_side);
  dataset.channels = 3;
  dataset.classes = label_bytes[use].classes;
  if (std::filesystem::exists(class_names)) dataset.class_names = read_class_names(class_names, dataset.classes);
  dataset.labels.reserve(files.size() * records);
  dataset.images.reserve(files.size() * records * dataset.image_size());
  for (const auto& path : files) append_cifar(dataset, MappedFile(path), records, label_bytes, use);
  return dataset;
}

}  // namespace detail

/// CIFAR-10 from the folder `cifar-10-batches-bin`: 50,000 + 10,000 pictures `[32, 32, 3]` of ten classes; class names
/// from `batches.meta.txt` if it is there. Throws FileError when a file is missing, too short or long, or has a label
/// beyond the classes.
inline Dataset cifar10(DatasetSplit split, const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  if (split == DatasetSplit::test)
    files.push_back(folder / "test_batch.bin");
  else
    for (int i = 1; i <= 5; ++i) files.push_back(folder / ("data_batch_" + std::to_string(i) + ".bin"));
  constexpr std::array<detail::CifarLabel, 1> labels{{{"class", 10}}};
  return detail::read_cifar("CIFAR-10", files, 10000, labels, 0, folder / "batches.meta.txt");
}

/// CIFAR-100 from the folder `cifar-100-binary`: 50,000 + 10,000 pictures `[32, 32, 3]`; class names from
/// `fine_label_names.txt` or `coarse_label_names.txt` if it is there. Throws FileError as `cifar10` does.
inline Dataset cifar100(DatasetSplit split, const std::filesystem::path& folder,
                        CifarLabels labels = CifarLabels::fine) {
  const bool train = split == DatasetSplit::train, fine = labels == CifarLabels::fine;
  const std::array files{folder / (train ? "train.bin" : "test.bin")};
  constexpr std::array<detail::CifarLabel, 2> bytes{{{"coarse", 20}, {"fine", 100}}};
  return detail::read_cifar("CIFAR-100", files, train ? 50000 : 10000, bytes, fine ? 1 : 0,
                            folder / (fine ? "fine_label_names.txt" : "coarse_label_names.txt"));
}

}  // namespace resnext
