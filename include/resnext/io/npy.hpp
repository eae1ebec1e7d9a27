/// @file
/// NumPy's .npy format (numpy.org/doc/stable/reference/generated/numpy.lib.format.html). Versions 1.0 to 3.0 are read,
/// as any writer spells them, in both byte orders, in C and in Fortran order; version 1.0, little-endian and in C
/// order, is written.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <resnext/error.hpp>
#include <resnext/io/array.hpp>
#include <resnext/io/file.hpp>
#include <resnext/io/header_text.hpp>
#include <resnext/tensor/number.hpp>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
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

/// What the elements of a file are.
enum class NpyType : std::uint8_t { other, f2, f4, f8, u1, i4, i8 };

template <NpyElement T>
constexpr NpyType npy_type_of() {
  if constexpr (std::same_as<T, float>) return NpyType::f4;
  if constexpr (std::same_as<T, double>) return NpyType::f8;
  if constexpr (std::same_as<T, std::uint8_t>) return NpyType::u1;
  if constexpr (std::same_as<T, std::int32_t>) return NpyType::i4;
  if constexpr (std::same_as<T, std::int64_t>) return NpyType::i8;
}

struct NpyHeader {
  std::string descr;
  NpyType type = NpyType::other;
  bool swapped = false;  // big-endian
  bool fortran = false;  // the first index is the fastest
  std::vector<std::int64_t> shape;
};

/// The spellings that NumPy knows: a code of one character, or of a kind and a size, which a byte order may precede; or
/// a name. '=' and '|' are this machine's order, which is little-endian.
inline void set_npy_type(NpyHeader& header, std::string_view descr) {
  struct Row {
    NpyType type;
    std::string_view code, character;
    std::array<std::string_view, 5> names;
  };
  constexpr std::array<Row, 6> rows{{{NpyType::f2, "f2", "e", {"float16", "half"}},
                                     {NpyType::f4, "f4", "f", {"float32", "single"}},
                                     {NpyType::f8, "f8", "d", {"float64", "double", "float"}},
                                     {NpyType::u1, "u1", "B", {"uint8", "ubyte"}},
                                     {NpyType::i4, "i4", "i", {"int32", "intc"}},
                                     {NpyType::i8, "i8", "q", {"int64", "longlong", "int", "int_", "intp"}}}};
  header.descr = descr;
  const bool ordered = !descr.empty() && std::string_view("<>=|").find(descr.front()) != std::string_view::npos;
  const std::string_view code = descr.substr(ordered ? 1 : 0);
  for (const Row& row : rows) {
    const bool named = !descr.empty() && std::find(row.names.begin(), row.names.end(), descr) != row.names.end();
    if (code == row.code || code == row.character || named) header.type = row.type;
  }
  if constexpr (sizeof(long) == 8) {  // C's long, and the type of a pointer's size
    if (code == "l" || code == "p") header.type = NpyType::i8;
  }
  header.swapped = ordered && descr.front() == '>' && header.type != NpyType::u1;
}

/// The Python literal of an array's header: a dict of a string, a bool and a tuple of integers, nothing else.
class NpyHeaderParser : public HeaderText {
 public:
  NpyHeaderParser(std::string_view text, std::size_t offset, const std::string& path)
      : HeaderText(text, offset, path, " \t\f\r\n") {}

  NpyHeader parse() {
    std::optional<std::string> type;
    std::optional<std::vector<std::int64_t>> shape;
    std::optional<bool> fortran;
    expect('{');
    while (!accept('}')) {
      const std::string key = string();
      expect(':');
      if (key == "descr" && !type)
        type = string();
      else if (key == "fortran_order" && !fortran)
        fortran = boolean();
      else if (key == "shape" && !shape)
        shape = tuple();
      else
        refuse("unexpected or repeated key ", detail::quoted(key));
      if (accept('}')) break;
      expect(',');
    }
    expect_end();
    if (!type || !shape || !fortran) refuse("expected the keys descr, fortran_order and shape");
    NpyHeader header;
    set_npy_type(header, *type);
    header.fortran = *fortran;
    header.shape = std::move(*shape);
    return header;
  }

