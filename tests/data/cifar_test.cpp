#include <doctest/doctest.h>

#include <cstdint>
#include <fstream>
#include <resnext/data/cifar.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "files.hpp"

using namespace resnext;
using namespace testing;

namespace {

constexpr std::size_t image = 3072;

/// A file of `records` records, all zero but the given ones: they take no room on the disk.
void write_records(const fs::path& path, std::size_t records, std::size_t record,
                   const std::vector<std::pair<std::size_t, std::string>>& given) {
  write_text(path, "");
  fs::resize_file(path, records * record);
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  for (const auto& [i, bytes] : given) {
    file.seekp(static_cast<std::streamoff>(i * record));
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }
  REQUIRE(file.flush());
}

std::string planes() {
  std::string bytes(image, '\0');
  for (std::size_t i = 0; i < image; ++i) bytes[i] = static_cast<char>(i / 1024 * 80 + i % 61);
  return bytes;
}

void check_interleaved(const Dataset& set, std::size_t i) {
  const auto pixels = set.image(i);
  REQUIRE(pixels.size() == image);
  for (std::size_t p = 0; p < 1024; ++p)
    for (std::size_t c = 0; c < 3; ++c)
      if (pixels[3 * p + c] != c * 80 + (c * 1024 + p) % 61) FAIL("pixel " << p << ", channel " << c);
}

bool contains(const std::string& text, std::string_view part) {
  INFO(text);
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("CIFAR-10: five files in order, planes become channels, labels and names are checked") {
  const TemporaryFolder folder;
  for (int i = 1; i <= 5; ++i)
    write_records(folder / ("data_batch_" + std::to_string(i) + ".bin"), 10000, 1 + image,
                  {{static_cast<std::size_t>(i), static_cast<char>(i) + planes()}});
  write_records(folder / "test_batch.bin", 10000, 1 + image, {{9999, '\x09' + planes()}});
  const Dataset train = cifar10(DatasetSplit::train, folder.path());
  CHECK(train.size() == 50000);
  CHECK(train.height == 32);
  CHECK(train.width == 32);
  CHECK(train.channels == 3);
  CHECK(train.classes == 10);
  CHECK(train.class_names.empty());
  for (std::size_t i = 1; i <= 5; ++i) {
    CHECK(train.labels[(i - 1) * 10000 + i] == static_cast<std::int32_t>(i));
    check_interleaved(train, (i - 1) * 10000 + i);
  }
  CHECK(train.labels[0] == 0);

  const auto test = [&] { return cifar10(DatasetSplit::test, folder.path()); };
  const auto message = [&] { return message_of<FileError>(test); };
  CHECK(test().labels[9999] == 9);
  write_text(folder / "batches.meta.txt", "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n");
  CHECK(test().class_names[9] == "j");
  write_text(folder / "batches.meta.txt", "a\nb\n");
  CHECK(contains(message(), "batches.meta.txt: expected 10 class names, found 2"));
  fs::remove(folder / "batches.meta.txt");

  const auto path = folder / "test_batch.bin";
  write_records(path, 10000, 1 + image, {{2, "\x0A"}});
  CHECK(contains(message(), "test_batch.bin: byte 6146: expected a class label below 10, found 10"));
  fs::resize_file(path, 9999 * (1 + image));
  CHECK(contains(message(), "expected 10000 records of 3073 bytes, 30730000 in all, found 30726927"));
  fs::resize_file(path, 10000 * (1 + image) + 1);
  CHECK(contains(message(), "found 30730001 (no whole number of records)"));
  fs::resize_file(path, 0);
  CHECK(contains(message(), "found 0"));
  fs::remove(path);
  CHECK(contains(message(), "test_batch.bin: could not open: No such file or directory"));
}

TEST_CASE("CIFAR-100: both label bytes") {
  const TemporaryFolder folder;
  const auto path = folder / "test.bin";
  write_records(path, 10000, 2 + image, {{1, "\x13\x63" + planes()}});
  const Dataset fine = cifar100(DatasetSplit::test, folder.path());
  const Dataset coarse = cifar100(DatasetSplit::test, folder.path(), CifarLabels::coarse);
  CHECK(fine.classes == 100);
  CHECK(fine.labels[1] == 99);
  CHECK(coarse.classes == 20);
  CHECK(coarse.labels[1] == 19);
  check_interleaved(fine, 1);
  const auto message = [&] { return message_of<FileError>([&] { cifar100(DatasetSplit::test, folder.path()); }); };
  write_records(path, 10000, 2 + image, {{1, "\x14"}});
  CHECK(contains(message(), "byte 3074: expected a coarse label below 20, found 20"));
  write_records(path, 10000, 2 + image, {{1, std::string("\0\x64", 2)}});
  CHECK(contains(message(), "byte 3075: expected a fine label below 100, found 100"));
  fs::rename(path, folder / "train.bin");
  CHECK(
      contains(message_of<FileError>([&] { cifar100(DatasetSplit::train, folder.path()); }), "expected 50000 records"));
}
