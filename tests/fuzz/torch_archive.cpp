// Any bytes as a file of torch.save: refused with FileError or read to the last value.

#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <resnext/io/torch_archive.hpp>

#include "../io/torch_file.hpp"
#include "fuzz.hpp"

using namespace resnext;
using testing::Pickle;

namespace {

constexpr std::size_t storage_bytes = 48;

std::string new_tensor(fuzz::Choices& choices, const Pickle& p) {
  static const std::vector<std::string> types{"FloatStorage", "HalfStorage", "BFloat16Storage", "DoubleStorage",
                                              "LongStorage",  "BoolStorage", "CharStorage",     "ByteStorage"};
  const auto number = [&] {
    return choices.one_in(12) ? static_cast<std::int64_t>(choices.below(~std::size_t{0}))
                              : static_cast<std::int64_t>(choices.below(5));
  };
  std::vector<std::int64_t> shape(choices.below(4)), strides(choices.one_in(10) ? choices.below(4) : shape.size());
  for (auto* each : {&shape, &strides}) {
    for (std::int64_t& value : *each) value = number();
  }
  const auto elements = choices.one_in(6) ? number() : static_cast<std::int64_t>(6);
  return p.tensor(p.storage(choices.of(types), std::to_string(choices.below(3)), elements), number(), shape, strides);
}

std::string new_pickle(fuzz::Choices& choices) {
  const Pickle p{choices.one_in(2) ? 2 : 4};
  std::vector<std::pair<std::string, std::string>> items;
  for (std::size_t i = choices.below(4); i-- > 0;) {
    items.emplace_back(choices.bytes(choices.below(8)), new_tensor(choices, p));
  }
  std::string state = p.dictionary(items);
  if (choices.one_in(3)) state = p.dictionary({{"state_dict", state}, {"epoch", Pickle::integer(3)}});
  return p.begin() + state + ".";
}

/// Cuts out, copies, or puts in operations.
void mutate_pickle(fuzz::Choices& choices, std::string& pickle) {
  static const std::vector<std::string> operations{
      "(",    ")",    "]",    "}",     "t",     "a",     "e",         "s",    "u",        "b",
      "0",    "1",    "2",    "N",     "R",     "Q",     "d",         "l",    "\x85",     "\x86",
      "\x87", "\x88", "\x94", "h\x01", "q\x01", "K\x02", "\x8c\x01z", "\x93", "j\x01\x01"};
  const std::size_t at = choices.below(pickle.size() + 1);
  if (choices.one_in(3)) {
    pickle.insert(at, choices.of(operations));
  } else if (choices.one_in(3)) {
    pickle.erase(at, 1 + choices.below(4));
  } else if (choices.one_in(3)) {
    pickle.insert(at, pickle.substr(choices.below(pickle.size() + 1), choices.below(40)));
  } else {
    fuzz::mutate_bytes(pickle);
  }
}

std::string archive_of(fuzz::Choices& choices, const std::string& pickle) {
  testing::Members storages;
  for (const char* key : {"0", "1", "2"}) {
    if (!choices.one_in(8))
      storages.emplace_back(key, choices.bytes(choices.one_in(4) ? choices.below(60) : storage_bytes));
  }
  return testing::torch_file(pickle, storages, choices.one_in(3), choices.one_in(20) ? "big" : "little");
}

void use(const TorchArchive& file, std::span<const std::byte> input) {
  for (const TorchArchive::Entry& entry : file.entries()) {
    fuzz::expect(file.find(entry.name) == &entry, "a name that is not found");
    fuzz::expect(entry.storage.empty() || (entry.storage.data() >= input.data() &&
                                           entry.storage.data() + entry.storage.size() <= input.data() + input.size()),
                 "a storage outside the file");
    if (entry.elements() > 4096) continue;  // an element many times
    if (detail::is_real(entry.dtype)) {
      std::vector<float> values(entry.elements());
      file.read(entry, std::span<float>(values));
    } else {
      std::vector<std::int64_t> values(entry.elements());
      file.read(entry, std::span<std::int64_t>(values));
    }
  }
}

}  // namespace

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                               unsigned seed) {
  fuzz::Choices choices(seed);
  std::string pickle;
  if (!choices.one_in(100)) {
    if (choices.one_in(8)) return LLVMFuzzerMutate(data, size, max_size);
    try {
      const detail::Zip zip(std::as_bytes(std::span(data, size)), "input");
      if (const auto* found = zip.find("archive/data.pkl")) {
        pickle.assign(reinterpret_cast<const char*>(found->data()), found->size());
      }
    } catch (const FileError&) {
    }
  }
  if (pickle.empty()) {
    pickle = new_pickle(choices);
  } else {
    mutate_pickle(choices, pickle);
  }
  return fuzz::put(archive_of(choices, pickle), data, max_size);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto input = std::as_bytes(std::span(data, size));
  fuzz::run([&] { use(TorchArchive(MappedFile("input", input)), input); }, size, [&] { return size; },
            std::size_t{1} << 20);
  return 0;
}
