/// @file
/// The names of classes, from a text file with one a line.
#pragma once

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <resnext/error.hpp>
#include <resnext/io/file.hpp>
#include <resnext/io/utf8.hpp>

namespace resnext {

/// The lines of a text file that is mapped or in memory, one for each of `classes` classes. They may end by LF, CR LF
/// or CR; a byte order mark, spaces around a name and empty lines are no names. Throws FileError when the text is not
/// UTF-8 or there are more or fewer names.
inline std::vector<std::string> read_class_names(const MappedFile& file, int classes) {
  constexpr std::size_t limit = 1 << 16;
  if (file.size() > limit)
    throw_error<FileError>(file.path(), ": expected at most ", limit, " bytes of class names, found ", file.size());
  std::string_view text(reinterpret_cast<const char*>(file.bytes().data()), file.size());
  if (const auto invalid = detail::first_invalid_utf8(text))
    throw_error<FileError>(file.path(), ": byte ", *invalid,
                           ": not UTF-8 (convert the class names, for instance with iconv)");
  constexpr std::string_view mark = "\xEF\xBB\xBF", space = " \t";
  if (text.starts_with(mark)) text.remove_prefix(mark.size());
  std::vector<std::string> names;
  while (!text.empty()) {
    std::string_view name = text.substr(0, text.find_first_of("\r\n"));
    text.remove_prefix(name.size() == text.size() ? name.size() : name.size() + 1);
    name.remove_prefix(std::min(name.find_first_not_of(space), name.size()));
    name = name.substr(0, name.find_last_not_of(space) + 1);
    if (!name.empty()) names.emplace_back(name);
  }
  if (names.size() != static_cast<std::size_t>(classes))
    throw_error<FileError>(file.path(), ": expected ", classes, " class names, found ", names.size());
  return names;
}

/// The same of a file by its name.
inline std::vector<std::string> read_class_names(const std::filesystem::path& path, int classes) {
  return read_class_names(MappedFile(path), classes);
}

}  // namespace resnext
