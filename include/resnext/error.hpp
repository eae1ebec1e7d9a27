/// @file
/// The errors of the library. A message names the layer, file or field, says what was expected and what was found.
#pragma once

#include <stdexcept>  // std::runtime_error

#include <resnext/text.hpp>

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

/// Throws `Kind` with the parts written one after the other: `throw_error<ShapeError>("layer1.0.conv2: expected ", 3,
/// ...)`.
template <class Kind, class... Parts>
[[noreturn]] void throw_error(const Parts&... parts) {
  throw Kind(detail::joined_parts({parts...}));
}

}  // namespace resnext
