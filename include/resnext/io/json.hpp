/// @file
/// The JSON of file headers: a strict reader, and strings that are valid whatever the text is.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <resnext/io/header_text.hpp>
#include <resnext/io/utf8.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace resnext::detail {

/// The JSON of a header and no more: strings, unsigned integers, and the objects and arrays whose place the format
/// fixes. There is no general value, hence no recursion and no depth to bound.
class JsonParser : public HeaderText {
 public:
  /// @param offset of the text in the file
  JsonParser(std::string_view text, std::size_t offset, const std::string& path)
      : HeaderText(text, offset, path, " \t\n\r") {}

  /// `{ "key": value, ... }`; `member(key)` parses the value.
  template <class Member>
  void object(Member member) {
    expect('{');
    if (accept('}')) return;
    do {
      std::string key = string();
      expect(':');
      member(std::move(key));
    } while (accept(','));
    expect('}');
  }

  /// `[1, 2, ...]` with at most `limit` numbers.
  std::vector<std::int64_t> integers(std::size_t limit) {
    std::vector<std::int64_t> values;
    expect('[');
    if (accept(']')) return values;
    do {
      if (values.size() == limit) refuse("expected at most ", limit, " numbers");
      values.push_back(integer());
    } while (accept(','));
    expect(']');
    return values;
  }

  std::string string() {
    expect('"');
    std::string value;
    for (;;) {
      const std::size_t plain = std::min(text_.find_first_of("\"\\", at_), text_.size());
      for (std::size_t i = at_; i < plain; ++i)
        if (static_cast<unsigned char>(text_[i]) < 0x20) {
          at_ = i;
          refuse("control character in a string");
        }
      value.append(text_, at_, plain - at_);
      at_ = plain;
      if (at_ == text_.size()) refuse("the string does not end");
      if (text_[at_++] == '"') return value;
      escape(value);
    }
  }

 private:
  std::int64_t integer() {
    skip_space();
    const bool zero = next() == '0';
    const std::size_t begin = at_;
    const std::int64_t value = unsigned_integer();
    if (zero && at_ > begin + 1) refuse("an integer starts with 0");
    return value;
  }

  void escape(std::string& value) {
    constexpr std::string_view names = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
    const char kind = next();
    if (kind == 'u') {
      ++at_;
      append_utf8(value, code_point());
    } else if (const std::size_t which = names.find(kind); which != std::string_view::npos) {
      ++at_;
      value += meanings[which];
    } else {
      refuse("unknown escape in a string");
    }
  }

  std::uint32_t code_point() {
    const std::uint32_t first = hex4();
    if (first < 0xD800 || first > 0xDFFF) return first;
    if (first < 0xDC00 && text_.substr(at_, 2) == "\\u") {
      at_ += 2;
      const std::uint32_t second = hex4();
      if (second >= 0xDC00 && second <= 0xDFFF) return 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
    }
    refuse("half of a surrogate pair");
  }

  std::uint32_t hex4() {
    std::uint32_t value = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      const char c = next();
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) refuse("expected four hexadecimal digits");
      value = value * 16 + static_cast<std::uint32_t>(digit);
    }
    return value;
  }

  static void append_utf8(std::string& text, std::uint32_t code) {
    const auto put = [&](std::uint32_t byte) { text += static_cast<char>(static_cast<unsigned char>(byte)); };
    if (code < 0x80) return put(code);
    if (code < 0x800) {
      put(0xC0 | code >> 6);
    } else {
      if (code < 0x10000) {
        put(0xE0 | code >> 12);
      } else {
        put(0xF0 | code >> 18);
        put(0x80 | (code >> 12 & 0x3F));
      }
      put(0x80 | (code >> 6 & 0x3F));
    }
    put(0x80 | (code & 0x3F));
  }
};

/// A text in quotes, escaped. What is not UTF-8, as file names may be, becomes U+FFFD byte by byte: JSON has no other
/// place for it.
inline std::string json_string(std::string_view text) {
  constexpr std::string_view hex = "0123456789abcdef";
  std::string json = "\"";
  while (!text.empty()) {
    const std::optional<std::size_t> invalid = first_invalid_utf8(text);
    for (const char c : text.substr(0, invalid.value_or(text.size()))) {
      const auto byte = static_cast<unsigned char>(c);
      if (byte < 0x20)
        (json += "\\u00") += {hex[byte >> 4], hex[byte & 15]};
      else if (c == '"' || c == '\\')
        (json += '\\') += c;
      else
        json += c;
    }
    if (invalid) json += "\xEF\xBF\xBD";
    text.remove_prefix(invalid ? *invalid + 1 : text.size());
  }
  return json + '"';
}

}  // namespace resnext::detail
