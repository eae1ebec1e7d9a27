#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <resnext/io/npy.hpp>
#include <resnext/io/safetensors.hpp>
#include <resnext/random.hpp>
#include <string>
#include <utility>
#include <vector>

#ifdef __SSE2__
#include <xmmintrin.h>
#endif

#include "files.hpp"

using namespace resnext;
using namespace testing;

namespace {

std::string file_of(const std::string& header, const std::string& data = {}) {
  std::string file(8, '\0');
  const std::uint64_t length = header.size();
  std::memcpy(file.data(), &length, 8);
  return file + header + data;
}

std::string refusal(const TemporaryFolder& folder, const std::string& file) {
  const auto path = write_text(folder / "x.safetensors", file);
  return message_of<FileError>([&] { Safetensors{path}; });
}

bool contains(const std::string& text, std::string_view part) {
  INFO(text);
  INFO(part);
  return text.find(part) != std::string::npos;
}

const std::vector<float> weights{1.0f, -2.5f, 3.25f, 0.0f, 1e-30f, 7.0f};
const std::vector<std::int64_t> steps{42};

void write_example(const fs::path& path) {
  const std::vector<TensorView> tensors{{"fc.weight", {2, 3}, std::span(weights)},
                                        {"bn.num_batches_tracked", {}, std::span(steps)},
                                        {"fc.bias", {0}, std::span<const float>()}};
  write_safetensors(path, tensors, {{"format", "pt"}, {"note", "tab\t quote\" \xC3\xA9"}});
}

}  // namespace

TEST_CASE("a written file reads back") {
  const TemporaryFolder folder;
  write_example(folder / "a");
  const Safetensors file(folder / "a");
  REQUIRE(file.entries().size() == 3);
  CHECK(file.entries()[0].name == "bn.num_batches_tracked");
  CHECK(file.entries()[1].name == "fc.bias");
  CHECK(file.metadata().at("note") == "tab\t quote\" \xC3\xA9");
  CHECK(file.find("fc") == nullptr);
  CHECK(file.find("zz") == nullptr);

  const auto* entry = file.find("fc.weight");
  REQUIRE(entry);
  CHECK(entry->dtype == Dtype::F32);
  CHECK(entry->shape == std::vector<std::int64_t>{2, 3});
  std::vector<float> values(6);
  file.read(*entry, values);
  CHECK(values == weights);
  std::vector<std::int64_t> counter(1);
  file.read(*file.find("bn.num_batches_tracked"), counter);
  CHECK(counter == steps);
  CHECK(file.find("bn.num_batches_tracked")->shape.empty());

  CHECK_THROWS_AS(file.read(*entry, std::span(values).first(5)), ShapeError);
  CHECK(contains(
      message_of<FileError>([&] { file.read(*file.find("bn.num_batches_tracked"), std::span(values).first(1)); }),
      "tensor \"bn.num_batches_tracked\": expected F32, F16, BF16 or F64, found I64"));
}

TEST_CASE("equal tensors give equal, aligned files whatever their order") {
  const TemporaryFolder folder;
  write_example(folder / "a");
  const std::vector<TensorView> other{{"bn.num_batches_tracked", {}, std::span(steps)},
                                      {"fc.bias", {0}, std::span<const float>()},
                                      {"fc.weight", {2, 3}, std::span(weights)}};
  write_safetensors(folder / "b", other, {{"note", "tab\t quote\" \xC3\xA9"}, {"format", "pt"}});
  const std::string text = read_text(folder / "a");
  CHECK(text == read_text(folder / "b"));
  std::uint64_t length = 0;
  std::memcpy(&length, text.data(), 8);
  CHECK(length % 8 == 0);
  const Safetensors file(folder / "a");
  for (const auto& entry : file.entries()) CHECK(entry.begin % dtype_size(entry.dtype) == 0);
}

TEST_CASE("the writer refuses what the reader would") {
  const TemporaryFolder folder;
  const auto write = [&](std::initializer_list<TensorView> tensors) {
    write_safetensors(folder / "a", std::vector<TensorView>(tensors));
  };
  const std::span w(weights);
  CHECK(message_of<ShapeError>([&] {
          write({{"a", {2, 2}, w}});
        }) == (folder / "a").string() + ": tensor \"a\": shape [2, 2] of F32 takes 16 bytes, found 24");
  CHECK_THROWS_AS(write({{"a", {-2, -3}, w}}), ShapeError);
  CHECK(message_of<OptionError>([&] {
          write({{"a", {6}, w}, {"a", {6}, w}});
        }) == (folder / "a").string() + ": the tensor name \"a\" is reserved or given twice");
  CHECK(contains(message_of<OptionError>([&] { write({{"__metadata__", {6}, w}}); }), "is reserved or given twice"));
  CHECK(contains(message_of<OptionError>([&] { write({{"\xFF", {6}, w}}); }), "is not UTF-8"));
  CHECK(folder.files() == 0);
}

