/// @file
/// Parameters from and to safetensors files with torchvision's names; `nn/pth_files.hpp` has those of PyTorch.
#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <resnext/error.hpp>
#include <resnext/io/safetensors.hpp>
#include <resnext/nn/parameters.hpp>

namespace resnext {

/// Tensors under this prefix are the optimiser's; whoever reads weights passes over them.
inline constexpr std::string_view optimizer_prefix = "optimizer.";

/// A file of named tensors: `Safetensors`, `TorchArchive`. `find` gives one of `entries()`.
template <class File>
concept TensorFile = requires(const File& file, const typename File::Entry& entry, std::span<float> values,
                              std::span<std::int64_t> numbers) {
  { file.path() } -> std::convertible_to<std::string>;
  { file.entries() } -> std::convertible_to<std::span<const typename File::Entry>>;
  { file.find(std::string_view()) } -> std::same_as<const typename File::Entry*>;
  file.read(entry, values);
  file.read(entry, numbers);
  file.release(entry);
};

/// What becomes of the classifier, the last layer of the table, when a file is read.
enum class Head {
  from_file,  ///< it is read like everything else
  fresh       ///< it is initialised, whatever the file has of that name: nothing, or the one of other classes
};

namespace detail {

/// What does not fit between a file and a network, the first few of each kind.
class Mismatch {
 public:
  enum Kind { missing, of_another_shape, of_another_type, unexpected };

  void add(Kind kind, const std::string& what) {
    auto& [count, names] = found_[kind];
    if (++count <= most_named) names += (count > 1 ? ", " : " ") + what;
  }
  /// @throws FileError if anything was added.
  void check(const std::string& path) const {
    static constexpr std::array<std::string_view, 4> kinds{"missing", "of another shape", "of another type",
                                                           "unexpected"};
    std::string text;
    for (std::size_t i = 0; i < kinds.size(); ++i) {
      const auto& [count, names] = found_[i];
      if (count > 0) text += joined("\n  ", kinds[i], ":", names);
      if (count > most_named) text += joined(" and ", count - most_named, " more");
    }
    if (!text.empty()) throw_error<FileError>(path, " does not hold the parameters of this network", text);
  }

 private:
  static constexpr int most_named = 5;
  struct Found {
    int count = 0;
    std::string names;
  };
  std::array<Found, 4> found_;
};

inline std::vector<std::int64_t> shape_of(const StateEntry& entry) {
  return {entry.shape.begin(), entry.shape.begin() + entry.rank};
}

inline bool in_head(const StateEntry& entry, std::span<const Layer> layers) {
  return entry.layer == static_cast<int>(layers.size()) - 1;
}

}  // namespace detail

/// Checks that a file has the tensors `prefix` + name of a layer table, as F32, F16, BF16 or F64. `num_batches_tracked`
/// may be absent, of any number type (who converts all tensors of a network converts the counters too), or of the shape
/// [1], as PyTorch 0.3 had no scalars.
/// @param learned_only leaves BN's statistics alone, as a file of gradients or velocities has none
/// @param head says whether the classifier has to be there
/// @throws FileError which lists what is missing, unexpected, or of another shape or type
template <TensorFile File>
void check_tensors(const File& file, std::span<const Layer> layers, std::string_view prefix = {},
                   bool learned_only = false, Head head = Head::from_file) {
  using Kind = detail::Mismatch::Kind;
  detail::Mismatch mismatch;
  const std::span<const typename File::Entry> entries = file.entries();
  std::vector<char> expected(entries.size());
  for_each_entry(layers, [&](const StateEntry& entry) {
    if (learned_only && !entry.learned()) return;
    const std::string name = std::string(prefix).append(entry.name().view());
    const auto* found = file.find(name);
    if (found != nullptr) expected[static_cast<std::size_t>(found - entries.data())] = true;
    if (head == Head::fresh && detail::in_head(entry, layers)) return;
    const auto shape = detail::shape_of(entry);
    const bool counter = entry.role == TensorRole::num_batches_tracked;
    if (found == nullptr) {
      if (!counter) mismatch.add(Kind::missing, name);
    } else if (found->shape != shape && !(counter && found->shape == std::vector<std::int64_t>{1})) {
      mismatch.add(Kind::of_another_shape,
                   name + ": expected " + detail::shape_text(shape) + ", found " + detail::shape_text(found->shape));
    } else if (const bool real = found->dtype == Dtype::F32 || found->dtype == Dtype::F16 ||
                                 found->dtype == Dtype::BF16 || found->dtype == Dtype::F64;
               !counter && !real) {
      mismatch.add(Kind::of_another_type,
                   name + ": expected F32, F16, BF16 or F64, found " + std::string(dtype_name(found->dtype)));
    }
  });
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const std::string& name = entries[i].name;
    const bool ours = prefix.empty() ? !name.starts_with(optimizer_prefix) : name.starts_with(prefix);
    if (ours && !expected[i]) mismatch.add(Kind::unexpected, name);
  }
  mismatch.check(file.path());
}

