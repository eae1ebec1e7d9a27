/// @file
/// NumPy's .npy format, versions 1.0 and 2.0 (numpy.org/doc/stable/reference/generated/numpy.lib.format.html):
/// little-endian, C order.
#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <resnext/error.hpp>
#include <resnext/io/array.hpp>
#include <resnext/io/file.hpp>
#include <resnext/tensor/number.hpp>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace resnext {

/// The element types of an array file: '<f4', '<f8', '|u1', '<i4', '<i8'.
template <class T>
concept NpyElement = std::same_as<T, float> || std::same_as<T, double> || std::same_as<T, std::uint8_t> ||
    std::same_as<T, std::int32_t> || std::same_as<T, std::int64_t>;

namespace detail {

template <NpyElement T>
constexpr std::string_view npy_type() {
  if constexpr (std::same_as<T, float>) return "<f4";
  if constexpr (std::same_as<T, double>) return "<f8";
  if constexpr (std::same_as<T, std::uint8_t>) return "|u1";
  if constexpr (std::same_as<T, std::int32_t>) return "<i4";
  if constexpr (std::same_as<T, std::int64_t>) return "<i8";
}

struct NpyHeader {
  std::string type;
  std::vector<std::int64_t> shape;
};

/// The Python literal of an array's header: a dict of a string, a bool and a tuple of integers, nothing else.
class NpyHeaderParser {
 public:
  NpyHeaderParser(std::string_view text, std::size_t offset, const std::string& path)
      : text_(text), offset_(offset), path_(path) {}

  NpyHeader parse() {
    std::optional<std::string> type;
    std::optional<std::vector<std::int64_t>> shape;
    bool c_order = false;
    expect('{');
    while (!accept('}')) {
      const std::string key = string();
      expect(':');
      if (key == "descr" && !type)
        type = string();
      else if (key == "fortran_order" && !c_order)
        c_order = boolean_false();
      else if (key == "shape" && !shape)
        shape = tuple();
      else
        refuse("unexpected or repeated key ", detail::quoted(key));
      if (accept('}')) break;
      expect(',');
    }
    skip_space();
    if (at_ != text_.size()) refuse("expected the header's end");
    if (!type || !shape || !c_order) refuse("expected the keys descr, fortran_order and shape");
    return {*type, *shape};
  }

 private:
  template <class... Parts>
  [[noreturn]] void refuse(const Parts&... parts) const {
    fail<FileError>(path_, ": byte ", offset_ + at_, ": ", parts...);
  }
  void skip_space() { at_ = std::min(text_.find_first_not_of(" \n", at_), text_.size()); }
  bool accept(char c) {
    skip_space();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) refuse("expected '", c, "'");
  }
  std::string string() {
    skip_space();
    const char quote = at_ < text_.size() ? text_[at_] : '\0';
    if (quote != '\'' && quote != '"') refuse("expected a string (an array of records is not supported)");
    const std::size_t end = text_.find(quote, at_ + 1);
    if (end == std::string_view::npos) refuse("the string does not end");
    std::string value(text_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    return value;
  }
  bool boolean_false() {
    skip_space();
    if (text_.substr(at_).starts_with("True"))
      refuse("expected C order, found Fortran order (save numpy.ascontiguousarray(array))");
    if (!text_.substr(at_).starts_with("False")) refuse("expected True or False");
    at_ += 5;
    return true;
  }
  std::vector<std::int64_t> tuple() {
    std::vector<std::int64_t> values;
    expect('(');
    while (!accept(')')) {
      if (values.size() == 32) refuse("expected at most 32 dimensions");
      values.push_back(integer());
      if (accept(')')) break;
      expect(',');
    }
    return values;
  }
  std::int64_t integer() {
    constexpr std::int64_t limit = std::numeric_limits<std::int64_t>::max();
    skip_space();
    const std::size_t begin = at_;
    std::int64_t value = 0;
    for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
      const int digit = text_[at_] - '0';
      if (value > (limit - digit) / 10) refuse("an extent exceeds 2^63 - 1");
      value = value * 10 + digit;
    }
    if (at_ == begin) refuse("expected an unsigned integer");
    return value;
  }

  std::string_view text_;
  std::size_t offset_;
  const std::string& path_;
  std::size_t at_ = 0;
};

