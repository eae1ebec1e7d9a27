// Any bytes as a safetensors file: refused with FileError or read to the last value. What is accepted is valid JSON and
// means the same to another parser.

#include <nlohmann/json.hpp>

#include <map>
#include <vector>

#include <resnext/io/safetensors.hpp>

#include "header.hpp"

using namespace resnext;

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                               unsigned seed) {
  fuzz::Choices choices(seed);
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  if (size < 10 || choices.one_in(500)) return fuzz::put(fuzz::new_file(choices), data, max_size);
  if (choices.one_in(20)) return LLVMFuzzerMutate(data, size, max_size);
  return fuzz::put(fuzz::mutate_safetensors(choices, input), data, max_size);
}

namespace {

/// Uses everything that an accepted file offers.
void use(const Safetensors& file, std::span<const std::byte> input) {
  std::size_t covered = 0;
  for (const Safetensors::Entry& entry : file.entries()) {
    fuzz::expect(file.find(entry.name) == &entry, "a name that is not found");
    const auto bytes = file.bytes(entry);
    fuzz::expect(
        bytes.empty() || (bytes.data() >= input.data() && bytes.data() + bytes.size() <= input.data() + input.size()),
        "a tensor outside the file");
    fuzz::expect(bytes.size() == entry.elements() * dtype_size(entry.dtype), "a tensor of another size");
    covered += bytes.size();
    if (entry.dtype == Dtype::I64) {
      std::vector<std::int64_t> values(entry.elements());
      file.read(entry, values);
    } else if (entry.dtype <= Dtype::BF16) {
      std::vector<float> values(entry.elements());
      file.read(entry, values);
    }
  }
  std::uint64_t header = 0;
  std::memcpy(&header, input.data(), sizeof header);
  fuzz::expect(sizeof header + header + covered == input.size(), "a file that the tensors do not fill");
}

void compare(const Safetensors& file, std::string_view header) {
  const auto json = nlohmann::json::parse(header, nullptr, false);
  fuzz::expect(json.is_object(), "a header that is no JSON object");
  fuzz::expect(json.size() == file.entries().size() + json.contains("__metadata__"), "another number of tensors");
  for (const Safetensors::Entry& entry : file.entries()) {
    const auto& value = json.at(entry.name);
    fuzz::expect(value.at("dtype").get<std::string>() == dtype_name(entry.dtype), "another dtype");
    fuzz::expect(value.at("shape").get<std::vector<std::int64_t>>() == entry.shape, "another shape");
    fuzz::expect(value.at("data_offsets").get<std::vector<std::uint64_t>>() == std::vector{entry.begin, entry.end},
                 "other offsets");
  }
  if (json.contains("__metadata__")) {
    fuzz::expect(json.at("__metadata__").get<std::map<std::string, std::string>>() == file.metadata(),
                 "other metadata");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto input = std::as_bytes(std::span(data, size));
  const auto open = [&] { return Safetensors(MappedFile("input", input)); };
  if (fuzz::run([&] { use(open(), input); }, size)) {
    compare(open(), fuzz::File({reinterpret_cast<const char*>(data), size}).header);
  }
  return 0;
}
