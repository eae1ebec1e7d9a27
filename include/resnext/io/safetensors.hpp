/// @file
/// The safetensors format (huggingface.co/docs/safetensors): eight bytes of header length, a JSON header, the tensors'
/// bytes. The reader is strict, takes nothing on trust, and needs time and memory linear in the file for any input.
#pragma once

#include <algorithm>  // not std::ranges, whose algorithms would be a fifth of the time it takes to include resnext.hpp
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <resnext/error.hpp>
#include <resnext/io/array.hpp>
#include <resnext/io/by_name.hpp>
#include <resnext/io/convert.hpp>
#include <resnext/tensor/dtype.hpp>
#include <resnext/io/file.hpp>
#include <resnext/io/json.hpp>
#include <resnext/io/utf8.hpp>
#include <resnext/sorted_order.hpp>
#include <resnext/tensor/number.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace resnext {

namespace detail {

inline constexpr std::uint64_t max_safetensors_header = 100'000'000;  // the reference implementation's limit
inline constexpr std::size_t max_safetensors_rank = 64;
inline constexpr std::size_t max_safetensors_tensors = std::size_t{1} << 20;
inline constexpr std::size_t max_safetensors_metadata = std::size_t{1} << 16;

}  // namespace detail

/// A safetensors file, mapped and checked as a whole by the constructor.
class Safetensors {
 public:
  /// One tensor: its name, element type, shape (row-major, `[]` for a scalar) and place in the data section.
  struct Entry {
    std::string name;                 ///< unique in the file
    Dtype dtype;                      ///< of an element
    std::vector<std::int64_t> shape;  ///< the slowest extent first
    std::uint64_t begin;              ///< its first byte in the data section
    std::uint64_t end;                ///< the byte after its last

    /// The product of the extents.
    std::size_t elements() const { return static_cast<std::size_t>(end - begin) / dtype_size(dtype); }
  };

  /// Throws FileError, which names the file and the tensor or byte, unless the file is well-formed in every respect:
  /// the header's length within the file and at most 100 MB, with at most 2^20 tensors and 2^16 metadata, strict JSON
  /// and UTF-8, no duplicate name, every shape and type in agreement with the tensor's bytes, the tensors covering the
  /// data without hole, overlap or remainder.
  explicit Safetensors(const std::string& path) : Safetensors(MappedFile(path)) {}
  /// The same of a file that is mapped or in memory already.
  explicit Safetensors(MappedFile file) : file_(std::move(file)) {
    const auto bytes = file_.bytes();
    std::uint64_t length = 0;
    if (bytes.size() < sizeof length)
      throw_error<FileError>(path(), ": expected at least 8 bytes of safetensors, found ", bytes.size());
    std::memcpy(&length, bytes.data(), sizeof length);
    const std::uint64_t limit = std::min<std::uint64_t>(bytes.size() - sizeof length, detail::max_safetensors_header);
    if (length > limit)
      throw_error<FileError>(path(), ": bytes 0 to 7: expected a header of at most ", limit, " bytes, found ", length,
                             " (truncated, or not a safetensors file)");
    const auto header = bytes.subspan(sizeof length, static_cast<std::size_t>(length));
    data_ = bytes.subspan(sizeof length + header.size());
    parse({reinterpret_cast<const char*>(header.data()), header.size()});
    check_layout();
  }

  /// As given to the constructor.
  const std::string& path() const { return file_.path(); }
  /// All tensors, sorted by name.
  const std::vector<Entry>& entries() const { return entries_; }
  /// The file's `__metadata__`.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

  /// The tensor of that name, or null.
  const Entry* find(std::string_view name) const { return detail::find_by_name(entries_, name); }

  /// The tensor's bytes in the mapped file (little-endian, no alignment promised).
  std::span<const std::byte> bytes(const Entry& entry) const {
    return data_.subspan(static_cast<std::size_t>(entry.begin), static_cast<std::size_t>(entry.end - entry.begin));
  }

  /// Gives the memory of the tensor's bytes back to the system; see MappedFile::release().
  void release(const Entry& entry) const { file_.release(bytes(entry)); }

  /// Converts F32, F16, BF16 (exactly) or F64 (rounded) to float. Throws FileError for another type, ShapeError when
  /// `values` has not as many elements as the tensor.
  void read(const Entry& entry, std::span<float> values) const {
    check_size(entry, values.size());
    if (!detail::is_real(entry.dtype)) refuse_type(entry, "F32, F16, BF16 or F64");
    detail::convert(entry.dtype, bytes(entry).data(), values);
  }

