// What the README shows is what there is.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <string>

#include <resnext/model/family.hpp>

#include "files.hpp"

using namespace resnext;
using testing::read_text;

namespace {

std::string readme() { return read_text(RESNEXT_TESTS_DIR "/../README.md"); }

/// The text between ```kind and ``` at the n-th such fence.
std::string block(const std::string& text, const std::string& kind, int n = 0) {
  std::size_t at = 0;
  const std::string fence = "```" + kind + "\n";
  for (int i = 0; i <= n; ++i) {
    at = text.find(fence, at);
    if (at == std::string::npos) return {};
    at += fence.size();
  }
  return text.substr(at, text.find("```", at) - at);
}

template <class Net>
std::string row(const std::string& name, const std::string& paths, int size) {
  std::string digits = std::to_string(Net::parameters);
  for (auto at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > 0; at -= 3) {
    digits.insert(static_cast<std::size_t>(at), ",");
  }
  std::array<char, 32> gmac{};
  std::snprintf(gmac.data(), gmac.size(), "%.3f", static_cast<double>(Net::macs(size, size)) * 1e-9);
  return "| " + name + " | " + paths + " | " + digits + " | " + gmac.data() + " |";
}

}  // namespace

TEST_CASE("the quickstart in the README is the program, and its output the program's") {
  const std::string text = readme();
  CHECK(block(text, "cpp") == read_text(RESNEXT_TESTS_DIR "/../examples/quickstart.cpp"));
  std::FILE* pipe = ::popen(RESNEXT_EXAMPLES_DIR "/quickstart", "r");
  REQUIRE(pipe);
  std::string output;
  for (int c; (c = std::fgetc(pipe)) != EOF;) output += static_cast<char>(c);
  CHECK(::pclose(pipe) == 0);
  CHECK(block(text, "text") == output);
  const std::size_t first_lines = text.find("```cpp");
  CHECK(std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(first_lines), '\n') < 25);
}

TEST_CASE("the program in the README that names a picture is the one in examples/") {
  CHECK(block(readme(), "cpp", 1) == read_text(RESNEXT_TESTS_DIR "/../examples/predict.cpp"));
}

TEST_CASE("the family table in the README is the library's") {
  const std::string text = readme();
  const auto has = [&](const std::string& line) {
    INFO("expected in README.md: ", line);
    CHECK(text.find(line) != std::string::npos);
  };
  has(row<ResNet50>("`ResNet50`", "1 x 64", 224));
  has(row<ResNeXt50<2, 40>>("`ResNeXt50<2, 40>`", "2 x 40", 224));
  has(row<ResNeXt50<4, 24>>("`ResNeXt50<4, 24>`", "4 x 24", 224));
  has(row<ResNeXt50<8, 14>>("`ResNeXt50<8, 14>`", "8 x 14", 224));
  has(row<ResNeXt50<32, 4>>("`ResNeXt50<32, 4>`", "32 x 4", 224));
  has(row<ResNet101>("`ResNet101`", "1 x 64", 224));
  has(row<ResNeXt101<32, 4>>("`ResNeXt101<32, 4>`", "32 x 4", 224));
  has(row<ResNeXt101<64, 4>>("`ResNeXt101<64, 4>`", "64 x 4", 224));
  has(row<ResNeXt101<32, 8>>("`ResNeXt101<32, 8>`", "32 x 8", 224));
  has(row<ResNeXt152<32, 4>>("`ResNeXt152<32, 4>`", "32 x 4", 224));
  has(row<ResNeXt152<64, 4>>("`ResNeXt152<64, 4>`", "64 x 4", 224));
  has(row<ResNeXt29<8, 64>>("`ResNeXt29<8, 64>`", "8 x 64", 32));
  has(row<ResNeXt29<16, 64>>("`ResNeXt29<16, 64>`", "16 x 64", 32));
}
