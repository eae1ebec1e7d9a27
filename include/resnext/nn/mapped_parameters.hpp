/// @file
/// Parameters that stay in their file.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <resnext/io/safetensors.hpp>
#include <resnext/nn/parameter_files.hpp>
#include <resnext/nn/parameters.hpp>

namespace resnext {

/// The tensors of a layer table where they lie in a safetensors file.
class MappedStateDict : public ParameterSource {
 public:
  /// @throws FileError when the file is not well-formed, or lists what does not fit the table
  MappedStateDict(const std::string& path, std::span<const Layer> layers) : file_(path), tensors_(layers.size()) {
    check_tensors(file_, layers);
    bool in_place = true;
    for_each_entry(layers, [&](const StateEntry& entry) {
      if (entry.role == TensorRole::num_batches_tracked) return;
      const Safetensors::Entry* found = file_.find(entry.name().view());
      const bool aligned = reinterpret_cast<std::uintptr_t>(file_.bytes(*found).data()) % alignof(float) == 0;
      in_place = in_place && aligned && found->dtype == Dtype::F32;
      tensors_[static_cast<std::size_t>(entry.layer)][static_cast<std::size_t>(entry.role)] = found;
    });
    if (!in_place) read_tensors(file_, copy_.emplace(layers));
  }

  std::span<const float> at(int row, TensorRole role) const override {
    if (copy_) return copy_->at(row, role);
    const Safetensors::Entry* entry = find(row, role);
    if (entry == nullptr) return {};
    return {reinterpret_cast<const float*>(file_.bytes(*entry).data()), entry->elements()};
  }
  void release(int row, TensorRole role) const override {
    if (const Safetensors::Entry* entry = find(row, role)) file_.release(*entry);
  }

 private:
  const Safetensors::Entry* find(int row, TensorRole role) const {
    return tensors_[static_cast<std::size_t>(row)][static_cast<std::size_t>(role)];
  }

  Safetensors file_;
  std::vector<std::array<const Safetensors::Entry*, static_cast<std::size_t>(TensorRole::num_batches_tracked) + 1>>
      tensors_;
  std::optional<StateDict> copy_;
};

/// The parameters of `Net` where they lie in a safetensors file. A classifier packs its weights straight from the
/// mapping, so a program starts sooner and holds them once instead of twice. Only for reading; copies and any number of
/// classifiers share the mapping, which ends with the last of them. The file must not be shortened meanwhile, see
/// MappedFile. A file whose tensors are not all F32, or not aligned, is copied.
template <class Net>
class MappedParameters {
 public:
  using Network = Net;  ///< whose they are

  /// @throws FileError when the file is not well-formed, or lists what does not fit the network
  explicit MappedParameters(const std::string& path)
      : source_(std::make_shared<const MappedStateDict>(path, Net::layers)) {}

  /// A tensor of a row of the layer table, see ParameterSource.
  std::span<const float> at(int row, TensorRole role) const { return source_->at(row, role); }
  /// What an executor holds.
  std::shared_ptr<const ParameterSource> source() const { return source_; }

 private:
  std::shared_ptr<const ParameterSource> source_;
};

}  // namespace resnext
