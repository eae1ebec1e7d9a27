// The page of the guide that lists the errors says what the sources throw.

#include <doctest/doctest.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "files.hpp"

using namespace testing;

namespace {

using Texts = std::vector<std::string>;

/// The string literals of a piece of source, neighbours joined as the compiler does it.
Texts literals_of(std::string_view source) {
  Texts texts;
  bool adjacent = false;
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source.substr(i, 2) == "//") {
      i = std::min(source.find('\n', i), source.size());
    } else if (source[i] == '\'' && i + 2 < source.size() && (source[i + 2] == '\'' || source[i + 1] == '\\')) {
      i = std::min(source.find('\'', i + 2), source.size());
      adjacent = false;
    } else if (source[i] == '"') {
      if (!adjacent) texts.emplace_back();
      for (++i; i < source.size() && source[i] != '"'; ++i) {
        if (source[i] == '\\') ++i;
        texts.back() += source[i];
      }
      adjacent = true;
    } else if (std::isspace(static_cast<unsigned char>(source[i])) == 0) {
      adjacent = false;
    }
  }
  return texts;
}

/// From an opening parenthesis to the one that closes it.
std::string_view parentheses(std::string_view source, std::size_t open) {
  int depth = 0;
  bool text = false;
  for (std::size_t i = open; i < source.size(); ++i) {
    if (source[i] == '\\')
      ++i;
    else if (source[i] == '"')
      text = !text;
    else if (!text && source[i] == '(')
      ++depth;
    else if (!text && source[i] == ')' && --depth == 0)
      return source.substr(open, i + 1 - open);
  }
  return source.substr(open);
}

/// What the headers can throw: the literals of each throwing call, by kind. Static assertions are of the kind "".
std::multimap<std::string, Texts> thrown() {
  std::multimap<std::string, Texts> all;
  for (const auto& entry : fs::recursive_directory_iterator(RESNEXT_TESTS_DIR "/../include")) {
    if (entry.path().extension() != ".hpp") continue;
    const std::string source = read_text(entry.path());
    const auto add = [&](const std::string& kind, std::size_t open) -> Texts& {
      return all.emplace(kind, literals_of(parentheses(source, open)))->second;
    };
    constexpr std::string_view call = "throw_error<";
    for (std::size_t at = 0; (at = source.find(call, at)) != std::string::npos; ++at) {
      const std::size_t end = source.find('>', at), kind = at + call.size();
      if (source[end + 1] == '(') add(source.substr(kind, end - kind), end + 1);
    }
    // These two put the file and the place before what they are given.
    for (std::size_t at = 0; (at = source.find("refuse(", at)) != std::string::npos; ++at) {
      Texts& texts = add("FileError", at + 6);
      if (!texts.empty()) texts[0].insert(0, ": ");
      texts.insert(texts.begin(), {": header, byte ", ": byte "});
    }
    for (std::size_t at = 0; (at = source.find("fail_errno(", at)) != std::string::npos; ++at) {
      Texts& texts = add("FileError", at + 10);
      if (!texts.empty()) texts[0] = ": could not " + texts[0] + ": ";
    }
    for (std::size_t at = 0; (at = source.find("static_assert(", at)) != std::string::npos; ++at) add("", at + 13);
    if (source.find("throw FileError(") != std::string::npos) all.emplace("FileError", literals_of(source));
  }
  return all;
}

/// The parts of a message between its ellipses.
Texts fixed_parts(std::string_view message) {
  constexpr std::string_view ellipsis = "\u2026";
  Texts parts;
  for (std::size_t at = 0; at <= message.size();) {
    const std::size_t end = std::min(message.find(ellipsis, at), message.size());
    if (end > at) parts.emplace_back(message.substr(at, end - at));
    at = end + ellipsis.size();
  }
  return parts;
}

/// True if the parts occur in the literals, each within one, in this order.
bool says(const Texts& literals, const Texts& parts) {
  std::size_t literal = 0, from = 0;
  for (const std::string& part : parts) {
    for (;; ++literal, from = 0) {
      if (literal == literals.size()) return false;
      const std::size_t at = literals[literal].find(part, from);
      if (at == std::string::npos) continue;
      from = at + part.size();
      break;
    }
  }
  return true;
}

/// The messages of each section of the page.
std::map<std::string, Texts> page() {
  std::map<std::string, Texts> sections;
  std::istringstream lines(read_text(RESNEXT_TESTS_DIR "/../examples/guide/errors.md"));
  std::string section;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("## ")) {
      section = line.substr(3, line.find(" {") - 3);
      sections[section];
    } else if (line.starts_with("| `")) {
      sections[section].push_back(line.substr(3, line.find('`', 3) - 3));
    }
  }
  return sections;
}

}  // namespace

TEST_CASE("the page has a section with messages for every kind of error, and for nothing else") {
  const std::string source = read_text(RESNEXT_TESTS_DIR "/../include/resnext/error.hpp");
  Texts kinds{"While compiling"};
  for (std::size_t at = 0; (at = source.find("\nclass ", at)) != std::string::npos; ++at) {
    kinds.push_back(source.substr(at + 7, source.find(' ', at + 7) - at - 7));
  }
  CHECK(kinds.size() >= 6);
  std::sort(kinds.begin(), kinds.end());
  Texts sections;
  for (const auto& entry : page()) {
    const std::string& section = entry.first;  // clang 14 captures no structured binding in a lambda
    const Texts& messages = entry.second;
    INFO(section);
    CHECK_FALSE(messages.empty());
    sections.push_back(section);
  }
  CHECK(sections == kinds);
}

TEST_CASE("every message on the page is one that the sources throw, of that kind") {
  const auto all = thrown();
  for (const auto& entry : page()) {
    const std::string& section = entry.first;  // clang 14 captures no structured binding in a lambda
    const Texts& messages = entry.second;
    const auto [begin, end] = all.equal_range(section == "While compiling" ? "" : section);
    for (const std::string& message : messages) {
      INFO(section, ": ", message);
      const Texts parts = fixed_parts(message);
      CHECK_FALSE(parts.empty());
      CHECK(std::any_of(begin, end, [&](const auto& call) { return says(call.second, parts); }));
    }
  }
}

TEST_CASE("every sentence of the compiler is on the page") {
  const auto sections = page();
  const Texts& messages = sections.at("While compiling");
  for (const char* source : {"model/network.hpp", "nn/classifier.hpp", "nn/trainer.hpp"}) {
    const std::string text = read_text(RESNEXT_TESTS_DIR "/../include/resnext/" + std::string(source));
    for (std::size_t at = 0; (at = text.find("static_assert(", at)) != std::string::npos; ++at) {
      const Texts sentence = literals_of(parentheses(text, at + 13));
      REQUIRE(sentence.size() == 1);
      INFO(sentence[0]);
      CHECK(std::find(messages.begin(), messages.end(), sentence[0]) != messages.end());
    }
  }
}

TEST_CASE("what compares the page can tell") {
  const Texts call = literals_of(R"((path, ": expected ", n, " of " "them, found \"", m, '"'))");
  CHECK(call == Texts{": expected ", " of them, found \""});
  CHECK(says(call, fixed_parts("\u2026: expected \u2026 of them, found \u2026")));
  CHECK_FALSE(says(call, fixed_parts("\u2026: expected \u2026 of us, found \u2026")));
  CHECK_FALSE(says(call, fixed_parts("\u2026 of them, \u2026: expected ")));
}
