/// @file
/// The directory of a ZIP archive (PKWARE's APPNOTE.TXT, with its 64-bit extension) whose members are stored as they
/// are, which is how PyTorch writes its files. Nothing is taken on trust.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <map>
#include <resnext/error.hpp>
#include <resnext/io/file.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace resnext::detail {

inline constexpr std::size_t max_zip_members = std::size_t{1} << 20;

/// The members of an archive by name, as parts of its bytes.
class Zip {
 public:
  using Bytes = std::span<const std::byte>;

  /// @throws FileError which names the place, unless directory and members lie within the archive
  Zip(Bytes archive, const std::string& path) : archive_(archive), path_(path) {
    Directory directory = find_directory();
    std::size_t at = directory.offset;
    if (directory.members > max_zip_members) {
      refuse(at, "expected at most ", max_zip_members, " members, found ", directory.members);
    }
    for (std::uint64_t i = 0; i < directory.members; ++i) at = read_member(at);
  }

  /// True if the bytes begin as an archive does.
  static bool recognises(Bytes bytes) { return starts(bytes, "PK\3\4"); }

  const std::map<std::string, Bytes, std::less<>>& members() const { return members_; }
  const Bytes* find(std::string_view name) const {
    const auto at = members_.find(name);
    return at == members_.end() ? nullptr : &at->second;
  }

 private:
  struct Directory {
    std::uint64_t members;
    std::size_t offset;
  };
  static constexpr std::uint32_t in_extension = 0xFFFFFFFF;  // the number is in the 64-bit extension

  template <class... Parts>
  [[noreturn]] void refuse(std::size_t at, const Parts&... parts) const {
    throw_error<FileError>(path_, ": byte ", at, ": ", parts..., " (truncated or damaged?)");
  }

  static bool starts(Bytes bytes, std::string_view signature) {
    return bytes.size() >= signature.size() && std::memcmp(bytes.data(), signature.data(), signature.size()) == 0;
  }

  /// `size` bytes from `at`, which must exist.
  Bytes part(std::uint64_t at, std::uint64_t size, std::string_view what) const {
    if (at > archive_.size() || size > archive_.size() - at) {
      refuse(std::min<std::uint64_t>(at, archive_.size()), "expected ", size, " bytes of ", what, ", found ",
             archive_.size() - std::min<std::uint64_t>(at, archive_.size()));
    }
    return archive_.subspan(static_cast<std::size_t>(at), static_cast<std::size_t>(size));
  }
  template <class T>
  static T number(Bytes bytes, std::size_t at) {
    T value;
    std::memcpy(&value, bytes.data() + at, sizeof value);
    return value;
  }

  /// The end of the directory is where the archive ends, but for a comment of at most 65535 bytes.
  Directory find_directory() const {
    constexpr std::size_t size = 22, longest_comment = 65535;
    if (archive_.size() < size) refuse(0, "expected a ZIP archive, found ", archive_.size(), " bytes");
    const std::size_t least = archive_.size() - size - std::min(archive_.size() - size, longest_comment);
    for (std::size_t at = archive_.size() - size;; --at) {
      if (starts(archive_.subspan(at), "PK\5\6")) return read_end(at);
      if (at == least) break;
    }
    refuse(archive_.size(), "expected the end of a ZIP archive's directory, found none");
  }

  Directory read_end(std::size_t at) const {
    const Bytes end = part(at, 22, "the directory's end");
    const auto members = number<std::uint16_t>(end, 10);
    const auto offset = number<std::uint32_t>(end, 16);
    if (members != 0xFFFF && offset != in_extension) return {members, offset};
    if (at < 20 || !starts(archive_.subspan(at - 20), "PK\6\7")) {
      if (offset == in_extension) refuse(at, "expected the place of a 64-bit directory, found none");
      return {members, offset};
    }
    const auto place = number<std::uint64_t>(archive_.subspan(at - 20), 8);
    const Bytes large = part(place, 56, "the 64-bit directory's end");
    if (!starts(large, "PK\6\6")) refuse(static_cast<std::size_t>(place), "expected the 64-bit directory's end");
    const auto start = number<std::uint64_t>(large, 48);
    part(start, 0, "the directory");
    return {number<std::uint64_t>(large, 32), static_cast<std::size_t>(start)};
  }

  /// Reads a row of the directory and returns where the next one begins.
  std::size_t read_member(std::size_t at) {
    const Bytes row = part(at, 46, "the directory");
    if (!starts(row, "PK\1\2")) refuse(at, "expected a row of the directory");
    const std::size_t name_size = number<std::uint16_t>(row, 28), extra_size = number<std::uint16_t>(row, 30),
                      comment_size = number<std::uint16_t>(row, 32);
    const Bytes name_bytes = part(at + 46, name_size, "a member's name");
    std::string name(reinterpret_cast<const char*>(name_bytes.data()), name_size);
    std::uint64_t packed = number<std::uint32_t>(row, 20), size = number<std::uint32_t>(row, 24),
                  offset = number<std::uint32_t>(row, 42);
    extend(part(at + 46 + name_size, extra_size, "a member's extensions"), at, {&size, &packed, &offset});
    if ((number<std::uint16_t>(row, 8) & 1) != 0) {
      throw_error<FileError>(path_, ": member ", detail::quoted(name), " is encrypted: decrypt the archive first");
    }
    if (number<std::uint16_t>(row, 10) != 0 || packed != size) {
      throw_error<FileError>(path_, ": member ", detail::quoted(name),
                             " is compressed; PyTorch's own files are not: save it again with torch.save");
    }
    const Bytes local = part(offset, 30, "a member");
    if (!starts(local, "PK\3\4"))
      refuse(static_cast<std::size_t>(offset), "expected the member ", detail::quoted(name));
    const std::uint64_t begin = offset + 30 + number<std::uint16_t>(local, 26) + number<std::uint16_t>(local, 28);
    const Bytes content = part(begin, size, "a member");
    if (const auto [where, added] = members_.emplace(std::move(name), content); !added) {
      refuse(at, "member ", detail::quoted(where->first), " appears twice");
    }
    return at + 46 + name_size + extra_size + comment_size;
  }

  /// Sizes and offset that do not fit 32 bits stand in extension 1, in this order, if they are there at all.
  void extend(Bytes extra, std::size_t at, std::initializer_list<std::uint64_t*> numbers) const {
    while (extra.size() >= 4) {
      const auto kind = number<std::uint16_t>(extra, 0);
      const std::size_t size = number<std::uint16_t>(extra, 2);
      if (size > extra.size() - 4) refuse(at, "expected extensions within a member's row");
      Bytes content = extra.subspan(4, size);
      extra = extra.subspan(4 + size);
      if (kind != 1) continue;
      for (std::uint64_t* value : numbers) {
        if (*value != in_extension) continue;
        if (content.size() < 8) refuse(at, "expected a 64-bit number in a member's extension");
        *value = number<std::uint64_t>(content, 0);
        content = content.subspan(8);
      }
    }
  }

  Bytes archive_;
  const std::string& path_;
  std::map<std::string, Bytes, std::less<>> members_;
};

}  // namespace resnext::detail
