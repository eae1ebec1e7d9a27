/// @file
/// What writers that were killed have left behind.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <resnext/io/file.hpp>

namespace resnext::detail {

/// Removes what was left behind when writers of files whose names begin with `stem` were killed.
inline void remove_leftovers(const std::filesystem::path& folder, std::string_view stem) {
  std::error_code ignored;  // what cannot be removed stays
  std::vector<std::filesystem::path> leftovers;
  for (const auto& entry : std::filesystem::directory_iterator(folder.empty() ? "." : folder, ignored)) {
    if (is_temporary(entry.path().filename().string(), stem)) leftovers.push_back(entry.path());
  }
  for (const auto& path : leftovers) std::filesystem::remove(path, ignored);
}

}  // namespace resnext::detail
