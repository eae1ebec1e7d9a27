#include "io/torch_file.hpp"

#include <doctest/doctest.h>

#include <span>
#include <string>
#include <vector>

#include <resnext/io/safetensors.hpp>
#include <resnext/io/torch_archive.hpp>

#include "files.hpp"

using namespace resnext;
using testing::message_of;
using testing::Pickle;
using testing::torch_file;

namespace {

TorchArchive open(const std::string& file) { return TorchArchive(MappedFile("weights.pth", bytes_of(file))); }
std::string refusal(const std::string& file) {
  return message_of<FileError>([&] { open(file); });
}
bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

std::vector<float> values(const TorchArchive& file, std::string_view name) {
  const auto* entry = file.find(name);
  REQUIRE(entry != nullptr);
  std::vector<float> all(entry->elements());
  file.read(*entry, std::span<float>(all));
  return all;
}

template <class T>
std::string storage_of(const std::vector<T>& elements) {
  return {reinterpret_cast<const char*>(elements.data()), elements.size() * sizeof(T)};
}

const std::string six = storage_of<float>({0, 1, 2, 3, 4, 5});

/// A state dict of one tensor [2, 3].
std::string simple(int protocol = 2, bool large = false) {
  const Pickle p{protocol};
  return torch_file(
      p.begin() + p.dictionary({{"w", p.tensor(p.storage("FloatStorage", "0", 6), 0, {2, 3}, {3, 1})}}) + ".",
      {{"0", six}}, large);
}

}  // namespace

TEST_CASE("a state dict in both protocols, with and without the 64-bit extension") {
  for (const int protocol : {2, 4}) {
    for (const bool large : {false, true}) {
      const std::string bytes = simple(protocol, large);
      const TorchArchive file = open(bytes);
      REQUIRE(file.entries().size() == 1);
      CHECK(file.entries()[0].dtype == Dtype::F32);
      CHECK(file.entries()[0].shape == std::vector<std::int64_t>{2, 3});
      CHECK(values(file, "w") == std::vector<float>{0, 1, 2, 3, 4, 5});
      CHECK(file.find("v") == nullptr);
      std::vector<float> few(5);
      CHECK_THROWS_AS(file.read(file.entries()[0], std::span<float>(few)), ShapeError);
    }
  }
}

TEST_CASE("tensors in any order of memory, of any type, within dictionaries and lists") {
  const Pickle p;
  const std::string floats = p.storage("FloatStorage", "0", 6);
  const std::string pickle =
      p.begin() +
      p.dictionary({{"epoch", Pickle::integer(7)},
                    {"state_dict", p.dictionary({{"transposed", p.tensor(floats, 0, {3, 2}, {1, 3})},
                                                 {"part", p.tensor(floats, 1, {2, 2}, {3, 1})},
                                                 {"repeated", p.tensor(floats, 5, {2, 2}, {0, 0})},
                                                 {"scalar", p.tensor(floats, 4, {}, {})},
                                                 {"one", p.tensor(floats, 2, {1, 1}, {77, 99})},
                                                 {"none", p.tensor(floats, 6, {0, 3}, {3, 1})},
                                                 {"parameter", p.global("torch._utils", "_rebuild_parameter") + "(" +
                                                                   p.tensor(floats, 0, {2}, {1}) + "\x88" +
                                                                   p.empty_dictionary() + "tR"}})},
                    {"best", "G" + std::string(8, '\0')},
                    {"history", "](" + p.tensor(p.storage("DoubleStorage", "1", 1), 0, {1}, {1}) + "N\x88" + "e"},
                    {"half", p.tensor(p.storage("HalfStorage", "2", 2), 0, {2}, {1})},
                    {"bfloat16", p.tensor(p.storage("BFloat16Storage", "3", 1), 0, {1}, {1})},
                    {"counter", p.tensor(p.storage("LongStorage", "4", 1), 0, {}, {})}}) +
      ".";
  const std::string bytes = torch_file(pickle, {{"0", six},
                                                {"1", storage_of<double>({0.1})},
                                                {"2", storage_of<std::uint16_t>({0x3C00, 0xC000})},
                                                {"3", storage_of<std::uint16_t>({0x3FC0})},
                                                {"4", storage_of<std::int64_t>({123456789012})}});
  const TorchArchive file = open(bytes);
  CHECK(file.entries().size() == 11);
  CHECK(values(file, "state_dict.transposed") == std::vector<float>{0, 3, 1, 4, 2, 5});
  CHECK(values(file, "state_dict.part") == std::vector<float>{1, 2, 4, 5});
  CHECK(values(file, "state_dict.repeated") == std::vector<float>{5, 5, 5, 5});
  CHECK(values(file, "state_dict.scalar") == std::vector<float>{4});
  CHECK(values(file, "state_dict.one") == std::vector<float>{2});
  CHECK(values(file, "state_dict.none").empty());
  CHECK(values(file, "state_dict.parameter") == std::vector<float>{0, 1});
  CHECK(values(file, "history.0") == std::vector<float>{0.1f});
  CHECK(values(file, "half") == std::vector<float>{1, -2});
  CHECK(values(file, "bfloat16") == std::vector<float>{1.5f});
  std::int64_t counter = 0;
  file.read(*file.find("counter"), std::span(&counter, 1));
  CHECK(counter == 123456789012);
  float wrong = 0;
  CHECK(contains(message_of<FileError>([&] { file.read(*file.find("counter"), std::span(&wrong, 1)); }),
                 "tensor \"counter\": expected F32, F16, BF16 or F64, found I64"));
}