/// Fills `state` from the tensors of a file that check_tensors() accepts; its arguments are the same.
/// @throws FileError as check_tensors() does; `state` is then unchanged
template <TensorFile File>
void read_tensors(const File& file, StateDict& state, std::string_view prefix = {}, bool learned_only = false,
                  Head head = Head::from_file) {
  check_tensors(file, state.layers(), prefix, learned_only, head);
  std::int64_t most_batches = 0;
  for (const StateDict::Slot& slot : state.tensors()) {
    if (head == Head::fresh && detail::in_head(slot.entry, state.layers())) continue;
    const auto* found = file.find(std::string(prefix).append(slot.entry.name().view()));
    if (found == nullptr || (learned_only && !slot.entry.learned())) continue;
    if (slot.entry.role == TensorRole::num_batches_tracked) {
      std::int64_t batches = 0;
      file.read(*found, std::span(&batches, 1));
      most_batches = std::max(most_batches, batches);
    } else {
      file.read(*found, state[slot]);
      file.release(*found);
    }
  }
  if (!learned_only) state.set_batches_tracked(most_batches);
}

/// The tensors of `state` as views for write_safetensors(), named `prefix` + name; `state` must outlive them.
inline std::vector<TensorView> tensor_views(const StateDict& state, std::string_view prefix = {},
                                            bool learned_only = false) {
  std::vector<TensorView> views;
  for (const StateDict::Slot& slot : state.tensors()) {
    if (learned_only && !slot.entry.learned()) continue;
    const std::string name = std::string(prefix).append(slot.entry.name().view());
    if (slot.entry.role == TensorRole::num_batches_tracked) {
      views.emplace_back(name, detail::shape_of(slot.entry), std::span(&state.batches_tracked(), 1));
    } else {
      views.emplace_back(name, detail::shape_of(slot.entry), state[slot]);
    }
  }
  return views;
}

namespace detail {

/// Fills new parameters from a file, a fresh classifier from `seed`.
template <TensorFile File>
void load(const File& file, StateDict& state, std::string_view prefix, Head head, std::uint64_t seed) {
  for (const StateDict::Slot& slot : state.tensors()) {
    if (head == Head::fresh && in_head(slot.entry, state.layers())) initialize(state, slot, seed);
  }
  read_tensors(file, state, prefix, false, head);
}

}  // namespace detail

/// Reads the parameters of `Net` from a safetensors file, for instance of torchvision's or timm's weights.
/// @param head `Head::fresh` reads everything but the classifier, which is initialised from `seed`: for other classes
/// @throws FileError when the file is not well-formed, or lists what does not fit the network
template <class Net>
Parameters<Net> load_safetensors(const std::string& path, Head head = Head::from_file, std::uint64_t seed = 0) {
  StateDict state(Net::layers);
  detail::load(Safetensors(path), state, {}, head, seed);
  return Parameters<Net>(state);
}

/// The parameters that a safetensors file is evaluated with: a checkpoint's moving average where it has one, else as
/// `load_safetensors` reads them.
/// @throws FileError as that does
template <class Net>
Parameters<Net> load_ema(const std::string& path) {
  const Safetensors file(path);
  const std::string average = std::string(optimizer_prefix) + "ema.";
  const auto at = std::ranges::lower_bound(file.entries(), average, {}, &Safetensors::Entry::name);
  const bool has_one = at != file.entries().end() && at->name.starts_with(average);
  StateDict state(Net::layers);
  read_tensors(file, state, has_one ? average : std::string());
  return Parameters<Net>(state);
}

/// Writes parameters in fp32 under torchvision's names, completely or not at all.
/// @throws FileError when the file cannot be written
inline void save_safetensors(const std::string& path, const StateDict& state,
                             const std::map<std::string, std::string>& metadata = {{"format", "pt"}}) {
  write_safetensors(path, tensor_views(state), metadata);
}

}  // namespace resnext