TEST_CASE("every half and bfloat16 has its value; doubles are rounded") {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const int exponent = bits >> 10 & 31, mantissa = bits & 0x3FF;
    const float value = float16::from_bits(static_cast<std::uint16_t>(bits));
    const double sign = bits & 0x8000 ? -1 : 1;
    if (exponent == 31 && mantissa) {
      REQUIRE(std::isnan(value));
      continue;
    }
    const double expected = exponent == 31  ? sign * std::numeric_limits<double>::infinity()
                            : exponent == 0 ? sign * std::ldexp(mantissa, -24)
                                            : sign * std::ldexp(1024 + mantissa, exponent - 25);
    REQUIRE(value == expected);
    REQUIRE(std::signbit(value) == (bits >= 0x8000));
  }

  const TemporaryFolder folder;
  const std::vector<std::uint16_t> halves{0x3C00, 0xC500}, brains{0x3F80, 0xC0A0};
  const std::vector<double> doubles{1.0 / 3, -5};
  const std::vector<TensorView> tensors{{"half", Dtype::F16, {2}, std::as_bytes(std::span(halves))},
                                        {"brain", Dtype::BF16, {2}, std::as_bytes(std::span(brains))},
                                        {"double", Dtype::F64, {2}, std::as_bytes(std::span(doubles))}};
  write_safetensors(folder / "a", tensors);
  const Safetensors file(folder / "a");
  std::vector<float> values(2);
  file.read(*file.find("half"), values);
  CHECK(values == std::vector<float>{1, -5});
  file.read(*file.find("brain"), values);
  CHECK(values == std::vector<float>{1, -5});
  file.read(*file.find("double"), values);
  CHECK(values == std::vector<float>{1.0f / 3, -5});
}

TEST_CASE("doubles become the nearest floats, also those that floats have no exponent for") {
  CHECK(detail::to_float(1.0 / 3) == 1.0f / 3);
  CHECK(detail::to_float(std::numeric_limits<double>::infinity()) == std::numeric_limits<float>::infinity());
  CHECK(std::isnan(detail::to_float(std::numeric_limits<double>::quiet_NaN())));
  CHECK(std::signbit(detail::to_float(-0.0)));
  CHECK(std::signbit(detail::to_float(-1e-300)));
  const RandomStream random(3, "doubles");
  for (std::uint32_t i = 0; i < 100000; ++i) {
    const int exponent = 1023 - 155 + static_cast<int>(random.below(3 * i, 60));
    const std::uint64_t fraction = random.bits(3 * i + 1) & (i % 2 == 0 ? 0xFFFFFFFFFFFFFu : 0xFFFFFE0000000u);
    const auto bits = (random.bits(3 * i + 2) & std::uint64_t{1} << 63) | static_cast<std::uint64_t>(exponent) << 52;
    const auto x = std::bit_cast<double>(bits | fraction);
    REQUIRE(std::bit_cast<std::uint32_t>(detail::to_float(x)) == std::bit_cast<std::uint32_t>(static_cast<float>(x)));
    const float y = static_cast<float>(x);
    REQUIRE(std::bit_cast<std::uint64_t>(detail::to_double(y)) == std::bit_cast<std::uint64_t>(static_cast<double>(y)));
  }
  for (const double x : {0x1p-150, 0x1.8p-149, 0x1.000001p-150, 0x1.fffffffp-127, 0x1p-126, 0x1p-149, 0x1p-1074}) {
    REQUIRE(detail::to_float(x) == static_cast<float>(x));
  }
}

