#include <doctest/doctest.h>

#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include <resnext/model/family.hpp>
#include <resnext/nn/mapped_parameters.hpp>
#include <resnext/reference.hpp>
#include <resnext/resnext.hpp>

#include "files.hpp"
#include "nn/networks.hpp"

using namespace resnext;
using test::RandomBatch;
using test::SmallCifar;
using test::SmallImageNet;
using testing::message_of;
using testing::read_text;
using testing::TemporaryFolder;
using testing::write_text;

namespace {

using B = Reference<float>;
using Net = SmallImageNet;

std::vector<float> logits(const auto& parameters, int size) {
  Classifier<Net, B> classify(parameters);
  const RandomBatch batch("mapped", 2, size, size, Net::inputs, Net::classes);
  const auto all = classify(batch.images());
  return {all.begin(), all.end()};
}

/// KiB of this process's memory that are pages of the file; 0 where it is not mapped.
long resident(const std::string& path) {
  std::ifstream maps("/proc/self/smaps");
  bool ours = false;
  long size = 0;
  for (std::string line; std::getline(maps, line);) {
    if (line.find(path) != std::string::npos) ours = true;
    if (ours && line.starts_with("Rss:")) {
      size += std::stol(line.substr(4));
      ours = false;
    }
  }
  return size;
}

}  // namespace

TEST_CASE("parameters in a file classify as the copied ones do, at any extent, shared by any number") {
  const TemporaryFolder folder;
  const auto path = folder / "weights.safetensors";
  const auto parameters = test::random_parameters<Net>(5);
  save_safetensors(path, parameters);
  const MappedParameters<Net> mapped(path);
  for (const int size : {32, 40, 32}) CHECK(logits(mapped, size) == logits(parameters, size));
  Classifier<Net, B> one(mapped), other(mapped);
  const RandomBatch batch("mapped", 1, 36, 48, Net::inputs, Net::classes);
  const auto first = one(batch.images()), second = other(batch.images());
  CHECK(std::vector(first.begin(), first.end()) == std::vector(second.begin(), second.end()));
  CHECK(mapped.at(0, TensorRole::bias).empty());
}

TEST_CASE("a classifier holds the file that it was made from") {
  const TemporaryFolder folder;
  const auto path = folder / "weights.safetensors";
  const auto parameters = test::random_parameters<Net>(5);
  save_safetensors(path, parameters);
  Classifier<Net, B> classify{MappedParameters<Net>(path)};
  for (const int size : {32, 40}) {
    const RandomBatch batch("mapped", 2, size, size, Net::inputs, Net::classes);
    const auto found = classify(batch.images());
    CHECK(std::vector(found.begin(), found.end()) == logits(parameters, size));
  }
}

TEST_CASE("tensors that cannot be read in place are copied") {
  const TemporaryFolder folder;
  const auto path = folder / "weights.safetensors";
  const auto parameters = test::random_parameters<Net>(5);
  save_safetensors(path, parameters);
  // One space more in the header: no tensor is aligned any longer.
  std::string file = read_text(path);
  const auto length = static_cast<std::size_t>(static_cast<unsigned char>(file[0])) |
                      static_cast<std::size_t>(static_cast<unsigned char>(file[1])) << 8 |
                      static_cast<std::size_t>(static_cast<unsigned char>(file[2])) << 16;
  file.insert(8 + length, " ");
  for (std::size_t i = 0; i < 3; ++i) file[i] = static_cast<char>((length + 1) >> (8 * i) & 255);
  CHECK(logits(MappedParameters<Net>(write_text(folder / "odd.safetensors", file)), 32) == logits(parameters, 32));

  // Halves.
  Parameters<Net> halves;
  std::vector<std::vector<std::uint16_t>> bits;
  std::vector<TensorView> views;
  for (const auto& slot : halves.tensors()) {
    if (slot.size == 0) continue;
    bits.emplace_back();
    for (std::size_t i = 0; i < slot.size; ++i) bits.back().push_back(static_cast<std::uint16_t>(0x3000 + i % 0x800));
  }
  std::size_t next = 0;
  for (const auto& slot : halves.tensors()) {
    if (slot.size == 0) continue;
    const auto& these = bits[next++];
    for (std::size_t i = 0; i < slot.size; ++i) halves[slot][i] = float16::from_bits(these[i]);
    views.emplace_back(std::string(slot.entry.name().view()), Dtype::F16, detail::shape_of(slot.entry),
                       std::as_bytes(std::span(these)));
  }
  write_safetensors(folder / "halves.safetensors", views);
  CHECK(logits(MappedParameters<Net>(folder / "halves.safetensors"), 32) == logits(halves, 32));
}

TEST_CASE("what was packed leaves memory") {
  using Large = Network<Template<CifarStem<64>, Bottleneck<1, 256>, Planes<256>, Stage<2>, Classes<10>>>;
  const TemporaryFolder folder;
  const auto path = folder / "large.safetensors";
  save_safetensors(path, initialized<Large>(1));
  const MappedParameters<Large> mapped(path);
  Classifier<Large, B> classify(mapped);
  double sum = 0;
  for (int row = 0; row < static_cast<int>(Large::layers.size()); ++row) {
    for (const float value : mapped.at(row, TensorRole::weight)) sum += value;
  }
  CHECK(sum != 0);
  const long size = Large::parameters * 4 / 1024;
  if (resident(path) == 0) {
    MESSAGE("skipped: /proc/self/smaps does not say what is in memory");
    return;
  }
  CHECK(resident(path) > size * 9 / 10);
  const std::vector<float> pixels(8 * 8 * 3);
  classify(Images(pixels, 1, 8, 8, 3));
  CHECK(resident(path) < size / 4);  // the system brings some pages around those that are read
}

TEST_CASE("a file of another network is refused as when it is copied") {
  const TemporaryFolder folder;
  const auto path = folder / "weights.safetensors";
  save_safetensors(path, test::random_parameters<SmallCifar>(5));
  const std::string copied = message_of<FileError>([&] { load_safetensors<Net>(path); });
  CHECK(copied.find("does not hold the parameters of this network") != std::string::npos);
  CHECK(message_of<FileError>([&] { MappedParameters<Net>{path}; }) == copied);
}
