/// @file
/// Checkpoints: all that a run needs to go on as if it had never stopped, in one safetensors file.
///
/// Weights and BN statistics have torchvision's names, so that any program can read the file as plain weights.
/// What the optimiser keeps is `optimizer.velocity.<name>`, `optimizer.ema.<name>`; the place in the run and what was
/// counted are in the metadata. Nothing else is state: the learning rate, the order of the images and their
/// augmentation are functions of the step, the epoch and the options.
#pragma once

#include <locale.h>  // newlocale NOLINT(modernize-deprecated-headers): POSIX has it
#include <stdlib.h>  // strtod_l NOLINT(modernize-deprecated-headers): glibc has it
#include <unistd.h>  // getentropy

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include <resnext/error.hpp>
#include <resnext/io/json.hpp>
#include <resnext/io/leftovers.hpp>
#include <resnext/io/safetensors.hpp>
#include <resnext/nn/parameter_files.hpp>
#include <resnext/nn/trainer_state.hpp>
#include <resnext/random.hpp>
#include <resnext/tensor/number.hpp>
#include <resnext/text.hpp>
#include <resnext/train/run_state.hpp>

namespace resnext {

/// The state of a run of `Net`.
template <class Net>
struct Checkpoint {
  std::filesystem::path path;                    ///< of its file
  Parameters<Net> parameters;                    ///< weights and BN statistics
  TrainerState trainer{StateDict(Net::layers)};  ///< these and all else that a trainer goes on from
  RunState state;                                ///< where the run stands
};

/// The same of a network that is known when the program runs.
struct AnyCheckpoint {
  std::filesystem::path path;  ///< of its file
  TrainerState trainer;        ///< all that a trainer goes on from
  RunState state;              ///< where the run stands
};

namespace detail {

inline constexpr std::string_view checkpoint_key = "resnext.";  // of all our metadata
inline constexpr std::string_view option_key = "resnext.option.";
inline constexpr std::string_view checksum_key = "resnext.checksum";
// Version 1 had no id, and the names of the classes were an option, joined by '|'; up to version 2 there was one state
// of the optimiser, velocity, and nothing was counted.
inline constexpr int checkpoint_version = 3;
inline constexpr std::string_view checkpoint_stem = "checkpoint-", checkpoint_extension = ".safetensors";

/// A hash of byte strings, in which every single changed word changes the result.
class Checksum {
 public:
  void add(std::span<const std::byte> bytes) {
    add(bytes.size());
    std::uint64_t word = 0;
    for (; bytes.size() >= sizeof word; bytes = bytes.subspan(sizeof word)) {
      std::memcpy(&word, bytes.data(), sizeof word);
      add(word);
    }
    word = 0;
    if (!bytes.empty()) std::memcpy(&word, bytes.data(), bytes.size());
    add(word);
  }
  void add(std::string_view text) { add(std::as_bytes(std::span(text))); }
  void add(std::uint64_t word) { hash_ = mix(hash_ ^ word) + 0x9E3779B97F4A7C15u; }

  std::uint64_t value() const { return hash_; }

