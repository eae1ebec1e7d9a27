/// @file
/// The files of `torch.save` (.pth, .pt): a ZIP archive of a pickle and the storages of its tensors. The reader takes
/// nothing on trust, executes and imports nothing, and needs time and memory linear in the file for any input.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <resnext/error.hpp>
#include <resnext/io/array.hpp>
#include <resnext/io/by_name.hpp>
#include <resnext/io/convert.hpp>
#include <resnext/tensor/dtype.hpp>
#include <resnext/io/file.hpp>
#include <resnext/io/pickle.hpp>
#include <resnext/io/zip.hpp>
#include <resnext/tensor/number.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace resnext {

/// A file of `torch.save`, mapped and checked as a whole by the constructor. Its tensors have the names of the
/// dictionaries they are in, joined by dots: `conv1.weight` of a state dict, `state_dict.conv1.weight` of a checkpoint
/// that has one. Whatever is no tensor is passed over.
class TorchArchive {
 public:
  /// One tensor: its name, element type, shape (`[]` for a scalar), and where its elements are. Several may share a
  /// storage, or lie in it in another order.
  struct Entry {
    std::string name;                    ///< unique in the file
    Dtype dtype;                         ///< of an element
    std::vector<std::int64_t> shape;     ///< the slowest extent first
    std::vector<std::int64_t> strides;   ///< in elements, one an extent
    std::span<const std::byte> storage;  ///< from its first element

    /// The product of the extents.
    std::size_t elements() const { return static_cast<std::size_t>(checked_product(shape).value_or(0)); }
  };

