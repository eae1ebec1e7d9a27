#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <resnext/data/augment.hpp>
#include <resnext/data/idx.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "files.hpp"

using namespace resnext;
using namespace testing;

namespace {

std::string idx(const std::vector<std::uint32_t>& shape, const std::string& values, char type = 8) {
  std::string file{0, 0, type, static_cast<char>(shape.size())};
  for (const std::uint32_t extent : shape)
    for (int shift = 24; shift >= 0; shift -= 8) file += static_cast<char>(extent >> shift & 0xFF);
  return file + values;
}

std::string gzip(const std::string& text) {
  z_stream stream{};
  REQUIRE(deflateInit2(&stream, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string out(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string refusal(const TemporaryFolder& folder, const std::string& file) {
  const auto path = write_text(folder / "x", file);
  return message_of<FileError>([&] { read_idx(path); });
}

bool contains(const std::string& text, std::string_view part) {
  INFO(text);
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("an IDX file reads the same, plain or compressed") {
  const TemporaryFolder folder;
  const std::string file = idx({2, 3}, "abcdef");
  for (const auto& path : {write_text(folder / "a", file), write_text(folder / "a.gz", gzip(file))}) {
    const auto array = read_idx(path);
    CHECK(array.shape == std::vector<std::int64_t>{2, 3});
    CHECK(std::string(array.values.begin(), array.values.end()) == "abcdef");
  }
}

TEST_CASE("gzip files are read as gzip -d does: all members, and padding by zeros") {
  const TemporaryFolder folder;
  const std::string file = idx({2, 3}, "abcdef");
  const auto text = [&](const std::string& bytes) {
    const auto array = read_idx(write_text(folder / "x", bytes));
    return std::string(array.values.begin(), array.values.end());
  };
  for (std::size_t cut = 0; cut <= file.size(); ++cut) {
    const std::string both = gzip(file.substr(0, cut)) + gzip(file.substr(cut));
    CHECK(text(both) == "abcdef");
    CHECK(text(gzip("") + both + gzip("")) == "abcdef");
    CHECK(text(both + std::string(5000, '\0')) == "abcdef");
  }
  std::string single;
  for (const char c : file) single += gzip(std::string(1, c));
  CHECK(text(single) == "abcdef");
  CHECK(text(gzip(file) + '\0') == "abcdef");
  const std::string first = gzip(file.substr(0, 14)), second = gzip(file.substr(14)), zeros(20, '\0');
  CHECK(contains(refusal(folder, first + second + zeros + second), "expected the end, found more bytes"));
  CHECK(contains(refusal(folder, first + second + second), "expected the end, found more bytes"));
  CHECK(contains(refusal(folder, first + zeros + second), "expected 6 bytes of values, found 2 (truncated)"));
  for (std::size_t length = 0; length < first.size() + second.size(); ++length)
    CHECK_FALSE(refusal(folder, (first + second).substr(0, length)).empty());
  std::string damaged = first + second;
  damaged[first.size() - 8] ^= 1;  // the first member's checksum
  CHECK(contains(refusal(folder, damaged), ": gzip: incorrect data check"));
}

TEST_CASE("a file that is not as long as it says, or of another type, is refused with the offset") {
  const TemporaryFolder folder;
  CHECK(contains(refusal(folder, idx({2}, "ab", 13)), "byte 2: expected type 8 (unsigned byte), found 13"));
  CHECK(contains(refusal(folder, "text"), "byte 0: not an IDX file"));
  CHECK(contains(refusal(folder, idx({2, 3}, "abcde")), "expected values of shape [2, 3], found at most 5 bytes"));
  CHECK(contains(refusal(folder, idx({2, 3}, "abcdefg")), "byte 18: expected the end, found more bytes"));
  CHECK(contains(refusal(folder, gzip(idx({2, 3}, "abcde"))), "expected 6 bytes of values, found 5 (truncated)"));
  CHECK(contains(refusal(folder, gzip(idx({2, 3}, "abcdefg"))), "expected the end, found more bytes"));
  CHECK(contains(refusal(folder, gzip(idx({2, 3}, "abcdef")) + "x"), "expected the end, found more bytes"));
  std::string damaged = gzip(idx({2, 3}, "abcdef"));
  damaged[10] = '\xFF';  // the first byte behind the header: a block of a type that does not exist
  CHECK(contains(refusal(folder, damaged), ": gzip: invalid block type"));
  // Neither a huge claim nor a bomb is believed.
  CHECK(contains(refusal(folder, idx({0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF}, "")), "found at most 0 bytes"));
  CHECK(contains(refusal(folder, gzip(idx({0xFFFFFFFF, 28, 28}, ""))), "found at most"));
  CHECK(contains(refusal(folder, gzip(idx({2}, std::string(1'000'000, '\0')))), "found more bytes"));
  // What is there is read, however much it is; what is missing is counted.
  const std::string zeros(1'000'000, '\0');
  CHECK(read_idx(write_text(folder / "x", gzip(idx({1000, 1000}, zeros)))).values ==
        std::vector<std::uint8_t>(1'000'000));
  CHECK(contains(refusal(folder, gzip(idx({1001, 1000}, zeros))),
                 "expected 1001000 bytes of values, found 1000000 (truncated)"));
  CHECK(contains(message_of<FileError>([&] { read_idx(folder / "none"); }), "none: could not open: No such file"));

  for (const std::string& good : {idx({2, 3}, "abcdef"), gzip(idx({2, 3}, "abcdef"))}) {
    for (std::size_t length = 0; length < good.size(); ++length)
      CHECK_FALSE(refusal(folder, good.substr(0, length)).empty());
    for (std::size_t at = 0; at < good.size(); ++at)
      for (const char byte : {'\0', '\xFF', '\x10', '\x55'}) {
        std::string bad = good;
        bad[at] = byte;
        const auto path = write_text(folder / "x", bad);
        try {
          const auto array = read_idx(path);
          CHECK(array.values.size() == 6);
        } catch (const FileError&) {
        }
      }
  }
}

TEST_CASE("pictures and labels are joined, and must belong together") {
  const TemporaryFolder folder;
  const auto images = write_text(folder / "images", idx({2, 1, 3}, "abcdef"));
  const auto join = [&](const std::string& labels) {
    return read_idx_dataset(images, write_text(folder / "labels", labels), "set", {"zero", "one"});
  };
  const Dataset set = join(idx({2}, std::string("\1\0", 2)));
  CHECK(set.size() == 2);
  CHECK(set.height == 1);
  CHECK(set.width == 3);
  CHECK(set.channels == 1);
  CHECK(set.classes == 2);
  CHECK(set.labels == std::vector<std::int32_t>{1, 0});
  CHECK(set.image(1)[2] == 'f');

  const auto message = [&](const std::string& labels) { return message_of<FileError>([&] { join(labels); }); };
  CHECK(contains(message(idx({3}, std::string(3, '\0'))),
                 "labels: expected labels [2] as images has pictures, found [3]"));
  CHECK(contains(message(idx({2}, std::string("\0\2", 2))), "label 1: expected less than 2, found 2"));
  CHECK(contains(message(read_text(images)), "found [2, 1, 3]"));
  CHECK(contains(message_of<FileError>([&] { read_idx_dataset(folder / "labels", images, "set", {}); }), "found ["));
  CHECK(contains(message_of<FileError>([&] { fashion_mnist(DatasetSplit::test, folder.path()); }),
                 "t10k-images-idx3-ubyte[.gz]: not found"));
}

TEST_CASE("Fashion-MNIST as Debian ships it") {
  if (!fs::exists(fashion_mnist_folder)) {
    MESSAGE("skipped: the package dataset-fashion-mnist is not installed");
    return;
  }
  const Dataset train = fashion_mnist(DatasetSplit::train), test = fashion_mnist(DatasetSplit::test);
  CHECK(train.size() == 60000);
  CHECK(test.size() == 10000);
  for (const Dataset* set : {&train, &test}) {
    CHECK(set->height == 28);
    CHECK(set->width == 28);
    CHECK(set->class_names.size() == 10);
    for (std::int32_t label = 0; label < 10; ++label)  // the classes are balanced
      CHECK(std::ranges::count(set->labels, label) == static_cast<std::ptrdiff_t>(set->size() / 10));
  }
  CHECK(train.class_names[static_cast<std::size_t>(train.labels[0])] == "Ankle boot");
  const auto statistics = mean_and_std(train);
  const auto recipe = fashion_mnist_recipe();
  CHECK(std::abs(statistics.mean[0] - recipe.mean[0]) < 5e-5f);
  CHECK(std::abs(statistics.std[0] - recipe.std[0]) < 5e-5f);
}