 private:
  std::string string() {
    skip_space();
    if (next() == 'u' || next() == 'U') ++at_;  // Python 2's mark of Unicode
    const char quote = next();
    if (quote != '\'' && quote != '"') refuse("expected a string (an array of records is not supported)");
    const std::size_t end = text_.find(quote, at_ + 1);
    if (end == std::string_view::npos) refuse("the string does not end");
    std::string value(text_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    return value;
  }
  bool boolean() {
    skip_space();
    const bool value = text_.substr(at_).starts_with("True");
    if (!value && !text_.substr(at_).starts_with("False")) refuse("expected True or False");
    at_ += value ? 4 : 5;
    return value;
  }
  std::vector<std::int64_t> tuple() {
    std::vector<std::int64_t> values;
    expect('(');
    while (!accept(')')) {
      if (values.size() == 64) refuse("expected at most 64 dimensions");
      values.push_back(integer());
      if (accept(')')) break;
      expect(',');
    }
    return values;
  }
  std::int64_t integer() {
    const std::int64_t value = unsigned_integer();
    if (next() == 'L') ++at_;  // Python 2's mark of a long integer
    return value;
  }
};

/// Checks the file as far as its data and returns where those start.
inline std::size_t read_npy_header(const MappedFile& file, NpyHeader& header) {
  constexpr std::string_view magic = "\x93NUMPY";
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()), file.size());
  const std::string& name = file.path();
  if (!text.starts_with(magic) || text.size() < 10) throw_error<FileError>(name, ": byte 0: not an .npy file");
  const char major = text[6];
  if (major < 1 || major > 3 || text[7] != 0)
    throw_error<FileError>(name, ": byte 6: expected .npy version 1.0, 2.0 or 3.0, found ", int{major}, ".",
                           int{text[7]});
  const std::size_t start = major == 1 ? 10 : 12;
  std::uint32_t length = 0;
  if (text.size() >= start) std::memcpy(&length, text.data() + 8, start - 8);
  if (text.size() < start || length > text.size() - start)
    throw_error<FileError>(name, ": byte 8: expected a header within the file's ", text.size(),
                           " bytes, found a length of ", length, " (truncated?)");
  header = NpyHeaderParser(text.substr(start, length), start, file.path()).parse();
  return start + length;
}

}  // namespace detail

/// True when the elements of an array file are of type T, in whatever byte order. Throws FileError when it is none.
template <NpyElement T>
bool npy_holds(const std::string& path) {
  detail::NpyHeader header;
  detail::read_npy_header(MappedFile(path), header);
  return header.type == detail::npy_type_of<T>();
}

/// Reads an array; one that is stored in Fortran order is transposed, so that the shape and the indices are NumPy's. An
/// array of another type is an error, except that floating types convert to float and double (float16 is read too), and
/// so does uint8. Throws FileError for everything that is not exactly an .npy file of such an array.
template <NpyElement T>
DenseArray<T> read_npy(const std::string& path) {
  const MappedFile file(path);
  detail::NpyHeader header;
  const std::size_t start = detail::read_npy_header(file, header);
  const auto data = file.bytes().subspan(start);

  DenseArray<T> array;
  const auto take = [&]<class From, class Convert>(From, Convert convert) {
    if (checked_product(header.shape, sizeof(From)) != data.size())
      throw_error<FileError>(path, ": byte ", start, ": expected the data of shape ", detail::shape_text(header.shape),
                             " of ", header.descr, ", found ", data.size(), " bytes");
    const std::size_t rank = header.shape.size();
    // How far apart in the file neighbours along each axis are, and the index of the element that comes next.
    std::vector<std::size_t> strides(rank, 1), index(rank, 0);
    for (std::size_t axis = 1; axis < rank; ++axis)
      strides[axis] = strides[axis - 1] * static_cast<std::size_t>(header.shape[axis - 1]);
    std::size_t at = 0;
    const auto next = [&] {
      if (!header.fortran) return ++at;
      for (std::size_t axis = rank; axis-- > 0;) {
        at += strides[axis];
        if (++index[axis] < static_cast<std::size_t>(header.shape[axis])) break;
        at -= strides[axis] * std::exchange(index[axis], 0);
      }
      return at;
    };
    array.values.resize(data.size() / sizeof(From));
    for (T& target : array.values) {
      std::array<std::byte, sizeof(From)> bytes;
      std::memcpy(bytes.data(), data.data() + at * sizeof(From), sizeof(From));
      if (header.swapped) std::reverse(bytes.begin(), bytes.end());
      target = convert(std::bit_cast<From>(bytes));
      next();
    }
  };
  using detail::NpyType;
  const auto same = [](auto value) { return static_cast<T>(value); };
  constexpr bool real = std::floating_point<T>;
  if (header.type == detail::npy_type_of<T>()) {
    take(T{}, same);
  } else if (real && header.type == NpyType::u1) {
    take(std::uint8_t{}, same);
  } else if (real && header.type == NpyType::f2) {
    take(float16{}, [](float16 value) { return static_cast<T>(float{value}); });
  } else if (real && header.type == NpyType::f4) {
    take(float{}, [](float value) { return static_cast<T>(detail::to_double(value)); });
  } else if (real && header.type == NpyType::f8) {
    take(double{}, [](double value) { return static_cast<T>(detail::to_float(value)); });
  } else {
    throw_error<FileError>(path, ": expected an array of ", detail::npy_type<T>(), ", found ",
                           detail::quoted(header.descr));
  }
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
    throw_error<ShapeError>(path, ": expected the shape of ", view.size(), " elements, found ",
                            detail::shape_text(shape));
  std::string extents;
  for (const std::int64_t extent : shape) extents += std::to_string(extent) + (shape.size() == 1 ? "," : ", ");
  if (shape.size() > 1) extents.resize(extents.size() - 2);
  std::string header =
      "{'descr': '" + std::string(detail::npy_type<T>()) + "', 'fortran_order': False, 'shape': (" + extents + "), }";
  constexpr std::size_t start = 10;
  header.resize((start + header.size() + 1 + 63) / 64 * 64 - start, ' ');  // the data start at a multiple of 64
  header.back() = '\n';
  if (header.size() > 0xFFFF) throw_error<ShapeError>(path, ": too many dimensions");
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
