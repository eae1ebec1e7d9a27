/// @file
/// Text from outside: whether it is UTF-8, and as a JSON string that is valid whatever the text is.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace resnext::detail {

/// Where the first byte that is not UTF-8 (RFC 3629: no surrogate, nothing overlong, at most U+10FFFF) stands.
inline std::optional<std::size_t> first_invalid_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = [&](std::size_t k) { return i + k < text.size() ? static_cast<unsigned char>(text[i + k]) : 0u; };
    const unsigned lead = byte(0);
    const std::size_t length = lead < 0x80   ? 1
                               : lead < 0xC2 ? 0
                               : lead < 0xE0 ? 2
                               : lead < 0xF0 ? 3
                               : lead < 0xF5 ? 4
                                             : 0;
    if (length == 0) return i;
    const unsigned low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    const unsigned high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (length > 1 && (byte(1) < low || byte(1) > high)) return i;
    for (std::size_t k = 2; k < length; ++k)
      if (byte(k) < 0x80 || byte(k) > 0xBF) return i;
    i += length;
  }
  return std::nullopt;
}

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
