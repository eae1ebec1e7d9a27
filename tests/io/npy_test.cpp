#include <doctest/doctest.h>

#include <cstdint>
#include <resnext/io/npy.hpp>
#include <string>
#include <utility>
#include <vector>

#include "files.hpp"

using namespace resnext;
using namespace testing;

namespace {

std::string npy(const std::string& header, const std::string& data, char major = 1) {
  std::string file = "\x93NUMPY";
  file += major;
  file += '\0';
  const std::size_t size = header.size();
  for (int i = 0; i < (major == 1 ? 2 : 4); ++i) file += static_cast<char>(size >> 8 * i & 0xFF);
  return file + header + data;
}

template <class T>
std::string refusal(const TemporaryFolder& folder, const std::string& file) {
  const auto path = write_text(folder / "x.npy", file);
  return message_of<FileError>([&] { read_npy<T>(path); });
}

bool contains(const std::string& text, std::string_view part) {
  INFO(text);
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE_TEMPLATE("a written array reads back", T, float, double, std::uint8_t, std::int32_t, std::int64_t) {
  const TemporaryFolder folder;
  const std::vector<T> values{0, 1, 2, 3, 4, 5};
  for (const std::vector<std::int64_t>& shape : {std::vector<std::int64_t>{6}, {2, 3}, {1, 2, 3}}) {
    write_npy(folder / "a", shape, values);
    const auto array = read_npy<T>(folder / "a");
    CHECK(array.shape == shape);
    CHECK(array.values == values);
    CHECK((read_text(folder / "a").size() - 6 * sizeof(T)) % 64 == 0);
  }
  write_npy(folder / "a", {}, std::vector<T>{7});
  CHECK(read_npy<T>(folder / "a").shape.empty());
  CHECK(read_npy<T>(folder / "a").values == std::vector<T>{7});
  write_npy(folder / "a", {4, 0}, std::vector<T>{});
  CHECK(read_npy<T>(folder / "a").shape == std::vector<std::int64_t>{4, 0});
  CHECK_THROWS_AS(write_npy(folder / "a", {5}, values), ShapeError);
  CHECK_THROWS_AS(write_npy(folder / "a", {-6}, values), ShapeError);
}

TEST_CASE("the header is NumPy's, byte for byte") {
  const TemporaryFolder folder;
  write_npy(folder / "a", {2, 3}, std::vector<float>(6));
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
  header.resize(117, ' ');
  CHECK(read_text(folder / "a") == npy(header + '\n', std::string(24, '\0')));
}

TEST_CASE("floating types convert, uint8 becomes floating, nothing else converts") {
  const TemporaryFolder folder;
  write_npy(folder / "d", {1}, std::vector<double>{1.0 / 3});
  CHECK(read_npy<float>(folder / "d").values[0] == 1.0f / 3);
  write_npy(folder / "f", {1}, std::vector<float>{1.0f / 3});
  CHECK(read_npy<double>(folder / "f").values[0] == static_cast<double>(1.0f / 3));
  write_npy(folder / "u", {1}, std::vector<std::uint8_t>{200});
  CHECK(read_npy<float>(folder / "u").values[0] == 200);
  write_npy(folder / "i", {1}, std::vector<std::int32_t>{5});
  CHECK(contains(message_of<FileError>([&] { read_npy<float>(folder / "i"); }),
                 "expected an array of <f4, found \"<i4\""));
  CHECK_THROWS_AS(read_npy<std::int64_t>(folder / "i"), FileError);
  CHECK_THROWS_AS(read_npy<std::int32_t>(folder / "f"), FileError);
  CHECK_THROWS_AS(read_npy<std::uint8_t>(folder / "f"), FileError);
}

TEST_CASE("version 2.0, other key orders and spacing are read; everything else is refused with a reason") {
  const TemporaryFolder folder;
  const std::string four = "1234";
  std::string many_ones;
  for (int i = 0; i < 33; ++i) many_ones += "1,";
  CHECK(refusal<float>(folder, npy("{'shape':(1,),\"descr\":'<f4','fortran_order':False}\n", four, 2)).empty());
  CHECK(contains(refusal<float>(folder, npy("{}", four, 3)), "expected .npy version 1.0 or 2.0, found 3.0"));
  CHECK(contains(refusal<float>(folder, "PK"), "not an .npy file"));
  const auto dict = [&](const std::string& text) { return refusal<float>(folder, npy("{" + text + "}\n", four)); };
  CHECK(dict("'descr': '<f4', 'fortran_order': False, 'shape': (1,), ").empty());
  CHECK(contains(dict("'descr': '<f4', 'fortran_order': True, 'shape': (1,), "),
                 "expected C order, found Fortran order"));
  CHECK(contains(dict("'descr': '>f4', 'fortran_order': False, 'shape': (1,), "),
                 "expected an array of <f4, found \">f4\""));
  CHECK(contains(dict("'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), "), "array of records"));
  CHECK(contains(dict("'descr': '<f4', 'fortran_order': False, "), "expected the keys"));
  CHECK(contains(dict("'descr': '<f4', 'descr': '<f4'"), "unexpected or repeated key \"descr\""));
  for (const char* shape : {"(2,)", "(0,)", "(4611686018427387905,)", "(4294967296, 4294967296)"})
    CHECK(contains(dict("'descr': '<f4', 'fortran_order': False, 'shape': " + std::string(shape) + ", "),
                   "found 4 bytes"));
  const std::vector<std::pair<std::string, std::string>> shapes{
      {"(-1,)", "expected an unsigned integer"},
      {"(1", "expected an unsigned integer"},
      {"1", "expected '('"},
      {"(1 1)", "expected ','"},
      {"(1.0,)", "expected ','"},
      {"(9223372036854775808,)", "an extent exceeds 2^63 - 1"},
      {"[1]", "expected '('"},
      {"(" + many_ones + ")", "expected at most 32 dimensions"}};
  for (const auto& [shape, reason] : shapes) {
    const std::string message = dict("'descr': '<f4', 'fortran_order': False, 'shape': " + shape + ", ");
    CHECK(contains(message, ": byte "));
    CHECK(contains(message, reason));
  }
  CHECK(contains(dict("'descr': '<f4', 'fortran_order': 0"), "expected True or False"));
  CHECK(contains(dict("'descr"), "the string does not end"));
}

TEST_CASE("no truncation and no changed byte does more than throw FileError") {
  const TemporaryFolder folder;
  write_npy(folder / "a", {2, 3}, std::vector<float>{1, 2, 3, 4, 5, 6});
  const std::string good = read_text(folder / "a");
  for (std::size_t length = 0; length < good.size(); ++length)
    CHECK_FALSE(refusal<float>(folder, good.substr(0, length)).empty());
  CHECK_FALSE(refusal<float>(folder, good + 'x').empty());
  for (std::size_t at = 0; at < 128; ++at)
    for (const char byte : {'\0', '\xFF', '\'', '(', '9', ' ', '\n'}) {
      std::string bad = good;
      bad[at] = byte;
      const auto path = write_text(folder / "x.npy", bad);
      try {
        const auto array = read_npy<float>(path);
        CHECK(array.values.size() == 6);
      } catch (const FileError&) {
      }
    }
}

TEST_CASE("NumPy's own files are read") {
  const auto logits = shared_file("goldens/infer_resnext50_32x4d.logits.npy");
  if (!logits) {
    MESSAGE("skipped: no reference data beside the repository");
    return;
  }
  CHECK(read_npy<double>(*logits).shape == std::vector<std::int64_t>{2, 1000});
  const auto single = read_npy<float>(*logits);
  const auto rounded = read_npy<float>(*shared_file("goldens/infer_resnext50_32x4d.logits_fp32.npy"));
  REQUIRE(single.values.size() == rounded.values.size());
  for (std::size_t i = 0; i < single.values.size(); ++i)
    CHECK(single.values[i] == doctest::Approx(rounded.values[i]).epsilon(1e-4));
  CHECK(read_npy<std::uint8_t>(*shared_file("goldens/n03109150_corkscrew.crop.npy")).shape ==
        std::vector<std::int64_t>{224, 224, 3});
}