TEST_CASE("what is no file of weights is refused by its name, with what to do") {
  const Pickle p;
  const auto pickled = [&](const std::string& value) {
    return refusal(torch_file(p.begin() + value + ".", {{"0", six}}));
  };
  CHECK(
      contains(pickled(p.global("posix", "system") + "(" + p.text("rm -rf /") + "tR"),
               "weights.pth: data.pkl, byte 2: it needs \"posix.system\", which a file of weights does not: load it in "
               "Python and save its state_dict alone"));
  CHECK(contains(pickled(p.global("argparse", "Namespace") + ")\x81}b"), "\"argparse.Namespace\""));
  CHECK(contains(pickled(p.empty_dictionary() + ")\x81"), "the operation 129 has no place in a file of weights"));
  CHECK(contains(pickled(p.global("torch", "ComplexFloatStorage")), "\"torch.ComplexFloatStorage\""));
  CHECK(contains(refusal(std::string("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 15)),
                 "found the format before PyTorch 1.6: load it in Python and save it again with torch.save"));
  CHECK(contains(refusal("hello"), "weights.pth: byte 0: expected a ZIP archive of torch.save, found something else"));
  CHECK(
      contains(refusal(testing::zip({{"a/data.pkl", "."}, {"a/constants.pkl", "."}})), "found a TorchScript program"));
  CHECK(contains(refusal(testing::zip({{"data.pkl", "."}})), "with a member data.pkl, found none"));
  CHECK(contains(refusal(testing::zip({{"a/data.pkl", "."}}, false, 8)), "member \"a/data.pkl\" is compressed"));
  CHECK(contains(refusal(testing::zip({{"a/data.pkl", "."}, {"a/data.pkl", "."}})), "\"a/data.pkl\" appears twice"));
  CHECK(contains(refusal(torch_file(p.begin() + "N.", {}, false, "big")), "found the byte order \"big\""));
}

TEST_CASE("a tensor outside its storage is refused with its numbers") {
  const Pickle p;
  const auto with = [&](std::int64_t elements, std::int64_t offset, const std::vector<std::int64_t>& shape,
                        const std::vector<std::int64_t>& strides, const std::string& key = "0") {
    const std::string tensor = p.tensor(p.storage("FloatStorage", key, elements), offset, shape, strides);
    return refusal(torch_file(p.begin() + p.dictionary({{"w", tensor}}) + ".", {{"0", six}}));
  };
  CHECK(with(6, 0, {2, 3}, {3, 1}).empty());
  CHECK(
      contains(with(6, 1, {2, 3}, {3, 1}),
               "tensor \"w\": shape [2, 3] with strides [3, 1] from element 1 does not fit its storage of 6 elements"));
  CHECK(contains(with(6, 0, {2, 3}, {4, 1}), "does not fit"));
  CHECK(contains(with(6, -1, {2, 3}, {3, 1}), "does not fit"));
  CHECK(contains(with(6, 7, {0}, {1}), "does not fit"));
  CHECK(contains(with(6, INT64_MAX, {2}, {INT64_MAX}), "does not fit"));
  CHECK(contains(with(6, 0, {INT64_MAX, INT64_MAX}, {0, 0}), "is too large"));
  CHECK(contains(with(6, 0, {2, 3}, {1}), "expected a stride for each of its 2 extents, found 1"));
  CHECK(contains(with(6, 0, {-2}, {1}), "expected at most 64 extents or strides from 0"));
  CHECK(contains(with(7, 0, {2, 3}, {3, 1}), "should have 7 elements of 4 bytes, but has 24 bytes (file truncated?)"));
  CHECK(contains(with(6, 0, {2, 3}, {3, 1}, "1"), "its storage \"archive/data/1\" is not in the archive"));
}

TEST_CASE("no truncation and no changed byte does more than throw FileError") {
  for (const int protocol : {2, 4}) {
    const std::string whole = simple(protocol, protocol == 4);
    for (std::size_t size = 0; size < whole.size(); ++size) CHECK(refusal(whole.substr(0, size)) != "");
    for (std::size_t at = 0; at < whole.size(); ++at) {
      for (const int change : {1, 2, 8, 64, 128, 255}) {
        std::string changed = whole;
        changed[at] = static_cast<char>(changed[at] ^ change);
        message_of<FileError>([&] {
          const TorchArchive file = open(changed);
          for (const auto& entry : file.entries()) {
            if (entry.elements() > 100) continue;
            std::vector<std::int64_t> all(entry.elements());
            file.read(entry, std::span<std::int64_t>(all));
          }
        });
      }
    }
  }
}

TEST_CASE("a pickle that grows without end, or refers to itself, is bounded") {
  const Pickle p;
  // a dictionary of two that hold two that hold two ...
  std::string laughs = p.begin() + "}q" + std::string(1, '\0');
  for (char level = 1; level < 60; ++level) {
    const std::string before{'h', static_cast<char>(level - 1), 's'};
    laughs += '}';
    laughs.append(p.text("a")).append(before).append(p.text("b")).append(before).append("q") += level;
  }
  CHECK(contains(refusal(torch_file(laughs + ".", {})), "are too many, too deep"));
  CHECK(contains(refusal(torch_file(
                     p.begin() + "}q" + std::string(1, '\0') + p.text("a") + "h" + std::string(1, '\0') + "s.", {})),
                 "too deep"));
  CHECK(contains(refusal(torch_file(p.begin() + std::string(3'000'000, 'N') + ".", {})),
                 "expected at most 2097152 values"));
  // a long list of pairs, again and again
  std::string pairs = p.begin() + "](";
  for (int i = 0; i < 100'000; ++i) pairs += "NN\x86";
  pairs += "e\x85q" + std::string(1, '\1');
  for (int i = 0; i < 100'000; ++i) pairs += p.global("collections", "OrderedDict") + "h\1R0";
  CHECK(contains(refusal(torch_file(pairs + ".", {})), "expected at most 2097152 values"));
}

TEST_CASE("PyTorch's own file has the tensors of the safetensors file beside it") {
  const auto written = testing::shared_file("goldens/tiny.pth"),
             beside = testing::shared_file("goldens/tiny.safetensors");
  if (!written || !beside) {
    MESSAGE("skipped: the reference data are not there");
    return;
  }
  const TorchArchive file(written->string());
  const Safetensors expected(beside->string());
  REQUIRE(file.entries().size() == expected.entries().size());
  for (const auto& entry : expected.entries()) {
    CAPTURE(entry.name);
    const auto* found = file.find(entry.name);
    REQUIRE(found != nullptr);
    CHECK(found->shape == entry.shape);
    CHECK(found->dtype == entry.dtype);
    std::vector<std::int64_t> a(entry.elements()), b(entry.elements());
    std::vector<float> x(entry.elements()), y(entry.elements());
    if (entry.dtype == Dtype::I64) {
      file.read(*found, std::span(a));
      expected.read(entry, std::span(b));
    } else {
      file.read(*found, std::span(x));
      expected.read(entry, std::span(y));
    }
    CHECK(a == b);
    CHECK(x == y);
  }
}
