/// @file
/// The tensors of a file, found by their names.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <resnext/error.hpp>
#include <resnext/io/file.hpp>
#include <resnext/sorted_order.hpp>

namespace resnext::detail {

/// Sorts what has a name. @throws FileError when two have the same.
template <class Entry>
void sort_by_name(std::vector<Entry>& entries, const std::string& path) {
  std::vector<Entry> sorted;
  sorted.reserve(entries.size());
  for (const std::size_t i :
       sorted_order(entries.size(), [&](std::size_t a, std::size_t b) { return entries[a].name < entries[b].name; })) {
    if (!sorted.empty() && sorted.back().name == entries[i].name)
      throw_error<FileError>(path, ": tensor ", detail::quoted(entries[i].name), " appears twice");
    sorted.push_back(std::move(entries[i]));
  }
  entries = std::move(sorted);
}

/// The one of that name among what sort_by_name() sorted, or null.
template <class Entry>
const Entry* find_by_name(const std::vector<Entry>& entries, std::string_view name) {
  const auto at = std::lower_bound(entries.begin(), entries.end(), name,
                                   [](const Entry& entry, std::string_view wanted) { return entry.name < wanted; });
  return at != entries.end() && at->name == name ? &*at : nullptr;
}

}  // namespace resnext::detail