  /// @throws FileError, which names the file and the place, unless it is such an archive of tensors. The format before
  /// PyTorch 1.6, TorchScript, big-endian archives and pickles of anything but tensors, dictionaries, lists and plain
  /// scalars are refused with what to do.
  explicit TorchArchive(const std::string& path) : TorchArchive(MappedFile(path)) {}
  /// The same of a file that is mapped or in memory already.
  explicit TorchArchive(MappedFile file) : file_(std::move(file)) {
    const auto bytes = file_.bytes();
    constexpr std::string_view legacy("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 14);
    if (bytes.size() >= legacy.size() && std::memcmp(bytes.data(), legacy.data(), legacy.size()) == 0) {
      throw_error<FileError>(path(),
                             ": expected a ZIP archive, found the format before PyTorch 1.6: load it in Python and "
                             "save it again with torch.save");
    }
    if (!detail::Zip::recognises(bytes)) {
      throw_error<FileError>(path(), ": byte 0: expected a ZIP archive of torch.save, found something else");
    }
    const detail::Zip zip(bytes, path());
    const auto& [name, pickled] = pickle_member(zip);
    const std::string root = name.substr(0, name.find('/') + 1);
    if (zip.find(root + "constants.pkl") != nullptr) {
      throw_error<FileError>(path(), ": expected tensors, found a TorchScript program: save its state_dict() instead");
    }
    if (const auto* order = zip.find(root + "byteorder"); order != nullptr && text_of(*order) != "little") {
      throw_error<FileError>(path(), ": expected little-endian tensors, found the byte order ",
                             detail::quoted(text_of(*order)), ": save it again on a little-endian machine");
    }
    const detail::Unpickler pickle(text_of(pickled), path());
    // What is shared by several dictionaries is visited in each, but no more often than a file of that size explains.
    std::size_t visits_left = 4 * pickled.size();
    collect(pickle, pickle.root(), "", 0, visits_left, zip, root);
    detail::sort_by_name(entries_, path());
  }

  /// As given to the constructor.
  const std::string& path() const { return file_.path(); }
  /// All tensors, sorted by name.
  const std::vector<Entry>& entries() const { return entries_; }

  /// The tensor of that name, or null.
  const Entry* find(std::string_view name) const { return detail::find_by_name(entries_, name); }

  /// Gives the memory of the tensor's storage back to the system; see MappedFile::release().
  void release(const Entry& entry) const { file_.release(entry.storage); }

  /// Converts F32, F16, BF16 (exactly) or F64 (rounded) to float, row-major. Throws FileError for another type,
  /// ShapeError when `values` has not as many elements as the tensor.
  void read(const Entry& entry, std::span<float> values) const {
    if (!detail::is_real(entry.dtype)) {
      throw_error<FileError>(path(), ": tensor ", detail::quoted(entry.name),
                             ": expected F32, F16, BF16 or F64, found ", dtype_name(entry.dtype));
    }
    read_any(entry, values);
  }
  /// Converts any number type as PyTorch does: fractions are cut off. Throws ShapeError when `values` has not as many
  /// elements as the tensor.
  void read(const Entry& entry, std::span<std::int64_t> values) const { read_any(entry, values); }

 private:
  using Bytes = std::span<const std::byte>;

  static std::string_view text_of(Bytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

  /// The member data.pkl of the one folder of the archive.
  const std::pair<const std::string, Bytes>& pickle_member(const detail::Zip& zip) const {
    for (const auto& member : zip.members()) {
      const std::size_t slash = member.first.find('/');
      if (slash != std::string::npos && std::string_view(member.first).substr(slash) == "/data.pkl") return member;
    }
    throw_error<FileError>(path(), ": expected an archive of torch.save with a member data.pkl, found none");
  }

  void collect(const detail::Unpickler& pickle, std::uint32_t index, const std::string& name, int depth,
               std::size_t& visits_left, const detail::Zip& zip, const std::string& root) {
    constexpr int deepest = 32;
    constexpr std::size_t longest_name = 4096;
    if (visits_left-- == 0 || depth > deepest || name.size() > longest_name) {
      throw_error<FileError>(path(), ": ", detail::quoted(name),
                             ": the dictionaries of this file are too many, too deep, or their names too long");
    }
    const detail::PickleValue& value = pickle[index];
    const auto inside = [&](std::string_view key) {
      std::string longer = name;
      return (longer.empty() ? longer : longer += '.').append(key);
    };
    if (value.kind == detail::PickleKind::tensor) {
      add(pickle, value, name, zip, root);
    } else if (value.kind == detail::PickleKind::list) {
      for (std::size_t i = 0; i < value.items.size(); ++i) {
        collect(pickle, value.items[i], inside(std::to_string(i)), depth + 1, visits_left, zip, root);
      }
    } else if (value.kind == detail::PickleKind::dictionary) {
      for (std::size_t i = 0; i < value.items.size(); i += 2) {
        const detail::PickleValue& key = pickle[value.items[i]];
        const bool text = key.kind == detail::PickleKind::text;
        collect(pickle, value.items[i + 1], inside(text ? key.text : std::to_string(key.number)), depth + 1,
                visits_left, zip, root);
      }
    }
  }

  /// The integers of a tuple.
  std::vector<std::int64_t> numbers(const detail::Unpickler& pickle, std::uint32_t tuple,
                                    const std::string& name) const {
    constexpr std::size_t max_rank = 64;
    const auto& items = pickle[tuple].items;
    std::vector<std::int64_t> all;
    for (const std::uint32_t item : items) {
      const detail::PickleValue& number = pickle[item];
      if (number.kind != detail::PickleKind::integer || number.number < 0 || all.size() == max_rank) {
        refuse(name, "expected at most 64 extents or strides from 0");
      }
      all.push_back(number.number);
    }
    return all;
  }
  template <class... Parts>
  [[noreturn]] void refuse(const std::string& name, const Parts&... parts) const {
    throw_error<FileError>(path(), ": tensor ", detail::quoted(name), ": ", parts...);
  }

  void add(const detail::Unpickler& pickle, const detail::PickleValue& tensor, const std::string& name,
           const detail::Zip& zip, const std::string& root) {
    const detail::PickleValue& storage = pickle[tensor.items[0]];
    Entry entry{
        name, storage.dtype, numbers(pickle, tensor.items[1], name), numbers(pickle, tensor.items[2], name), {}};
    if (entry.shape.size() != entry.strides.size()) {
      refuse(name, "expected a stride for each of its ", entry.shape.size(), " extents, found ", entry.strides.size());
    }
    const std::string member = root + "data/" + std::string(storage.text.substr(0, 100));
    const Bytes* bytes = zip.find(member);
    if (bytes == nullptr) refuse(name, "its storage ", detail::quoted(member), " is not in the archive");
    const std::uint64_t width = dtype_size(entry.dtype);
    const auto size = checked_product({storage.number}, width);
    if (!size || *size > bytes->size()) {
      refuse(name, "its storage ", detail::quoted(member), " should have ", storage.number, " elements of ", width,
             " bytes, but has ", bytes->size(), " bytes (file truncated?)");
    }
    if (!checked_product(entry.shape, width)) refuse(name, "shape ", detail::shape_text(entry.shape), " is too large");
    if (!fits(entry, tensor.number, storage.number)) {
      refuse(name, "shape ", detail::shape_text(entry.shape), " with strides ", detail::shape_text(entry.strides),
             " from element ", tensor.number, " does not fit its storage of ", storage.number, " elements");
    }
    entry.storage = bytes->subspan(static_cast<std::size_t>(tensor.number) * width,
                                   static_cast<std::size_t>(*size) - static_cast<std::size_t>(tensor.number) * width);
    entries_.push_back(std::move(entry));
  }

  /// Whether all elements, from `offset` on, are among the `count` of the storage.
  static bool fits(const Entry& entry, std::int64_t offset, std::int64_t count) {
    if (offset < 0 || offset > count) return false;
    if (std::find(entry.shape.begin(), entry.shape.end(), 0) != entry.shape.end()) return true;
    auto last = static_cast<std::uint64_t>(offset);
    for (std::size_t i = 0; i < entry.shape.size(); ++i) {
      const auto reach = checked_product({entry.shape[i] - 1, entry.strides[i]});
      if (!reach || *reach > static_cast<std::uint64_t>(count) - last) return false;
      last += *reach;
    }
    return last < static_cast<std::uint64_t>(count);
  }

  static bool is_row_major(const Entry& entry) {
    std::int64_t expected = 1;
    for (std::size_t i = entry.shape.size(); i-- > 0;) {
      if (entry.shape[i] != 1 && entry.strides[i] != expected) return false;
      expected *= entry.shape[i];
    }
    return true;
  }

  template <class T>
  void read_any(const Entry& entry, std::span<T> values) const {
    if (values.size() != entry.elements()) {
      throw_error<ShapeError>(path(), ": tensor ", detail::quoted(entry.name), ": expected room for ", entry.elements(),
                              " elements, found ", values.size());
    }
    if (values.empty()) return;
    if (is_row_major(entry)) return detail::convert(entry.dtype, entry.storage.data(), values);
    // One element after the other: its indices count up, the last one fastest.
    const std::size_t width = dtype_size(entry.dtype), rank = entry.shape.size();
    std::vector<std::int64_t> index(rank);
    std::int64_t at = 0;
    for (T& value : values) {
      detail::convert(entry.dtype, entry.storage.data() + static_cast<std::size_t>(at) * width, std::span(&value, 1));
      for (std::size_t i = rank; i-- > 0;) {
        at += entry.strides[i];
        if (++index[i] < entry.shape[i]) break;
        at -= entry.strides[i] * entry.shape[i];
        index[i] = 0;
      }
    }
  }

  MappedFile file_;
  std::vector<Entry> entries_;
};

}  // namespace resnext
