/// @file
/// The version of the library. The build reads it from here.
#pragma once

#include <string_view>

namespace resnext {

/// Semantic version: major, minor, patch.
inline constexpr std::string_view library_version = "0.1.0";

}  // namespace resnext