 private:
  std::uint64_t hash_ = 0;
};

inline std::string hexadecimal(std::uint64_t value) {
  std::string text(16, '0');
  for (std::size_t i = text.size(); i-- > 0; value >>= 4) text[i] = "0123456789abcdef"[value & 15];
  return text;
}

/// Of everything a file holds but the checksum itself.
inline std::string checksum_of(std::vector<TensorView> tensors, const std::map<std::string, std::string>& metadata) {
  Checksum sum;
  std::ranges::sort(tensors, {}, &TensorView::name);
  for (const TensorView& tensor : tensors) {
    sum.add(tensor.name);
    sum.add(static_cast<std::uint64_t>(tensor.dtype));
    sum.add(bytes_of(tensor.shape));
    sum.add(tensor.bytes);
  }
  for (const auto& [key, value] : metadata) {
    if (key == checksum_key) continue;
    sum.add(key);
    sum.add(value);
  }
  return hexadecimal(sum.value());
}

/// Tells networks apart: of everything in the layer table.
inline std::string identity_of(std::span<const Layer> layers) {
  Checksum sum;
  for (const Layer& layer : layers) {
    sum.add(layer.name.view());
    for (const int number : {static_cast<int>(layer.op), layer.input, layer.other, layer.output, layer.in, layer.out,
                             layer.kernel, layer.stride, layer.padding, layer.groups}) {
      sum.add(static_cast<std::uint64_t>(number));
    }
  }
  return hexadecimal(sum.value());
}

/// The number that is all of a text, in no locale's spelling.
template <class T>
std::optional<T> parsed(const std::string& text) {
  T number{};
  const char* end = text.data();
#if !defined(__cpp_lib_to_chars)  // libc++ reads no floating-point numbers
  if constexpr (std::is_floating_point_v<T>) {
    static const locale_t plain = ::newlocale(LC_ALL_MASK, "C", static_cast<locale_t>(nullptr));
    if (text.find_first_not_of("0123456789.e+-") != std::string::npos) return std::nullopt;
    char* last = nullptr;
    number = static_cast<T>(::strtod_l(text.c_str(), &last, plain));
    end = last;
  } else
#endif
  {
    const auto [last, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc()) return std::nullopt;
    end = last;
  }
  return !text.empty() && end == text.data() + text.size() ? std::optional(number) : std::nullopt;
}

/// A field of the metadata, empty when it is not there.
inline std::string text_field(const Safetensors& file, std::string_view name) {
  const auto at = file.metadata().find(std::string(checkpoint_key).append(name));
  return at == file.metadata().end() ? std::string() : at->second;
}

/// A field of the metadata as a non-negative number.
template <class T>
T number_field(const Safetensors& file, std::string_view name) {
  const std::string key = std::string(checkpoint_key).append(name), text = text_field(file, name);
  const auto number = parsed<T>(text);
  bool good = number && *number >= 0;
  if constexpr (std::is_floating_point_v<T>) good = good && is_finite(*number);
  if (!good)
    throw_error<FileError>(file.path(), ": metadata ", key, ": expected a number from 0, found ", detail::quoted(text));
  return *number;
}

/// Some strings as JSON, and back.
inline std::string json_strings(std::span<const std::string> strings) {
  std::string json;
  for (const std::string& string : strings) (json += json.empty() ? '[' : ',') += json_string(string);
  return json.empty() ? "[]" : json + ']';
}
inline std::vector<std::string> strings_field(const Safetensors& file, std::string_view json) {
  std::vector<std::string> strings;
  JsonParser parser(json, 0, file.path());
  parser.expect('[');
  if (!parser.accept(']')) {
    do strings.push_back(parser.string());
    while (parser.accept(','));
    parser.expect(']');
  }
  parser.expect_end();
  return strings;
}

/// The text at its separators.
inline std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(separator, at), text.size());
    parts.emplace_back(text.substr(at, end - at));
    at = end + 1;
  }
  return parts;
}

/// Of an optimiser's state: what it may be called, and how its tensors begin.
inline bool is_state_name(std::string_view name) {
  return !name.empty() && name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") == std::string_view::npos;
}
inline std::string state_prefix(std::string_view name) {
  return std::string(optimizer_prefix).append(name).append(".");
}
/// True if a file has running statistics under a prefix.
inline bool has_statistics(const Safetensors& file, std::string_view prefix, const StateDict& state) {
  return std::ranges::any_of(state.tensors(), [&](const StateDict::Slot& slot) {
    return slot.entry.role == TensorRole::running_mean &&
           file.find(std::string(prefix).append(slot.entry.name().view())) != nullptr;
  });
}
/// The bytes of floats in another type.
inline std::vector<std::byte> rounded_bytes(std::span<const std::byte> floats, Dtype type) {
  const auto as = [&]<class T>(T) {
    std::vector<std::byte> bytes(floats.size() / sizeof(float) * sizeof(T));
    for (std::size_t i = 0; i < floats.size() / sizeof(float); ++i) {
      float value = 0;
      std::memcpy(&value, floats.data() + i * sizeof value, sizeof value);
      const T rounded(value);
      if (!is_finite(rounded)) {
        throw_error<Error>("checkpoint: not written: ", value, " of an optimizer's state is beyond ", dtype_name(type));
      }
      std::memcpy(bytes.data() + i * sizeof rounded, &rounded, sizeof rounded);
    }
    return bytes;
  };
  if (type == Dtype::F16) return as(float16());
  if (type == Dtype::BF16) return as(bfloat16());
  throw_error<OptionError>("checkpoint: expected an optimizer's state stored as F32, F16 or BF16, found ",
                           dtype_name(type));
}
/// @throws FileError for a version that this library does not know
inline int version_of(const Safetensors& file) {
  const std::string text = text_field(file, "checkpoint");
  const auto version = parsed<int>(text);
  if (version && *version >= 1 && *version <= checkpoint_version) return *version;
  throw_error<FileError>(file.path(), ": expected a checkpoint of version 1 to ", checkpoint_version, ", found ",
                         text.empty() ? "none" : detail::quoted(text));
}

