/// @file
/// The errors of the library. A message names the layer, file or field, says what was expected and what was found.
#pragma once

#include <stdexcept>  // std::runtime_error
#include <string>
#include <type_traits>

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

/// Numbers as a stream would write them, but a stream's headers are a third of the time it takes to include
/// resnext.hpp.
template <class T>
void append(std::string& text, const T& part) {
  if constexpr (std::is_floating_point_v<T>) {
    text += general_text(static_cast<double>(part));
  } else if constexpr (std::is_arithmetic_v<T> && !std::is_same_v<T, char>) {
    text += std::to_string(part);
  } else {
    text += part;
  }
}

/// The parts written one after the other.
template <class... Parts>
std::string joined(const Parts&... parts) {
  std::string text;
  (append(text, parts), ...);
  return text;
}

}  // namespace detail

/// Throws `Kind` with the parts written one after the other: `throw_error<ShapeError>("layer1.0.conv2: expected ", 3,
/// ...)`.
template <class Kind, class... Parts>
[[noreturn]] void throw_error(const Parts&... parts) {
  throw Kind(detail::joined(parts...));
}

}  // namespace resnext
