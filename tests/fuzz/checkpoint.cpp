// Any bytes as a checkpoint of a small network. Half of the mutated ones have a checksum that fits, so that what lies
// behind it is reached.

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include <resnext/model/family.hpp>
#include <resnext/train/checkpoint.hpp>

#include "header.hpp"

using namespace resnext;

namespace {

using Net = Network<Template<CifarStem<2, 1>, Basic<1, 2>, Planes<2>, Stage<1>, Classes<2>>>;

std::span<const std::byte> bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

/// What save_checkpoint() writes.
std::string new_checkpoint() {
  const auto path = std::filesystem::temp_directory_path() / ("fuzz-" + std::to_string(::getpid()) + ".safetensors");
  const RunState state{.epoch = 2,
                       .batch = 5,
                       .step = 77,
                       .metrics = {.loss = 1.5, .correct = 17, .images = 40},
                       .options = {{"seed", "1"}}};
  const StateDict tensors(Net::layers);
  save_checkpoint(path, {tensors, {{"velocity", tensors}, {"ema", tensors, true, Dtype::BF16}}, StepCounters{}}, state);
  std::ifstream file(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  std::filesystem::remove(path);
  return text;
}

/// Writes the right checksum over the one that a well-formed file has.
void fix_checksum(std::string& text) {
  try {
    const Safetensors file(MappedFile("input", bytes(text)));
    std::vector<TensorView> tensors;
    for (const auto& entry : file.entries())
      tensors.emplace_back(entry.name, entry.dtype, entry.shape, file.bytes(entry));
    const std::string sum = detail::checksum_of(std::move(tensors), file.metadata());
    const std::size_t at = text.find("\"resnext.checksum\":\"");
    if (at != std::string::npos && text.find('"', at + 20) == at + 20 + sum.size())
      text.replace(at + 20, sum.size(), sum);
  } catch (const FileError&) {
  }
}

}  // namespace

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                               unsigned seed) {
  static const std::string good = new_checkpoint();
  fuzz::Choices choices(seed);
  if (size < 10 || choices.one_in(100)) return fuzz::put(good, data, max_size);
  std::string text = fuzz::mutate_safetensors(choices, {reinterpret_cast<const char*>(data), size});
  if (choices.one_in(2)) fix_checksum(text);
  return fuzz::put(text, data, max_size);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static TrainerState trainer{StateDict(Net::layers)};
  const auto read = [&] {
    const Safetensors file = open_checkpoint(MappedFile("input", std::as_bytes(std::span(data, size))));
    const RunState state = detail::read_checkpoint(file, trainer);
    fuzz::expect(state.epoch >= 0 && state.batch >= 0 && state.step >= 0 && state.metrics.loss >= 0,
                 "a negative number");
  };
  fuzz::run(read, size);
  return 0;
}