/// Checks the file as far as its data and returns where those start.
inline std::size_t read_npy_header(const MappedFile& file, NpyHeader& header) {
  constexpr std::string_view magic = "\x93NUMPY";
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()), file.size());
  const std::string& name = file.path();
  if (!text.starts_with(magic) || text.size() < 10) fail<FileError>(name, ": byte 0: not an .npy file");
  const char major = text[6];
  if ((major != 1 && major != 2) || text[7] != 0)
    fail<FileError>(name, ": byte 6: expected .npy version 1.0 or 2.0, found ", int{major}, ".", int{text[7]});
  const std::size_t start = major == 1 ? 10 : 12;
  std::uint32_t length = 0;
  if (text.size() >= start) std::memcpy(&length, text.data() + 8, start - 8);
  if (text.size() < start || length > text.size() - start)
    fail<FileError>(name, ": byte 8: expected a header within the file's ", text.size(), " bytes, found a length of ",
                    length, " (truncated?)");
  header = NpyHeaderParser(text.substr(start, length), start, file.path()).parse();
  return start + length;
}

}  // namespace detail

/// Reads an array. An array of another type is an error, except that float and double convert to each other and uint8
/// converts to both. Throws FileError for everything that is not exactly an .npy file of such an array.
template <NpyElement T>
Array<T> read_npy(const std::string& path) {
  const MappedFile file(path);
  detail::NpyHeader header;
  const std::size_t start = detail::read_npy_header(file, header);
  const auto data = file.bytes().subspan(start);

  Array<T> array;
  const auto take = [&]<class From>(From) {
    if (checked_product(header.shape, sizeof(From)) != data.size())
      fail<FileError>(path, ": byte ", start, ": expected the data of shape ", detail::shape_text(header.shape), " of ",
                      header.type, ", found ", data.size(), " bytes");
    array.values.resize(data.size() / sizeof(From));
    for (std::size_t i = 0; i < array.values.size(); ++i) {
      From value;
      std::memcpy(&value, data.data() + i * sizeof value, sizeof value);
      array.values[i] = static_cast<T>(value);
    }
  };
  if (header.type == detail::npy_type<T>())
    take(T{});
  else if (std::floating_point<T> && header.type == "<f4")
    take(float{});
  else if (std::floating_point<T> && header.type == "<f8")
    take(double{});
  else if (std::floating_point<T> && header.type == "|u1")
    take(std::uint8_t{});
  else
    fail<FileError>(path, ": expected an array of ", detail::npy_type<T>(), ", found ", detail::quoted(header.type));
  array.shape = std::move(header.shape);
  return array;
}

/// Writes an array (version 1.0), completely or not at all. Throws ShapeError when the shape does not fit the values,
/// FileError when the file cannot be written.
template <class Range>
void write_npy(const std::string& path, const std::vector<std::int64_t>& shape, const Range& values) {
  const std::span view(values);
  using T = std::remove_cv_t<typename decltype(view)::element_type>;
  static_assert(NpyElement<T>, "write_npy takes float, double, uint8_t, int32_t or int64_t");
  if (checked_product(shape, sizeof(T)) != view.size_bytes())
    fail<ShapeError>(path, ": expected the shape of ", view.size(), " elements, found ", detail::shape_text(shape));
  std::string extents;
  for (const std::int64_t extent : shape) extents += std::to_string(extent) + (shape.size() == 1 ? "," : ", ");
  if (shape.size() > 1) extents.resize(extents.size() - 2);
  std::string header =
      "{'descr': '" + std::string(detail::npy_type<T>()) + "', 'fortran_order': False, 'shape': (" + extents + "), }";
  constexpr std::size_t start = 10;
  header.resize((start + header.size() + 1 + 63) / 64 * 64 - start, ' ');  // the data start at a multiple of 64
  header.back() = '\n';
  if (header.size() > 0xFFFF) fail<ShapeError>(path, ": too many dimensions");
  const std::array<unsigned char, start> prefix{0x93,
                                                'N',
                                                'U',
                                                'M',
                                                'P',
                                                'Y',
                                                1,
                                                0,
                                                static_cast<unsigned char>(header.size() & 0xFF),
                                                static_cast<unsigned char>(header.size() >> 8)};
  write_file(path, {bytes_of(prefix), bytes_of(header), std::as_bytes(view)});
}

}  // namespace resnext
