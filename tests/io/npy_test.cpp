#include <doctest/doctest.h>

#include <cstdint>
#include <initializer_list>
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

TEST_CASE("every spelling of a type that NumPy reads") {
  const TemporaryFolder folder;
  const auto read = [&]<class T>(T, const std::string& descr, const std::string& bytes) {
    const auto path =
        write_text(folder / "x.npy", npy("{'descr': " + descr + ", 'fortran_order': False, 'shape': (2,), }\n", bytes));
    CHECK(npy_holds<T>(path));
    return read_npy<T>(path).values;
  };
  const auto swapped = [](const std::string& bytes, std::size_t size) {
    std::string other;
    for (std::size_t i = 0; i < bytes.size(); i += size)
      for (std::size_t k = size; k-- > 0;) other += bytes[i + k];
    return other;
  };
  const auto check = [&]<class T>(T, std::initializer_list<const char*> little,
                                  std::initializer_list<const char*> big) {
    const std::vector<T> values{T{1} / T{2}, T{77}};
    const std::string bytes(reinterpret_cast<const char*>(values.data()), 2 * sizeof(T));
    for (const std::string descr : little)
      for (const std::string quote : {"'", "\""}) {
        CAPTURE(descr);
        CHECK(read(T{}, quote + descr + quote, bytes) == values);
        CHECK(read(T{}, "u" + quote + descr + quote, bytes) == values);
      }
    for (const std::string descr : big) {
      CAPTURE(descr);
      CHECK(read(T{}, "'" + descr + "'", swapped(bytes, sizeof(T))) == values);
    }
  };
  check(float{}, {"<f4", "=f4", "|f4", "f4", "f", "<f", "float32", "single"}, {">f4", ">f"});
  check(double{}, {"<f8", "=f8", "f8", "d", "=d", "float64", "double", "float"}, {">f8", ">d"});
  check(std::uint8_t{}, {"|u1", "<u1", ">u1", "=u1", "u1", "B", "uint8", "ubyte"}, {});
  check(std::int32_t{}, {"<i4", "=i4", "i4", "i", "int32"}, {">i4", ">i"});
  check(std::int64_t{}, {"<i8", "i8", "q", "int64", "l", "<l", "p", "int", "int_", "intp"}, {">i8"});
  const auto of_type = [&](const std::string& descr) {
    return refusal<float>(folder, npy("{'descr': '" + descr + "', 'fortran_order': False, 'shape': (1,), }\n", "1234"));
  };
  for (const char* other :
       {"", "<", "<i4", "<c8", "<float32", "loat32", "float32 single", "|b1", "<f4 ", "|O", "<U1"}) {
    CAPTURE(other);
    CHECK(contains(of_type(other), "expected an array of <f4, found \"" + std::string(other) + "\""));
  }
}

TEST_CASE("halves and other floats convert exactly or are rounded to the nearest") {
  const TemporaryFolder folder;
  const auto file = [&](const char* descr, const std::string& bytes) {
    return write_text(folder / "x.npy",
                      npy("{'descr': '" + std::string(descr) + "', 'fortran_order': False, 'shape': (2,), }\n", bytes));
  };
  const std::string halves("\x00\x3C\x01\x80", 4);  // 1 and the smallest, negative
  CHECK(read_npy<float>(file("<f2", halves)).values == std::vector<float>{1, -0x1p-24f});
  CHECK(read_npy<double>(file("<f2", halves)).values == std::vector<double>{1, -0x1p-24});
  CHECK(read_npy<float>(file(">f2", std::string("\x3C\x00\x80\x01", 4))).values == std::vector<float>{1, -0x1p-24f});
}

TEST_CASE("Fortran order is transposed") {
  const TemporaryFolder folder;
  const auto read = [&](const std::string& shape, const std::string& bytes) {
    return read_npy<std::uint8_t>(write_text(
        folder / "x.npy", npy("{'descr': '|u1', 'fortran_order': True, 'shape': " + shape + ", }\n", bytes)));
  };
  using Values = std::vector<std::uint8_t>;
  CHECK(read("(2, 3)", "adbecf").values == Values{'a', 'b', 'c', 'd', 'e', 'f'});
  CHECK(read("(2, 3)", "adbecf").shape == std::vector<std::int64_t>{2, 3});
  // [i][j][k] is at i + 2 j + 6 k.
  std::string bytes;
  for (char k = 0; k < 2; ++k)
    for (char j = 0; j < 3; ++j)
      for (char i = 0; i < 2; ++i) bytes += static_cast<char>(i * 6 + j * 2 + k);
  CHECK(read("(2, 3, 2)", bytes).values == Values{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11});
  CHECK(read("(3,)", "abc").values == Values{'a', 'b', 'c'});
  CHECK(read("()", "a").values == Values{'a'});
  CHECK(read("(0, 4)", "").values.empty());
  CHECK(read("(4611686018427387904, 0)", "").values.empty());
}

TEST_CASE("Python 2's long integers are read") {
  const TemporaryFolder folder;
  const auto read = [&](const std::string& shape) {
    const auto path = write_text(
        folder / "x.npy", npy("{'descr': '|u1', 'fortran_order': False, 'shape': " + shape + ", }\n", "abcdefghijkl"));
    return read_npy<std::uint8_t>(path).shape;
  };
  CHECK(read("(1L, 3L, 2L, 2L)") == std::vector<std::int64_t>{1, 3, 2, 2});
  CHECK(read("(12L,)") == std::vector<std::int64_t>{12});
  CHECK(read("\t( 3 ,\r\n4L , )") == std::vector<std::int64_t>{3, 4});
  CHECK(contains(message_of<FileError>([&] { read("(12LL,)"); }), "expected ','"));
  CHECK(contains(message_of<FileError>([&] { read("(L,)"); }), "expected an unsigned integer"));
}

TEST_CASE("version 2.0, other key orders and spacing are read; everything else is refused with a reason") {
  const TemporaryFolder folder;
  const std::string four = "1234";
  std::string many_ones;
  for (int i = 0; i < 65; ++i) many_ones += "1,";
  CHECK(refusal<float>(folder, npy("{'shape':(1,),\"descr\":'<f4','fortran_order':False}\n", four, 2)).empty());
  CHECK(refusal<float>(folder, npy("{\"shape\":(1),'fortran_order':False,'descr':\"<f4\"}", four, 3)).empty());
  CHECK(contains(refusal<float>(folder, npy("{}", four, 4)), "expected .npy version 1.0, 2.0 or 3.0, found 4.0"));
  CHECK(contains(refusal<float>(folder, npy("{}", four, 0)), "expected .npy version 1.0, 2.0 or 3.0, found 0.0"));
  CHECK(contains(refusal<float>(folder, "PK"), "not an .npy file"));
  const auto dict = [&](const std::string& text) { return refusal<float>(folder, npy("{" + text + "}\n", four)); };
  CHECK(dict("'descr': '<f4', 'fortran_order': False, 'shape': (1,), ").empty());
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
      {"(9223372036854775808,)", "an integer exceeds 2^63 - 1"},
      {"[1]", "expected '('"},
      {"(" + many_ones + ")", "expected at most 64 dimensions"}};
  for (const auto& [shape, reason] : shapes) {
    const std::string message = dict("'descr': '<f4', 'fortran_order': False, 'shape': " + shape + ", ");
    CHECK(contains(message, "header, byte "));
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
