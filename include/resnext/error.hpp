/// @file
/// The errors of the library. A message names the layer, file or field, says what was expected and what was found.
#pragma once

#include <concepts>
#include <initializer_list>
#include <stdexcept>  // std::runtime_error
#include <string>
#include <string_view>

#include <resnext/number_text.hpp>

namespace resnext {

/// The base of everything this library throws.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A tensor, image or argument has a shape or value that the operation cannot take.
class ShapeError : public Error {
 public:
  using Error::Error;
};

/// A file is missing, unreadable, truncated, of another format, or holds something else than was asked for.
class FileError : public Error {
 public:
  using Error::Error;
};

/// An option, environment variable or configuration has an impossible value.
class OptionError : public Error {
 public:
  using Error::Error;
};

/// A device library (oneDNN, CUDA, cuDNN, NCCL, MPI) refused or failed.
class DeviceError : public Error {
 public:
  using Error::Error;
};

namespace detail {

/// A piece of a message: text or a number, which is spelled as a stream would, but a stream's headers are a third of the
/// time it takes to include resnext.hpp. It is not a template, so that a message costs the compiler little.
class TextPart {
 public:
  TextPart(std::string_view text) : text_(text) {}
  TextPart(const std::string& text) : text_(text) {}
  TextPart(const char* text) : text_(text) {}
  TextPart(char character) : kind_(Kind::character), character_(character) {}
  TextPart(double number) : kind_(Kind::real), real_(number) {}
  template <std::signed_integral T>
  TextPart(T number) : kind_(Kind::integer), integer_(number) {}
  template <std::unsigned_integral T>
  TextPart(T number) : kind_(Kind::natural), natural_(number) {}

  void append_to(std::string& text) const {
    switch (kind_) {
      case Kind::text: text += text_; break;
      case Kind::character: text += character_; break;
      case Kind::real: text += general_text(real_); break;
      case Kind::integer: text += std::to_string(integer_); break;
      case Kind::natural: text += std::to_string(natural_); break;
    }
  }

 private:
  enum class Kind { text, character, real, integer, natural };

  Kind kind_ = Kind::text;
  union {
    std::string_view text_;
    char character_;
    double real_;
    long long integer_;
    unsigned long long natural_;
  };
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

}  // namespace detail

/// Throws `Kind` with the parts written one after the other: `throw_error<ShapeError>("layer1.0.conv2: expected ", 3,
/// ...)`.
template <class Kind, class... Parts>
[[noreturn]] void throw_error(const Parts&... parts) {
  throw Kind(detail::joined_parts({parts...}));
}

}  // namespace resnext