TEST_CASE("any number type is read as integers, as PyTorch converts it") {
  const TemporaryFolder folder;
  const auto read = [&]<class T>(Dtype dtype, const std::vector<T>& values) {
    const std::vector<TensorView> tensors{
        {"t", dtype, {static_cast<std::int64_t>(values.size())}, std::as_bytes(std::span(values))}};
    write_safetensors(folder / "a", tensors);
    const Safetensors file(folder / "a");
    std::vector<std::int64_t> integers(values.size());
    file.read(*file.find("t"), integers);
    return integers;
  };
  using Integers = std::vector<std::int64_t>;
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max(), least = -most - 1;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK(read(Dtype::F64, std::vector<double>{1000, -2.9, 0x1p62}) == Integers{1000, -2, std::int64_t{1} << 62});
  CHECK(read(Dtype::F32, std::vector<float>{1000, 2.9f, nan, 1e30f, -1e30f}) == Integers{1000, 2, 0, most, least});
  CHECK(read(Dtype::F16, std::vector<std::uint16_t>{0x63D0, 0x7C00, 0x0001}) == Integers{1000, most, 0});
  CHECK(read(Dtype::BF16, std::vector<std::uint16_t>{0x447A, 0xFF80}) == Integers{1000, least});
  CHECK(read(Dtype::F8_E5M2, std::vector<std::uint8_t>{0x64, 0x7C, 0x7F}) == Integers{1024, most, 0});
  CHECK(read(Dtype::F8_E4M3, std::vector<std::uint8_t>{0x7E, 0xF8, 0x38, 0x7F}) == Integers{448, -256, 1, 0});
  CHECK(read(Dtype::I64, Integers{most, least}) == Integers{most, least});
  CHECK(read(Dtype::I32, std::vector<std::int32_t>{1000, -1}) == Integers{1000, -1});
  CHECK(read(Dtype::I16, std::vector<std::int16_t>{1000, -1}) == Integers{1000, -1});
  CHECK(read(Dtype::I8, std::vector<std::int8_t>{100, -1}) == Integers{100, -1});
  CHECK(read(Dtype::U64, std::vector<std::uint64_t>{1000, ~std::uint64_t{0}}) == Integers{1000, most});
  CHECK(read(Dtype::U32, std::vector<std::uint32_t>{1000, 0xFFFFFFFF}) == Integers{1000, 0xFFFFFFFF});
  CHECK(read(Dtype::U16, std::vector<std::uint16_t>{1000, 0xFFFF}) == Integers{1000, 0xFFFF});
  CHECK(read(Dtype::U8, std::vector<std::uint8_t>{200}) == Integers{200});
  CHECK(read(Dtype::BOOL, std::vector<std::uint8_t>{0, 1}) == Integers{0, 1});
}