  /// Converts any number type as PyTorch does: fractions are cut off. What a 64-bit integer cannot hold becomes the
  /// nearest one that it can, NaN 0. Throws ShapeError when `values` has not as many elements as the tensor.
  void read(const Entry& entry, std::span<std::int64_t> values) const {
    check_size(entry, values.size());
    detail::convert(entry.dtype, bytes(entry).data(), values);
  }

 private:
  void parse(std::string_view header) {
    detail::JsonParser parser(header, sizeof(std::uint64_t), path());
    if (const auto bad = detail::first_invalid_utf8(header))
      throw_error<FileError>(path(), ": header, byte ", *bad + sizeof(std::uint64_t), ": not UTF-8");
    if (!header.starts_with('{')) parser.refuse("expected '{' (not a safetensors file)");
    bool has_metadata = false;
    parser.object([&](std::string name) {
      if (name != "__metadata__") return parse_entry(parser, std::move(name));
      if (std::exchange(has_metadata, true)) parser.refuse("__metadata__ appears twice");
      parser.object([&](std::string key) {
        std::string value = parser.string();
        if (metadata_.size() == detail::max_safetensors_metadata)
          parser.refuse("expected at most ", detail::max_safetensors_metadata, " metadata");
        if (!metadata_.emplace(std::move(key), std::move(value)).second) parser.refuse("a metadata key appears twice");
      });
    });
    parser.expect_end();
  }

  void parse_entry(detail::JsonParser& parser, std::string name) {
    if (entries_.size() == detail::max_safetensors_tensors)
      parser.refuse("expected at most ", detail::max_safetensors_tensors, " tensors");
    std::optional<Dtype> dtype;
    std::optional<std::vector<std::int64_t>> shape, offsets;
    const auto once = [&](const auto& field, const std::string& key) {
      if (field) parser.refuse("tensor ", detail::quoted(name), ": ", key, " appears twice");
    };
    parser.object([&](const std::string& key) {
      if (key == "dtype") {
        once(dtype, key);
        const std::string found = parser.string();
        const auto row = std::find_if(detail::dtype_rows.begin(), detail::dtype_rows.end(),
                                      [&](const detail::DtypeRow& known) { return known.name == found; });
        if (row == detail::dtype_rows.end())
          parser.refuse("tensor ", detail::quoted(name), ": unknown dtype ", detail::quoted(found));
        dtype = static_cast<Dtype>(row - detail::dtype_rows.begin());
      } else if (key == "shape") {
        once(shape, key);
        shape = parser.integers(detail::max_safetensors_rank);
      } else if (key == "data_offsets") {
        once(offsets, key);
        offsets = parser.integers(2);
      } else {
        parser.refuse("tensor ", detail::quoted(name), ": unknown field ", detail::quoted(key));
      }
    });
    if (!dtype || !shape || !offsets || offsets->size() != 2)
      parser.refuse("tensor ", detail::quoted(name), ": expected dtype, shape and two data_offsets");
    entries_.push_back({std::move(name), *dtype, std::move(*shape), static_cast<std::uint64_t>((*offsets)[0]),
                        static_cast<std::uint64_t>((*offsets)[1])});
  }

  void check_layout() {
    const auto earlier = [&](std::size_t a, std::size_t b) {
      return entries_[a].begin != entries_[b].begin ? entries_[a].begin < entries_[b].begin
                                                    : entries_[a].end < entries_[b].end;
    };
    std::uint64_t at = 0;
    for (const std::size_t i : detail::sorted_order(entries_.size(), earlier)) {
      const Entry& entry = entries_[i];
      const auto where = [&] { return path() + ": tensor " + detail::quoted(entry.name); };
      if (entry.begin != at)
        throw_error<FileError>(where(), ": expected data_offsets from ", at, ", found ", entry.begin,
                               entry.begin < at ? " (overlap)" : " (hole)");
      if (entry.end < entry.begin || entry.end > data_.size())
        throw_error<FileError>(where(), ": expected the end of its data between ", entry.begin, " and ", data_.size(),
                               ", found ", entry.end, " (file truncated?)");
      const auto size = checked_product(entry.shape, dtype_size(entry.dtype));
      if (!size) throw_error<FileError>(where(), ": shape ", detail::shape_text(entry.shape), " is too large");
      if (*size != entry.end - entry.begin)
        throw_error<FileError>(where(), ": shape ", detail::shape_text(entry.shape), " of ", dtype_name(entry.dtype),
                               " takes ", *size, " bytes, found ", entry.end - entry.begin);
      at = entry.end;
    }
    if (at != data_.size())
      throw_error<FileError>(path(), ": expected ", at, " bytes of tensors, found ", data_.size());
    detail::sort_by_name(entries_, path());
  }

