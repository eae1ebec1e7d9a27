/// Files of torch.save, written by hand: an archive of members, and the operations of a pickle.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace testing {

using Members = std::vector<std::pair<std::string, std::string>>;

template <class T>
std::string bytes(T value) {
  std::string text(sizeof value, '\0');
  std::memcpy(text.data(), &value, sizeof value);
  return text;
}

/// A ZIP archive of members that are stored as they are. With `large` sizes and places stand in the 64-bit extension.
inline std::string zip(const Members& members, bool large = false, std::uint16_t method = 0) {
  const auto u16 = [](std::size_t v) { return bytes(static_cast<std::uint16_t>(v)); };
  const auto u32 = [](std::size_t v) { return bytes(static_cast<std::uint32_t>(v)); };
  const auto u64 = [](std::size_t v) { return bytes(static_cast<std::uint64_t>(v)); };
  std::string archive, directory;
  for (const auto& [name, content] : members) {
    const std::size_t offset = archive.size();
    const std::string padding(7, '\0');  // PyTorch aligns its storages with a field like this
    archive += "PK\3\4" + u16(45) + u16(0) + u16(method) + u32(0) + u32(0) + u32(content.size()) + u32(content.size()) +
               u16(name.size()) + u16(padding.size()) + name + padding + content;
    const std::string extra =
        large ? u16(1) + u16(24) + u64(content.size()) + u64(content.size()) + u64(offset) : std::string();
    const auto size = [&](std::size_t v) { return large ? u32(0xFFFFFFFF) : u32(v); };
    directory += "PK\1\2" + u16(45) + u16(45) + u16(0) + u16(method) + u32(0) + u32(0) + size(content.size()) +
                 size(content.size()) + u16(name.size()) + u16(extra.size()) + u16(0) + u16(0) + u16(0) + u32(0) +
                 size(offset) + name + extra;
  }
  const std::size_t start = archive.size();
  archive += directory;
  if (large) {
    const std::size_t end = archive.size();
    archive += "PK\6\6" + u64(44) + u16(45) + u16(45) + u32(0) + u32(0) + u64(members.size()) + u64(members.size()) +
               u64(directory.size()) + u64(start);
    archive += "PK\6\7" + u32(0) + u64(end) + u32(1);
  }
  archive += "PK\5\6" + u16(0) + u16(0) + u16(large ? 0xFFFF : members.size()) + u16(large ? 0xFFFF : members.size()) +
             u32(large ? 0xFFFFFFFF : directory.size()) + u32(large ? 0xFFFFFFFF : start) + u16(0);
  return archive;
}

/// What a pickle is made of, in protocol 2 or 4.
struct Pickle {
  int protocol = 2;

  std::string begin() const {
    return protocol == 2 ? std::string("\x80\x02") : "\x80\x04\x95" + bytes(std::uint64_t{1000});
  }
  static std::string integer(std::int64_t value) {
    if (value >= 0 && value < 256) return "K" + bytes(static_cast<std::uint8_t>(value));
    if (value >= 0 && value < 65536) return "M" + bytes(static_cast<std::uint16_t>(value));
    if (value >= INT32_MIN && value <= INT32_MAX) return "J" + bytes(static_cast<std::int32_t>(value));
    return "\x8a\x08" + bytes(value);
  }
  std::string text(std::string_view value) const {
    if (protocol == 2) return "X" + bytes(static_cast<std::uint32_t>(value.size())) + std::string(value);
    return "\x8c" + bytes(static_cast<std::uint8_t>(value.size())) + std::string(value) + "\x94";
  }
  std::string global(std::string_view module, std::string_view name) const {
    if (protocol == 2) return std::string("c").append(module).append("\n").append(name).append("\n");
    return text(module) + text(name) + "\x93";
  }
  static std::string tuple(const std::vector<std::int64_t>& values) {
    std::string all = "(";
    for (const std::int64_t value : values) all += integer(value);
    return all + "t";
  }
  std::string storage(std::string_view type, std::string_view key, std::int64_t elements) const {
    return "(" + text("storage") + global("torch", type) + text(key) + text("cpu") + integer(elements) + "tQ";
  }
  std::string empty_dictionary() const { return global("collections", "OrderedDict") + ")R"; }
  std::string tensor(const std::string& storage, std::int64_t offset, const std::vector<std::int64_t>& shape,
                     const std::vector<std::int64_t>& strides) const {
    return global("torch._utils", "_rebuild_tensor_v2") + "(" + storage + integer(offset) + tuple(shape) +
           tuple(strides) + "\x89" + empty_dictionary() + "tR";
  }
  /// An OrderedDict, as a state dict is, with the attribute that it has there.
  std::string dictionary(const std::vector<std::pair<std::string, std::string>>& items) const {
    std::string all = empty_dictionary() + "(";
    for (const auto& [key, value] : items) all += text(key) + value;
    return all + "u}" + text("_metadata") + empty_dictionary() + "sb";
  }
};

/// The archive that torch.save makes of a pickle and storages.
inline std::string torch_file(const std::string& pickle, const Members& storages, bool large = false,
                              const std::string& order = "little") {
  Members members{{"archive/data.pkl", pickle}, {"archive/byteorder", order}};
  for (const auto& [key, content] : storages) members.emplace_back("archive/data/" + key, content);
  members.emplace_back("archive/version", "3\n");
  return zip(members, large);
}

}  // namespace testing
