/// @file
/// Numbers as text, in no locale's spelling.
#pragma once

#include <charconv>
#include <string>

namespace resnext::detail {

/// As printf's %g does in the C locale: what is written into files must not follow the locale of the process.
inline std::string general_text(double number) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, number, std::chars_format::general, 6).ptr};
}
/// As printf's %.*f: with so many digits after the point, at most 40.
inline std::string fixed_text(double number, int digits) {
  char text[360];
  return {text, std::to_chars(text, text + sizeof text, number, std::chars_format::fixed, digits).ptr};
}
/// The shortest text that reads back as the same number.
template <class T>
std::string exact_text(T number) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, number).ptr};
}

}  // namespace resnext::detail