#ifdef __SSE2__
TEST_CASE("a process that flushes subnormals to zero reads the same values") {
  const TemporaryFolder folder;
  std::vector<std::uint16_t> halves(0x800), brains(0x200);
  std::vector<double> doubles;
  for (std::size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<std::uint16_t>(i);
  for (std::size_t i = 0; i < brains.size(); ++i) brains[i] = static_cast<std::uint16_t>(i);
  for (int i = 0; i < 600; ++i) doubles.push_back(std::ldexp(1 + i / 1000.0, -120 - i / 10));
  const std::vector<TensorView> tensors{{"half", Dtype::F16, {0x800}, std::as_bytes(std::span(halves))},
                                        {"brain", Dtype::BF16, {0x200}, std::as_bytes(std::span(brains))},
                                        {"double", Dtype::F64, {600}, std::as_bytes(std::span(doubles))}};
  write_safetensors(folder / "a", tensors);
  std::vector<float> floats;
  for (const double x : doubles) floats.push_back(static_cast<float>(x));
  write_npy(folder / "doubles.npy", {600}, doubles);
  write_npy(folder / "floats.npy", {600}, floats);

  // Bits, since a comparison of values takes subnormals for zeros as well.
  struct Bits {
    std::vector<std::uint32_t> half, brain, rounded, from_doubles;
    std::vector<std::uint64_t> from_floats;
  };
  const auto read = [&] {
    Bits bits;
    const Safetensors file(folder / "a");
    for (const auto& [name, target] :
         {std::pair("half", &bits.half), {"brain", &bits.brain}, {"double", &bits.rounded}}) {
      const auto* entry = file.find(name);
      std::vector<float> values(entry->elements());
      file.read(*entry, values);
      for (const float value : values) target->push_back(std::bit_cast<std::uint32_t>(value));
    }
    for (const float value : read_npy<float>(folder / "doubles.npy").values)
      bits.from_doubles.push_back(std::bit_cast<std::uint32_t>(value));
    for (const double value : read_npy<double>(folder / "floats.npy").values)
      bits.from_floats.push_back(std::bit_cast<std::uint64_t>(value));
    return bits;
  };
  const Bits exact = read();
  const unsigned mode = _mm_getcsr();
  _mm_setcsr(mode | 0x8040);  // flush to zero, and denormals are zeros
  const Bits flushed = read();
  _mm_setcsr(mode);
  CHECK(flushed.half == exact.half);
  CHECK(flushed.brain == exact.brain);
  CHECK(flushed.rounded == exact.rounded);
  CHECK(flushed.from_doubles == exact.from_doubles);
  CHECK(flushed.from_floats == exact.from_floats);
  CHECK(exact.half[1] == std::bit_cast<std::uint32_t>(0x1p-24f));
  CHECK(exact.half[0x3FF] == std::bit_cast<std::uint32_t>(0x3FFp-24f));
  CHECK(exact.brain[1] == 0x10000);
  CHECK(exact.rounded[290] == std::bit_cast<std::uint32_t>(static_cast<float>(doubles[290])));
  CHECK(exact.rounded[290] != 0);
}
#endif

TEST_CASE("text of any bytes becomes valid JSON") {
  CHECK(detail::json_string("caf\xC3\xA9 \"\\\n") == "\"caf\xC3\xA9 \\\"\\\\\\u000a\"");
  CHECK(detail::json_string("caf\xE9.png") == "\"caf\xEF\xBF\xBD.png\"");
  CHECK(detail::json_string("\xFF\xC3") == "\"\xEF\xBF\xBD\xEF\xBF\xBD\"");
  std::string all;
  for (int byte = 0; byte < 256; ++byte) (all += static_cast<char>(byte)) += "a";
  CHECK(!detail::first_invalid_utf8(detail::json_string(all)));
}

TEST_CASE("strings are JSON strings") {
  const TemporaryFolder folder;
  const auto name = [&](const std::string& json) {
    const auto path = write_text(
        folder / "s", file_of("{" + json + R"( : { "dtype" : "U8", "shape" : [ 1 ] , "data_offsets":[0,1]} } )", "x"));
    return Safetensors(path).entries().at(0).name;
  };
  CHECK(name(R"("a\"\\\/\b\f\n\r\t")") == "a\"\\/\b\f\n\r\t");
  CHECK(name(R"("\u0041\u00e9\u20AC\ud83d\ude00")") == "A\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80");
  CHECK(name("\"\xF0\x9F\x98\x80\"") == "\xF0\x9F\x98\x80");
  const std::vector<std::pair<const char*, const char*>> refused{{"\"a", "expected ':', found \"d\""},
                                                                 {"\"\\x\"", "unknown escape in a string"},
                                                                 {"\"\\u12g4\"", "expected four hexadecimal digits"},
                                                                 {"\"\\ud800\"", "half of a surrogate pair"},
                                                                 {"\"\\ud800\\u0041\"", "half of a surrogate pair"},
                                                                 {"\"\\udc00\"", "half of a surrogate pair"},
                                                                 {"\"\x01\"", "control character in a string"},
                                                                 {"\"\xC0\x80\"", "header, byte 10: not UTF-8"},
                                                                 {"\"\xED\xA0\x80\"", "not UTF-8"},
                                                                 {"\"\xF4\x90\x80\x80\"", "not UTF-8"},
                                                                 {"\"\xE2\x82\"", "not UTF-8"},
                                                                 {"'a'", "expected '\"', found \"'\""},
                                                                 {"a", "expected '\"', found \"a\""}};
  for (const auto& entry : refused) {
    const char* bad = entry.first;  // clang 14 captures no structured binding in a lambda
    INFO(bad);
    CHECK(contains(message_of<FileError>([&] { name(bad); }), entry.second));
  }
}

TEST_CASE("a file that is wrong in one respect is refused with that reason") {
  const TemporaryFolder folder;
  const auto one = [](const std::string& fields, const std::string& data = "12345678") {
    return file_of(R"({"a":{)" + fields + "}}", data);
  };
  const std::string good = R"("dtype":"F32","shape":[2],"data_offsets":[0,8])";
  CHECK(refusal(folder, one(good)).empty());
  CHECK(refusal(folder, file_of("{}")).empty());
  CHECK(refusal(folder, file_of(R"({"__metadata__":{}})")).empty());

  CHECK(contains(refusal(folder, ""), "expected at least 8 bytes of safetensors, found 0"));
  CHECK(contains(refusal(folder, std::string("\xFF\0\0\0\0\0\0\0{}", 10)),
                 "expected a header of at most 2 bytes, found 255"));
  CHECK(contains(refusal(folder, std::string(16, '\xFF')), "found 18446744073709551615"));
  CHECK(contains(refusal(folder, file_of(" {}")), "not a safetensors file"));
  CHECK(contains(refusal(folder, file_of("{} x")), "header, byte 11: expected the header's end"));
  CHECK(contains(refusal(folder, file_of("[]")), "expected '{'"));
  CHECK(contains(refusal(folder, file_of(R"({"a":{},})")), "expected dtype, shape and two data_offsets"));
  CHECK(contains(refusal(folder, file_of(R"({"__metadata__":{"a":"b","a":"c"}})")), "a metadata key appears twice"));
  CHECK(contains(refusal(folder, file_of(R"({"__metadata__":{},"__metadata__":{}})")), "__metadata__ appears twice"));
  CHECK(contains(refusal(folder, file_of(R"({"__metadata__":{"a":1}})")), "expected '\"', found \"1\""));

  CHECK(contains(refusal(folder, one(good, "1234567")),
                 "expected the end of its data between 0 and 7, found 8 (file trun"));
  CHECK(contains(refusal(folder, one(good, "123456789")), "expected 8 bytes of tensors, found 9"));
  CHECK(contains(refusal(folder, one(good + R"(,"more":1)")), "unknown field \"more\""));
  CHECK(contains(refusal(folder, one(good + R"(,"shape":[2])")), "tensor \"a\": shape appears twice"));
  CHECK(contains(refusal(folder, one(R"("dtype":"F31","shape":[2],"data_offsets":[0,8])")), "unknown dtype \"F31\""));
  CHECK(contains(refusal(folder, one(R"("dtype":"F32","shape":[3],"data_offsets":[0,8])")),
                 "tensor \"a\": shape [3] of F32 takes 12 bytes, found 8"));
  CHECK(contains(refusal(folder, one(R"("dtype":"F32","shape":[2],"data_offsets":[8,0])")), "(hole)"));
  CHECK(contains(refusal(folder, one(R"("dtype":"F32","shape":[2],"data_offsets":[0])")), "two data_offsets"));
  CHECK(contains(refusal(folder, one(R"("dtype":"F32","shape":[2],"data_offsets":[0,8,8])")), "at most 2 numbers"));
  const std::vector<std::pair<const char*, const char*>> shapes{{"-2", "expected an unsigned integer, found \"-\""},
                                                                {"2.0", "expected ']', found \".\""},
                                                                {"2e0", "expected ']', found \"e\""},
                                                                {"02", "an integer starts with 0"},
                                                                {"\"2\"", "expected an unsigned integer"},
                                                                {"[2]", "expected an unsigned integer"},
                                                                {"9223372036854775808", "an integer exceeds 2^63 - 1"},
                                                                {"2,", "expected an unsigned integer, found \",\""},
                                                                {"null", "expected an unsigned integer"},
                                                                {"", "expected an unsigned integer"}};
  for (const auto& [shape, reason] : shapes) {
    const std::string message =
        refusal(folder, one(R"("dtype":"F32","shape":[)" + std::string(shape) + R"(,2],"data_offsets":[0,8])"));
    CHECK(contains(message, "header, byte "));
    CHECK(contains(message, reason));
  }
  CHECK(contains(refusal(folder, file_of(R"({"a)")), "header, byte 11: the string does not end"));
  // 2^62 * 4 overflows to 0, and so does 2^32 * 2^32
  CHECK(contains(refusal(folder, one(R"("dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0])", "")),
                 "too large"));
  CHECK(contains(refusal(folder, one(R"("dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0])", "")),
                 "too large"));

  const auto two = [](const char* a, const char* b) {
    return file_of(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)" + std::string(a) +
                       R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" + b + "}}",
                   "12345678");
  };
  CHECK(refusal(folder, two("[4,8]", "[0,4]")).empty());
  CHECK(contains(refusal(folder, two("[0,4]", "[3,7]")),
                 "tensor \"b\": expected data_offsets from 4, found 3 (overlap)"));
  CHECK(contains(refusal(folder, two("[0,4]", "[0,4]")), "(overlap)"));
  CHECK(contains(refusal(folder, two("[0,4]", "[5,9]")), "(hole)"));
  CHECK(contains(refusal(folder, file_of(R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)"
                                         R"("\u0061":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})")),
                 "tensor \"a\" appears twice"));
}