  void check_size(const Entry& entry, std::size_t size) const {
    if (size != entry.elements())
      throw_error<ShapeError>(path(), ": tensor ", detail::quoted(entry.name), ": expected room for ", entry.elements(),
                              " elements, found ", size);
  }
  [[noreturn]] void refuse_type(const Entry& entry, std::string_view expected) const {
    throw_error<FileError>(path(), ": tensor ", detail::quoted(entry.name), ": expected ", expected, ", found ",
                           dtype_name(entry.dtype));
  }

  MappedFile file_;
  std::span<const std::byte> data_;
  std::vector<Entry> entries_;
  std::map<std::string, std::string> metadata_;
};

/// A tensor to be written: little-endian bytes that stay alive during the call.
struct TensorView {
  std::string name;                  ///< UTF-8, unique
  Dtype dtype;                       ///< of an element
  std::vector<std::int64_t> shape;   ///< the slowest extent first
  std::span<const std::byte> bytes;  ///< the elements, row-major

  /// F32 values, row-major.
  TensorView(std::string tensor, std::vector<std::int64_t> extents, std::span<const float> values)
      : TensorView(std::move(tensor), Dtype::F32, std::move(extents), std::as_bytes(values)) {}
  /// I64 values, row-major.
  TensorView(std::string tensor, std::vector<std::int64_t> extents, std::span<const std::int64_t> values)
      : TensorView(std::move(tensor), Dtype::I64, std::move(extents), std::as_bytes(values)) {}
  /// Any type, as bytes.
  TensorView(std::string tensor, Dtype type, std::vector<std::int64_t> extents, std::span<const std::byte> data)
      : name(std::move(tensor)), dtype(type), shape(std::move(extents)), bytes(data) {}
};

/// Writes a safetensors file, completely or not at all. Equal tensors and metadata give equal files, whatever their
/// order: tensors go by falling element size, then by name, so that each is aligned. Throws ShapeError when a tensor's
/// bytes do not fit its shape, OptionError for a duplicate or impossible name, FileError when the file cannot be
/// written.
inline void write_safetensors(const std::string& path, std::span<const TensorView> tensors,
                              const std::map<std::string, std::string>& metadata = {}) {
  const auto text = [&](std::string_view string) {
    if (detail::first_invalid_utf8(string))
      throw_error<OptionError>(path, ": the name ", detail::quoted(string), " is not UTF-8");
    return detail::json_string(string);
  };
  const auto by_name = [&](std::size_t a, std::size_t b) { return tensors[a].name < tensors[b].name; };
  const TensorView* before = nullptr;
  for (const std::size_t i : detail::sorted_order(tensors.size(), by_name)) {
    const TensorView& tensor = tensors[i];
    if (tensor.name == "__metadata__" || (before != nullptr && tensor.name == before->name))
      throw_error<OptionError>(path, ": the tensor name ", detail::quoted(tensor.name), " is reserved or given twice");
    const auto size = checked_product(tensor.shape, dtype_size(tensor.dtype));
    if (size != tensor.bytes.size())
      throw_error<ShapeError>(path, ": tensor ", detail::quoted(tensor.name), ": shape ",
                              detail::shape_text(tensor.shape), " of ", dtype_name(tensor.dtype), " takes ",
                              size.value_or(0), " bytes, found ", tensor.bytes.size());
    before = &tensor;
  }
  const auto order = detail::sorted_order(tensors.size(), [&](std::size_t a, std::size_t b) {
    const std::size_t size_a = dtype_size(tensors[a].dtype), size_b = dtype_size(tensors[b].dtype);
    return size_a != size_b ? size_a > size_b : tensors[a].name < tensors[b].name;
  });

  std::string header = "{";
  if (!metadata.empty()) {
    header += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) (((header += text(key)) += ':') += text(value)) += ',';
    header.back() = '}';
    header += ',';
  }
  std::size_t offset = 0;
  for (const std::size_t i : order) {
    const TensorView& tensor = tensors[i];
    const std::array<std::int64_t, 2> place{static_cast<std::int64_t>(offset),
                                            static_cast<std::int64_t>(offset += tensor.bytes.size())};
    header += text(tensor.name) + ":{\"dtype\":\"" + std::string(dtype_name(tensor.dtype)) +
              "\",\"shape\":" + detail::shape_text(tensor.shape, ",") +
              ",\"data_offsets\":" + detail::shape_text(place, ",") + "},";
  }
  if (header.back() == ',') header.pop_back();
  header += '}';
  header.resize((header.size() + 7) / 8 * 8, ' ');

  AtomicFile file(path);
  const std::uint64_t length = header.size();
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(bytes_of(header));
  for (const std::size_t i : order) file.write(tensors[i].bytes);
  file.commit();
}

}  // namespace resnext
