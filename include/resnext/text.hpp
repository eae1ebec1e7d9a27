/// @file
/// Text of numbers, in no locale's spelling, and of parts.
#pragma once

#include <charconv>
#include <concepts>
#include <initializer_list>
#include <string>
#include <string_view>

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

/// A piece of a message: text or a number, which is spelled as a stream would, but a stream's headers are a third of
/// the time it takes to include resnext.hpp. It is not a template, so that a message costs the compiler little.
class TextPart {
 public:
  TextPart(std::string_view text) : value_{.text = text} {}
  TextPart(const std::string& text) : value_{.text = text} {}
  TextPart(const char* text) : value_{.text = text} {}
  TextPart(char character) : kind_(Kind::character), value_{.character = character} {}
  TextPart(double number) : kind_(Kind::real), value_{.real = number} {}
  template <std::signed_integral T>
  TextPart(T number) : kind_(Kind::integer), value_{.integer = number} {}
  template <std::unsigned_integral T>
  TextPart(T number) : kind_(Kind::natural), value_{.natural = number} {}

  void append_to(std::string& text) const {
    switch (kind_) {
      case Kind::text:
        text += value_.text;
        break;
      case Kind::character:
        text += value_.character;
        break;
      case Kind::real:
        text += general_text(value_.real);
        break;
      case Kind::integer:
        text += std::to_string(value_.integer);
        break;
      case Kind::natural:
        text += std::to_string(value_.natural);
        break;
    }
  }

 private:
  enum class Kind { text, character, real, integer, natural };

  Kind kind_ = Kind::text;
  union {
    std::string_view text;
    char character;
    double real;
    long long integer;
    unsigned long long natural;
  } value_;
};

inline std::string joined_parts(std::initializer_list<TextPart> parts) {
  std::string text;
  for (const TextPart& part : parts) part.append_to(text);
  return text;
}

/// The parts written one after the other.
template <class... Parts>
std::string joined(const Parts&... parts) {
  return joined_parts({parts...});
}

}  // namespace resnext::detail
