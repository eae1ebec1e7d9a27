// What the largest headers cost: processor time, and memory counted by the operators below.

#include <doctest/doctest.h>
#include <malloc.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <new>
#include <resnext/io/safetensors.hpp>
#include <string>
#include <string_view>

#include "files.hpp"

namespace {

std::size_t live = 0, peak = 0;

void* counted(std::size_t size) {
  void* address = std::malloc(size);
  if (address == nullptr) throw std::bad_alloc();
  live += malloc_usable_size(address);
  peak = std::max(peak, live);
  return address;
}
void release(void* address) {
  if (address != nullptr) live -= malloc_usable_size(address);
  std::free(address);
}

}  // namespace

void* operator new(std::size_t size) { return counted(size); }
void operator delete(void* address) noexcept { release(address); }
void operator delete(void* address, std::size_t) noexcept { release(address); }

using namespace resnext;

namespace {

constexpr std::size_t largest = 100'000'000;

/// A file without data.
std::string file_of(std::string header) {
  const std::uint64_t length = header.size();
  header.insert(0, sizeof length, '\0');
  std::memcpy(header.data(), &length, sizeof length);
  return header;
}

/// `{` + piece(0) + piece(1) ... as many times as `count` says or as fit into the largest header, + `end`.
template <class Piece>
std::string repeated(std::string text, std::size_t count, Piece piece, std::string_view end) {
  text.reserve(largest + 8);
  for (std::size_t i = 0; i < count; ++i) {
    const std::string next = piece(std::to_string(i));
    if (text.size() + next.size() + end.size() > largest) break;
    text += next;
  }
  text.back() = end[0];  // the last comma
  text += end.substr(1);
  return file_of(std::move(text));
}

struct Cost {
  std::string refusal;
  double seconds;  ///< of this process
  double memory;   ///< bytes a byte of the header
};

Cost open(const std::string& text) {
  const auto now = [] {
    timespec time{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  };
  const std::size_t before = peak = live;
  const double start = now();
  Cost cost;
  cost.refusal = testing::message_of<FileError>([&] { Safetensors(MappedFile("hostile", bytes_of(text))); });
  cost.seconds = now() - start;
  cost.memory = static_cast<double>(peak - before) / static_cast<double>(text.size());
  const std::string said = cost.refusal.empty() ? "accepted" : cost.refusal.substr(0, 70);
  MESSAGE((text.size() / 1'000'000) << " MB: " << cost.seconds << " s, " << cost.memory << " bytes a byte, " << said);
  return cost;
}

}  // namespace

TEST_CASE("the largest headers cost bounded time and memory") {
  const std::string fields = R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)";
  const auto tensor = [&](const std::string& i) { return "\"t" + i + fields; };
  constexpr std::size_t all = largest;
  const auto within = [](const Cost& cost, std::string_view refusal) {
    CAPTURE(cost.refusal);
    CHECK((refusal.empty() ? cost.refusal.empty() : cost.refusal.find(refusal) != std::string::npos));
    CHECK(cost.refusal.size() < 500);
    CHECK(cost.memory < 6);
    CHECK(cost.seconds < 20);  // of a build with sanitizers; a hundredth of that in the first case
  };
  SUBCASE("100,000 tensors") { within(open(repeated("{", 100'000, tensor, "}")), ""); }
  SUBCASE("100 MB of tensors") { within(open(repeated("{", all, tensor, "}")), "at most 1048576 tensors"); }
  SUBCASE("100 MB of tensors with 64 extents") {
    std::string shape = "0";
    for (int i = 1; i < 64; ++i) shape += ",1";
    const std::string long_fields = R"(":{"dtype":"U8","shape":[)" + shape + R"(],"data_offsets":[0,0]},)";
    within(open(repeated(
               "{", all, [&](const std::string& i) { return "\"t" + i + long_fields; }, "}")),
           "");
  }
  SUBCASE("100 MB of metadata") {
    const auto pair = [](const std::string& i) { return "\"" + i + "\":\"\","; };
    within(open(repeated(R"({"__metadata__":{)", all, pair, "}}")), "at most 65536 metadata");
  }
  SUBCASE("100 MB in one name") {
    within(open(file_of("{\"" + std::string(largest - fields.size() - 2, 'a') + fields.substr(0, fields.size() - 1) +
                        "}")),
           "");
  }
  SUBCASE("100 MB of escapes") {
    const auto escape = [](const std::string&) { return "\\u0041"; };
    within(open(repeated("{\"", all, escape, "A\":{}}")), "expected dtype");
  }
  SUBCASE("100 MB of white space") { within(open(file_of("{" + std::string(largest - 2, ' ') + "}")), ""); }
  SUBCASE("100 MB of brackets") { within(open(file_of(std::string(largest, '{'))), "expected '\"'"); }
  SUBCASE("more than 100 MB") {
    const Cost cost = open(file_of("{" + std::string(largest - 1, ' ') + "}"));
    within(cost, "expected a header of at most 100000000 bytes, found 100000001");
    CHECK(cost.seconds < 0.1);
  }
}
