/// @file
/// Mutations of safetensors files that know their structure: the length, the JSON header, the data.
#pragma once

#include <cstdint>
#include <cstring>

#include "fuzz.hpp"

namespace fuzz {

/// A safetensors file in its parts.
struct File {
  std::string header, data;

  explicit File(std::string_view input) {
    std::uint64_t length = 0;
    if (input.size() < sizeof length) return;
    std::memcpy(&length, input.data(), sizeof length);
    input.remove_prefix(sizeof length);
    header = input.substr(0, length);
    data = input.substr(header.size());
  }
  std::string join(std::uint64_t length) const {
    std::string text(sizeof length, '\0');
    std::memcpy(text.data(), &length, sizeof length);
    return text + header + data;
  }
};

inline constexpr std::array<std::string_view, 15> dtypes{
    "F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"};
inline constexpr std::array<int, 15> dtype_sizes{8, 4, 2, 2, 1, 1, 8, 4, 2, 1, 8, 4, 2, 1, 1};
inline constexpr std::array<std::string_view, 14> numbers{"0",
                                                          "1",
                                                          "2",
                                                          "3",
                                                          "4294967295",
                                                          "4294967296",
                                                          "4611686018427387904",
                                                          "9223372036854775807",
                                                          "9223372036854775808",
                                                          "-1",
                                                          "01",
                                                          "1.5",
                                                          "2e9",
                                                          "18446744073709551616"};
inline constexpr std::array<std::string_view, 22> words{"dtype",
                                                        "shape",
                                                        "data_offsets",
                                                        "__metadata__",
                                                        "format",
                                                        "pt",
                                                        "F32",
                                                        "U8",
                                                        "I64",
                                                        "F31",
                                                        "a",
                                                        "",
                                                        "nan",
                                                        "inf",
                                                        "\\u0061",
                                                        "\\ud83d\\ude00",
                                                        "\\ud800",
                                                        "\\n\\\"\\/",
                                                        "\xC3\xA9",
                                                        "\xC0\x80",
                                                        "\xED\xA0\x80",
                                                        "\x01"};
inline constexpr std::array<std::string_view, 14> marks{"{", "}",  "[",  "]",  ",", ":",    "\"",
                                                        " ", "\n", "\t", "\\", "0", "null", "{}"};

/// A tensor that agrees with itself, at the end of the data.
inline std::string next_tensor(Choices& choices, std::string& data) {
  const std::size_t type = choices.below(dtypes.size());
  std::size_t size = static_cast<std::size_t>(dtype_sizes[type]);
  std::string shape;
  for (std::size_t rank = choices.below(4); rank > 0; --rank) {
    const std::size_t extent = choices.below(4);
    size *= extent;
    shape += (shape.empty() ? "" : ",") + std::to_string(extent);
  }
  const std::string text = "{\"dtype\":\"" + std::string(dtypes[type]) + "\",\"shape\":[" + shape +
                           "],\"data_offsets\":[" + std::to_string(data.size()) + "," +
                           std::to_string(data.size() + size) + "]}";
  data += choices.bytes(size);
  return text;
}

/// A well-formed file.
inline std::string new_file(Choices& choices) {
  File file("");
  file.header = "{";
  if (choices.one_in(2)) file.header += R"("__metadata__":{"format":"pt","a":"b"},)";
  for (std::size_t i = choices.below(4); i > 0; --i) {
    file.header += "\"t" + std::to_string(i) + "\":" + next_tensor(choices, file.data) + ",";
  }
  if (file.header.size() > 1) file.header.pop_back();
  file.header += "}";
  return file.join(file.header.size());
}

/// Changes one thing in the header, some of them consistently with the data.
inline void mutate_header(Choices& choices, File& file) {
  std::string& header = file.header;
  const auto punctuation = [&](std::size_t from) {
    return std::min(header.find_first_of("{}[],:", from), header.size());
  };
  const std::size_t at = choices.below(header.size() + 1);
  switch (choices.below(9)) {
    case 0: {  // another number
      const std::size_t begin = std::min(header.find_first_of("0123456789", at), header.size());
      const std::size_t end = std::min(header.find_first_not_of("0123456789", begin), header.size());
      std::string number(choices.of(numbers));
      if (choices.one_in(2)) number = std::to_string(choices.one_in(2) ? file.data.size() : choices.below(300));
      header.replace(begin, end - begin, number);
      break;
    }
    case 1: {  // another string
      const std::size_t begin = std::min(header.find('"', at), header.size());
      const std::size_t end = std::min(header.find('"', begin + 1), header.size());
      if (begin < end)
        header.replace(begin + 1, end - begin - 1, choices.one_in(3) ? choices.of(dtypes) : choices.of(words));
      break;
    }
    case 2:  // a mark more, or less
      if (choices.one_in(2)) {
        header.insert(at, choices.of(marks));
      } else {
        header.erase(std::min(header.find_first_of("{}[],:\"", at), header.size()), 1);
      }
      break;
    case 3: {  // a piece again, elsewhere or many times
      const std::size_t begin = punctuation(at), end = punctuation(punctuation(begin + 1) + 1 + choices.below(60));
      const std::string piece = header.substr(begin, std::min<std::size_t>(end - begin, 300));
      const std::size_t where = choices.one_in(2) ? end : punctuation(choices.below(header.size() + 1));
      for (std::size_t times = choices.one_in(8) ? 70 : 1; times > 0 && header.size() < 4096; --times)
        header.insert(where, piece);
      break;
    }
    case 4: {  // a piece less
      const std::size_t begin = punctuation(at);
      header.erase(begin, punctuation(begin + 1 + choices.below(60)) - begin);
      break;
    }
    case 5: {  // a tensor more
      const std::size_t end = header.rfind('}');
      if (end == std::string::npos || end == 0) break;
      const std::string name =
          choices.one_in(2) ? std::string(choices.of(words)) : "n" + std::to_string(choices.below(50));
      header.insert(end, (header[end - 1] == '{' ? "\"" : ",\"") + name + "\":" + next_tensor(choices, file.data));
      break;
    }
    case 6:
      header.insert(at, choices.of(words));
      break;
    case 7:
      header.resize((header.size() + 7) / 8 * 8, ' ');
      break;
    default:
      mutate_bytes(header);
  }
}

/// One to four changes of header and data, and a length that mostly fits.
inline std::string mutate_safetensors(Choices& choices, std::string_view input) {
  File file(input);
  for (std::size_t changes = 1 + choices.below(4); changes > 0; --changes) {
    if (!choices.one_in(5)) {
      mutate_header(choices, file);
    } else if (choices.one_in(2)) {
      mutate_bytes(file.data);
    } else {
      file.data.resize(choices.one_in(2) ? choices.below(file.data.size() + 1) : file.data.size() + choices.below(9));
    }
  }
  std::uint64_t length = file.header.size();
  if (choices.one_in(12)) {
    constexpr std::array<std::uint64_t, 6> lengths{
        0, 1, 100'000'000, 100'000'001, std::uint64_t{1} << 63, ~std::uint64_t{0}};
    length = choices.one_in(2) ? choices.of(lengths) : length + choices.below(5) - 2;
  }
  return file.join(length);
}

}  // namespace fuzz