/// The number in the name of a checkpoint.
inline std::optional<std::int64_t> step_of(const std::filesystem::path& path) {
  const std::string name = path.filename().string();
  if (!name.starts_with(checkpoint_stem) || !name.ends_with(checkpoint_extension)) return std::nullopt;
  const char* begin = name.data() + checkpoint_stem.size();
  const char* end = name.data() + name.size() - checkpoint_extension.size();
  std::int64_t step = -1;
  const auto [last, error] = std::from_chars(begin, std::max(begin, end), step);
  return error == std::errc() && last == end && step >= 0 ? std::optional(step) : std::nullopt;
}

}  // namespace detail

/// The first tensor with a value that is infinite or not a number, or nothing.
inline std::optional<LayerName> first_not_finite_tensor(const StateDict& state) {
  for (const StateDict::Slot& slot : state.tensors()) {
    const auto values = state[slot];
    if (!std::all_of(values.begin(), values.end(), [](float value) { return is_finite(value); })) {
      return slot.entry.name();
    }
  }
  return std::nullopt;
}

/// The name that a checkpoint has in a folder.
inline std::filesystem::path checkpoint_path(const std::filesystem::path& folder, std::int64_t step) {
  std::string digits = std::to_string(step);
  digits.insert(0, 10 - std::min<std::size_t>(10, digits.size()), '0');
  return folder / std::string(detail::checkpoint_stem).append(digits).append(detail::checkpoint_extension);
}

/// The checkpoints of a folder, the newest first; none when there is no such folder.
inline std::vector<std::filesystem::path> checkpoints_in(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> paths;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    if (detail::step_of(entry.path())) paths.push_back(entry.path());
  }
  std::ranges::sort(paths, std::ranges::greater{}, [](const auto& path) { return *detail::step_of(path); });
  return paths;
}

/// Writes a checkpoint, completely or not at all, also when the machine stops in the middle. Equal states give equal
/// files.
/// @throws Error when a value is infinite or not a number, OptionError when a text of the state is not UTF-8, FileError
/// when the file cannot be written
inline void save_checkpoint(const std::filesystem::path& path, const TrainerState& trainer, const RunState& state) {
  const StateDict& parameters = trainer.parameters;
  const auto require_finite = [&](const StateDict& tensors, const std::string& which) {
    if (const auto name = first_not_finite_tensor(tensors)) {
      throw_error<Error>(path.string(), ": not written: ", name->view(), which,
                         " is infinite or not a number after step ", state.step);
    }
  };
  require_finite(parameters, "");
  std::vector<std::string> kept;  // names of the optimiser's states
  for (const OptimizerState& optimizer : trainer.optimizer) {
    if (!detail::is_state_name(optimizer.name) || std::ranges::count(kept, optimizer.name) > 0) {
      throw_error<OptionError>(path.string(), ": not written: expected names of the optimizer's states of letters and ",
                               "digits, each once, found ", detail::quoted(optimizer.name));
    }
    kept.push_back(optimizer.name);
    require_finite(optimizer.tensors, " (" + optimizer.name + ")");
  }
  std::map<std::string, std::string> metadata{{"format", "pt"}};
  const auto put = [&](std::string_view name, std::string value) {
    metadata[std::string(detail::checkpoint_key).append(name)] = std::move(value);
  };
  put("checkpoint", std::to_string(detail::checkpoint_version));
  put("network", detail::identity_of(parameters.layers()));
  put("epoch", detail::exact_text(state.epoch));
  put("batch", detail::exact_text(state.batch));
  put("step", detail::exact_text(state.step));
  put("loss", detail::exact_text(state.metrics.loss));
  put("correct", detail::exact_text(state.metrics.correct));
  put("images", detail::exact_text(state.metrics.images));
  put("id", state.id);
  put("classes", detail::json_strings(state.class_names));
  put("optimizer", detail::json_strings(kept));
  if (trainer.counters) {
    put("loss_scale", detail::exact_text(trainer.counters->loss_scale));
    put("good_steps", detail::exact_text(trainer.counters->good_steps));
    put("steps", detail::exact_text(trainer.counters->steps));
    put("skipped", detail::exact_text(trainer.counters->skipped));
  }
  for (const auto& [name, value] : state.options) metadata[std::string(detail::option_key).append(name)] = value;
  const auto require_utf8 = [&](const std::string& key, const std::string& text) {
    const auto bad = detail::first_invalid_utf8(text);
    if (!bad) return;
    throw_error<OptionError>(path.string(), ": not written: ", detail::quoted(key), ": expected UTF-8, found the byte ",
                             static_cast<int>(static_cast<unsigned char>(text[*bad])), " in ", detail::quoted(text),
                             "; convert it, e.g. iconv -f latin1 -t utf-8");
  };
  for (const std::string& name : state.class_names) require_utf8(std::string(detail::checkpoint_key) + "classes", name);
  for (const auto& [key, value] : metadata) {
    require_utf8(key, key);
    require_utf8(key, value);
  }

  std::vector<TensorView> tensors = tensor_views(parameters);
  std::vector<std::vector<std::byte>> rounded;  // what is not stored as it is
  for (const OptimizerState& optimizer : trainer.optimizer) {
    for (TensorView& view :
         tensor_views(optimizer.tensors, detail::state_prefix(optimizer.name), !optimizer.statistics)) {
      if (view.dtype == Dtype::F32 && optimizer.stored_as != Dtype::F32) {
        view.bytes = rounded.emplace_back(detail::rounded_bytes(view.bytes, optimizer.stored_as));
        view.dtype = optimizer.stored_as;
      }
      tensors.push_back(std::move(view));
    }
  }
  metadata[std::string(detail::checksum_key)] = detail::checksum_of(tensors, metadata);
  write_safetensors(path, tensors, metadata);
}