TEST_CASE("no truncation and no changed byte does more than throw FileError") {
  const TemporaryFolder folder;
  write_example(folder / "a");
  const std::string good = read_text(folder / "a");
  for (std::size_t length = 0; length < good.size(); ++length) {
    INFO(length);
    CHECK_FALSE(refusal(folder, good.substr(0, length)).empty());
  }
  CHECK_FALSE(refusal(folder, good + '\0').empty());
  const RandomStream random(1, "bytes");
  int accepted = 0;
  std::uint64_t draw = 0;
  for (std::size_t at = 0; at < good.size() - 32; ++at)  // all but the tensors' values
    for (const char byte : {'\0', '\xFF', '"', '{', '[', '9', static_cast<char>(random.below(draw++, 256))}) {
      std::string bad = good;
      bad[at] = byte;
      const auto path = write_text(folder / "x.safetensors", bad);
      try {
        const Safetensors file(path);
        ++accepted;
        for (const auto& entry : file.entries())
          if (entry.dtype == Dtype::F32) {
            std::vector<float> values(entry.elements());
            file.read(entry, values);
          }
      } catch (const FileError&) {
      }
    }
  CHECK(accepted > 0);  // a changed name is still a good file
}

TEST_CASE("hostile headers take no more than linear time and memory") {
  const TemporaryFolder folder;
  const auto start = std::chrono::steady_clock::now();
  std::string many = "{";
  for (int i = 0; i < 40000; ++i)  // one name, again and again
    many += R"("a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)";
  many.back() = '}';
  CHECK(contains(refusal(folder, file_of(many)), "appears twice"));
  CHECK_FALSE(refusal(folder, file_of(std::string(2'000'000, '{'))).empty());
  CHECK_FALSE(refusal(folder, file_of("{\"a\":" + std::string(2'000'000, '['))).empty());
  CHECK_FALSE(refusal(folder, file_of("{\"" + std::string(2'000'000, 'a'))).empty());
  std::string ones = "1";
  for (int i = 0; i < 500'000; ++i) ones += ",1";
  CHECK(
      contains(refusal(folder, file_of(R"({"a":{"dtype":"U8","shape":[)" + ones + R"(],"data_offsets":[0,1]}})", "x")),
               "at most 64 numbers"));
  // A message quotes no more than the start of a name.
  CHECK(refusal(folder, file_of("{\"" + std::string(2'000'000, 'a') + "\":{}}")).size() < 1000);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(20));
}

