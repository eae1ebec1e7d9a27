/// @file
/// Parameters from the files that `torch.save` writes (.pth, .pt), with torchvision's names.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <resnext/io/torch_archive.hpp>
#include <resnext/model/layer.hpp>
#include <resnext/nn/parameter_files.hpp>
#include <resnext/nn/parameters.hpp>

namespace resnext {

/// The prefix under which a file has a network's tensors, or nothing: the key of a checkpoint's dictionary that they
/// are in ("state_dict.", "model.", "model_ema.", "ema.", "model_state_dict."), then what wrapped the module
/// ("module.", "_orig_mod.", "backbone."). What a file has twice is taken from the first in this order.
template <TensorFile File>
std::string find_prefix(const File& file, std::span<const Layer> layers) {
  std::string first;  // a tensor that every network of the kind has
  for_each_entry(layers, [&](const StateEntry& entry) {
    if (first.empty()) first = entry.name().view();
  });
  for (const std::string_view outer : {"", "state_dict.", "model.", "model_ema.", "ema.", "model_state_dict."}) {
    for (const std::string_view inner :
         {"", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "backbone.", "module.backbone."}) {
      std::string prefix = std::string(outer).append(inner);
      if (file.find(prefix + first) != nullptr) return prefix;
    }
  }
  return {};
}

/// Reads the parameters of `Net` from a file of `torch.save`: a state dict, or a checkpoint with one, under the prefix
/// that `find_prefix` finds.
/// @param head as in `load_safetensors`
/// @throws FileError when the file is not well-formed or refused (see `TorchArchive`), or lists what does not fit the
/// network
template <class Net>
Parameters<Net> load_pth(const std::string& path, Head head = Head::from_file, std::uint64_t seed = 0) {
  StateDict state(Net::layers);
  const TorchArchive file(path);
  detail::load(file, state, find_prefix(file, Net::layers), head, seed);
  return Parameters<Net>(state);
}

}  // namespace resnext