/// The id of the run that a checkpoint belongs to; empty when it has none (version 1), nothing when it is damaged.
inline std::optional<std::string> run_id_of(const std::filesystem::path& checkpoint) {
  try {
    return detail::text_field(Safetensors(checkpoint), "id");
  } catch (const FileError&) {
    return std::nullopt;
  }
}

/// An id for a run that begins: 64 bits by the system's chance, in hexadecimal digits.
inline std::string new_run_id() {
  std::uint64_t bits = 0;
  if (::getentropy(&bits, sizeof bits) != 0) detail::fail_errno("the system's random numbers", "read");
  return detail::hexadecimal(bits);
}

/// Whether a run may write its checkpoints into a folder: there must be none of another run. Those without an id, and
/// damaged ones, may be those of a run that is resumed, but not of one that begins: one that is resumed has done a
/// step, or has a checkpoint there.
/// @throws FileError when there is one
inline void check_run_folder(const std::filesystem::path& folder, const RunState& state) {
  const auto paths = checkpoints_in(folder);
  const bool resumed =
      state.step > 0 ||
      (!state.id.empty() && std::ranges::any_of(paths, [&](const auto& path) { return run_id_of(path) == state.id; }));
  for (const auto& path : paths) {
    const std::string id = run_id_of(path).value_or("");
    if (id.empty() ? resumed : id == state.id) continue;
    throw_error<FileError>(path.string(), ": expected no checkpoint but those of the run ", detail::quoted(state.id),
                           ", found one of ", id.empty() ? "a run that is not known" : "the run " + detail::quoted(id),
                           ": resume that run, or take another folder");
  }
}

/// Removes from a folder a run's checkpoints but the last `keep` that are not newer than its state (a later one was
/// given up), and what writers that were killed have left behind. Files of other runs, or of no known one, stay.
inline void prune_checkpoints(const std::filesystem::path& folder, int keep, const RunState& state) {
  std::error_code ignored;  // what cannot be removed stays
  int kept = 0;
  for (const auto& path : checkpoints_in(folder)) {
    if (state.id.empty() || run_id_of(path) != state.id) continue;
    const bool current = *detail::step_of(path) <= state.step;
    if (!current || kept == std::max(keep, 1)) {
      std::filesystem::remove(path, ignored);
    } else {
      ++kept;
    }
  }
  detail::remove_leftovers(folder, detail::checkpoint_stem);
}

/// Opens a checkpoint that is mapped or in memory and compares its checksum.
/// @throws FileError when it is truncated, damaged, or no checkpoint
inline Safetensors open_checkpoint(MappedFile mapped) {
  Safetensors file(std::move(mapped));
  const auto at = file.metadata().find(std::string(detail::checksum_key));
  if (at == file.metadata().end()) {
    throw_error<FileError>(file.path(), ": expected a checkpoint, found no metadata ", detail::checksum_key);
  }
  std::vector<TensorView> tensors;
  for (const Safetensors::Entry& entry : file.entries()) {
    tensors.emplace_back(entry.name, entry.dtype, entry.shape, file.bytes(entry));
  }
  const std::string found = detail::checksum_of(std::move(tensors), file.metadata());
  if (at->second != found) {
    throw_error<FileError>(file.path(), ": damaged: expected the checksum ", detail::quoted(at->second), ", found ",
                           found);
  }
  return file;
}

/// Opens a checkpoint by its name and compares its checksum.
/// @throws FileError when it is missing, and as above
inline Safetensors open_checkpoint(const std::filesystem::path& path) { return open_checkpoint(MappedFile(path)); }