TEST_CASE("a file in memory is read in place") {
  const TemporaryFolder folder;
  write_example(folder / "a");
  const std::string text = read_text(folder / "a");
  const Safetensors file(MappedFile("weights in the program", bytes_of(text)));
  CHECK(file.bytes(*file.find("bn.num_batches_tracked")).data() > bytes_of(text).data());
  CHECK(contains(message_of<FileError>([&] { Safetensors(MappedFile("built in", bytes_of(text).first(4))); }),
                 "built in: expected at least 8 bytes of safetensors, found 4"));
}

TEST_CASE("PyTorch's files hold the tensors that were hashed") {
  const auto hashes = shared_file("goldens/files.json");
  if (!hashes) {
    MESSAGE("skipped: no reference data beside the repository");
    return;
  }
  const std::string json = read_text(*hashes);
  const Safetensors single(*shared_file("goldens/tiny.safetensors")),
      half(*shared_file("goldens/tiny_fp16.safetensors"));
  CHECK(single.metadata().at("format") == "pt");
  REQUIRE(single.entries().size() == half.entries().size());
  std::size_t checked = 0;
  for (const auto& entry : single.entries()) {
    const auto bytes = single.bytes(entry);
    char hash[32];
    std::snprintf(hash, sizeof hash, "\"fnv1a\": \"%016llx\"",
                  static_cast<unsigned long long>(detail::fnv1a({reinterpret_cast<const char*>(bytes.data()), bytes.size()})));
    const auto row = json.find("\"" + entry.name + "\": {");
    REQUIRE(row != std::string::npos);
    CHECK(contains(json.substr(row, json.find('}', row) - row), hash));
    const auto* other = half.find(entry.name);
    REQUIRE(other);
    CHECK(other->shape == entry.shape);
    if (entry.dtype != Dtype::F32) continue;
    std::vector<float> a(entry.elements()), b(entry.elements());
    single.read(entry, a);
    half.read(*other, b);
    for (std::size_t i = 0; i < a.size(); ++i)
      if (std::abs(a[i] - b[i]) > std::abs(a[i]) * 0x1p-11f + 0x1p-25f) FAIL("not the half of the same value");
    ++checked;
  }
  CHECK(checked > 50);
}