/// Where the run of an open checkpoint stands.
/// @throws FileError when the metadata are of a later version or incomplete
inline RunState run_state(const Safetensors& file) {
  const bool first = detail::version_of(file) == 1;
  RunState state;
  state.epoch = detail::number_field<int>(file, "epoch");
  state.batch = detail::number_field<int>(file, "batch");
  state.step = detail::number_field<std::int64_t>(file, "step");
  state.metrics.loss = detail::number_field<double>(file, "loss");
  state.metrics.correct = detail::number_field<double>(file, "correct");
  state.metrics.images = detail::number_field<double>(file, "images");
  for (const auto& [key, value] : file.metadata()) {
    if (key.starts_with(detail::option_key)) state.options[key.substr(detail::option_key.size())] = value;
  }
  if (first) {
    if (const auto names = state.options.extract("classes")) state.class_names = detail::split(names.mapped(), '|');
  } else {
    state.id = detail::text_field(file, "id");
    state.class_names = detail::strings_field(file, detail::text_field(file, "classes"));
  }
  return state;
}

namespace detail {

/// Reads the tensors of an intact checkpoint.
inline RunState read_checkpoint(const Safetensors& file, TrainerState& trainer) {
  RunState state = run_state(file);
  read_tensors(file, trainer.parameters);
  const auto layers = trainer.parameters.layers();
  const bool old = version_of(file) < 3;
  std::vector<std::string> names{"velocity"};
  if (!old) names = strings_field(file, text_field(file, "optimizer"));
  trainer.optimizer.clear();
  for (const std::string& name : names) {
    if (!is_state_name(name) || trainer.find(name) != nullptr) {
      throw_error<FileError>(file.path(),
                             ": metadata resnext.optimizer: expected different names of letters and digits, ", "found ",
                             detail::quoted(name));
    }
    const std::string prefix = state_prefix(name);
    const bool statistics = has_statistics(file, prefix, trainer.parameters);
    check_tensors(file, layers, prefix, !statistics);  // before there is memory for them
    trainer.optimizer.push_back({name, StateDict(layers), statistics});
    read_tensors(file, trainer.optimizer.back().tensors, prefix, !statistics);
  }
  trainer.counters.reset();
  if (!text_field(file, "loss_scale").empty()) {
    trainer.counters = {number_field<double>(file, "loss_scale"), number_field<std::int64_t>(file, "good_steps"),
                        number_field<std::int64_t>(file, "steps"), number_field<std::int64_t>(file, "skipped")};
  }
  const auto at = file.metadata().find(std::string(checkpoint_key) + "network");
  const std::string expected = identity_of(layers);
  if (at == file.metadata().end() || at->second != expected) {
    throw_error<FileError>(file.path(), ": its tensors fit, but it is of another network: expected ", expected,
                           ", found ", at == file.metadata().end() ? "none" : detail::quoted(at->second));
  }
  return state;
}

}  // namespace detail

/// Reads a checkpoint of the network with this layer table.
/// @throws FileError when it is truncated, damaged, no checkpoint, of another version or of another network
inline AnyCheckpoint load_checkpoint(const std::filesystem::path& path, std::span<const Layer> layers) {
  const Safetensors file = open_checkpoint(path);
  AnyCheckpoint checkpoint{path, {StateDict(layers)}, {}};
  checkpoint.state = detail::read_checkpoint(file, checkpoint.trainer);
  return checkpoint;
}

/// Reads a checkpoint of `Net`.
/// @throws FileError as above
template <class Net>
Checkpoint<Net> load_checkpoint(const std::filesystem::path& path) {
  AnyCheckpoint any = load_checkpoint(path, Net::layers);
  return {path, Parameters<Net>(any.trainer.parameters), any.trainer, std::move(any.state)};
}

/// The newest intact checkpoint of a folder, or nothing when it has none at all.
/// @param damaged called with what is wrong with each newer one that had to be passed over
/// @throws FileError when all are damaged
inline std::optional<std::filesystem::path> latest_checkpoint(
    const std::filesystem::path& folder, const std::function<void(const std::string&)>& damaged = {}) {
  const auto paths = checkpoints_in(folder);
  for (const auto& path : paths) {
    try {
      open_checkpoint(path);
      return path;
    } catch (const FileError& error) {
      if (damaged) damaged(error.what());
    }
  }
  if (paths.empty()) return std::nullopt;
  throw_error<FileError>(folder.string(), ": none of its ", paths.size(), " checkpoints is intact");
}

}  // namespace resnext
