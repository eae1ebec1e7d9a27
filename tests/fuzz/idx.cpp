// Any bytes as an IDX file, plain or compressed, or as a pair of one with pictures and one with labels. The first byte
// says which; for a pair two bytes follow with the length of the pictures.

#include <vector>

#include <resnext/data/idx.hpp>

#include "fuzz.hpp"

using namespace resnext;

namespace {

std::string gzip(fuzz::Choices& choices, std::string& text) {
  z_stream stream{};
  const int level = static_cast<int>(choices.below(10)), strategy = static_cast<int>(choices.below(5));
  if (deflateInit2(&stream, level, Z_DEFLATED, 16 + 9, 1, strategy) != Z_OK) std::abort();
  gz_header header{};
  std::array<Bytef, 5> name{'n', 'a', 'm', 'e', 0};
  if (choices.one_in(4)) {  // all the fields that a gzip header can have
    header.extra = header.name = header.comment = name.data();
    header.extra_len = 4;
    header.hcrc = 1;
    deflateSetHeader(&stream, &header);
  }
  std::string out(deflateBound(&stream, text.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(text.data());
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  if (deflate(&stream, Z_FINISH) != Z_STREAM_END) std::abort();
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

/// What comes out of the members of a gzip file, up to a limit; the file itself when it is none.
std::string inflated(std::string_view file, std::size_t limit) {
  z_stream stream{};
  if (!file.starts_with("\x1F\x8B") || inflateInit2(&stream, 16 + MAX_WBITS) != Z_OK) return std::string(file);
  std::string out(limit, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(file.data()));
  stream.avail_in = static_cast<uInt>(file.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  while (inflate(&stream, Z_NO_FLUSH) == Z_STREAM_END && stream.avail_in >= 2 && stream.next_in[0] == 0x1F &&
         stream.next_in[1] == 0x8B) {
    inflateReset(&stream);
  }
  out.resize(out.size() - stream.avail_out);
  inflateEnd(&stream);
  return out;
}

/// A header of `shape` and values, which mostly are as many as the shape says.
std::string new_idx(fuzz::Choices& choices, std::size_t rank) {
  std::string file{0, 0, 8, static_cast<char>(rank)};
  std::size_t size = 1;
  for (std::size_t i = 0; i < rank; ++i) {
    const std::size_t extent = choices.one_in(20) ? 0 : 1 + choices.below(choices.one_in(10) ? 60 : 4);
    file += {0, 0, 0, static_cast<char>(extent)};
    size *= extent;
  }
  if (choices.one_in(8)) size += choices.below(5) - 2;
  std::string values = choices.bytes(std::min<std::size_t>(size, 4096));
  if (rank == 1 && !choices.one_in(4)) {  // labels
    for (char& value : values) value = static_cast<char>(value & 1);
  }
  return file + values;
}

void mutate_idx(fuzz::Choices& choices, std::string& file) {
  const std::size_t rank = file.size() > 3 ? static_cast<unsigned char>(file[3]) : 0;
  switch (choices.below(6)) {
    case 0:  // magic and rank
      if (file.size() > 3) file[choices.below(4)] = static_cast<char>(choices.below(choices.one_in(4) ? 256 : 14));
      break;
    case 1: {  // an extent
      constexpr std::array<std::string_view, 5> extents{"\xFF\xFF\xFF\xFF", "\x80", "\x7F\xFF", "\x01", "\x10"};
      const std::size_t at = 4 + 4 * choices.below(rank) + choices.below(4);
      const std::string_view extent = choices.of(extents);
      if (at + extent.size() <= file.size()) file.replace(at, extent.size(), extent);
      break;
    }
    case 2:  // a byte of an extent
      if (file.size() > 8)
        file[4 + choices.below(std::min<std::size_t>(4 * rank, file.size() - 4))] ^=
            static_cast<char>(1u << choices.below(8));
      break;
    case 3:
      file.resize(choices.one_in(2) ? choices.below(file.size() + 1) : file.size() + choices.below(9));
      break;
    case 4:
      file = new_idx(choices, choices.below(5));
      break;
    default:
      fuzz::mutate_bytes(file);
  }
}

std::string mutate_file(fuzz::Choices& choices, std::string_view file) {
  const bool was = file.starts_with("\x1F\x8B");
  if (was && choices.one_in(4)) {  // damages the compressed bytes
    std::string text(file);
    if (choices.one_in(3)) text.resize(choices.below(text.size() + 1));
    fuzz::mutate_bytes(text);
    return text;
  }
  std::string text = inflated(file, 1 << 13);
  if (!choices.one_in(16)) mutate_idx(choices, text);
  if (choices.one_in(64)) text.resize(1 << 15);  // compresses well
  if (was == choices.one_in(8)) return text;
  if (!choices.one_in(8)) return gzip(choices, text);
  std::string rest = text.substr(choices.below(text.size() + 1));  // in two members, and perhaps padded
  text.resize(text.size() - rest.size());
  const std::string members = gzip(choices, text) + gzip(choices, rest);
  return members + std::string(choices.below(4), '\0');
}

struct Pair {
  bool both = false;
  std::string_view first, second;

  explicit Pair(std::string_view input) {
    if (input.empty()) return;
    both = input[0] & 1;
    input.remove_prefix(1);
    std::size_t length = input.size();
    if (both && input.size() >= 2) {
      length = static_cast<unsigned char>(input[0]) + std::size_t{256} * static_cast<unsigned char>(input[1]);
      input.remove_prefix(2);
    }
    first = input.substr(0, length);
    second = input.substr(first.size());
  }
};

}  // namespace

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                               unsigned seed) {
  fuzz::Choices choices(seed);
  const Pair pair({reinterpret_cast<const char*>(data), size});
  std::string first(pair.first), second(pair.second);
  bool both = pair.both;
  if (size < 4 || choices.one_in(50)) {
    both = choices.one_in(2);
    first = new_idx(choices, both ? 3 : choices.below(5));
    second = both ? new_idx(choices, 1) : "";
    if (choices.one_in(2)) first = gzip(choices, first);
    if (both && first.size() > 7 && second.size() > 7 && choices.one_in(2)) {  // as many labels as pictures
      const std::size_t pictures = static_cast<unsigned char>(inflated(first, 64)[7]);
      second[7] = static_cast<char>(pictures);
      second.resize(8 + pictures, '\1');
    }
  } else {
    if (!both || choices.one_in(2)) first = mutate_file(choices, first);
    if (both && choices.one_in(2)) second = mutate_file(choices, second);
  }
  std::string text(1, static_cast<char>(both));
  if (both) text += {static_cast<char>(first.size() & 0xFF), static_cast<char>(first.size() >> 8 & 0xFF)};
  return fuzz::put(text + first + second, data, max_size);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Pair pair({reinterpret_cast<const char*>(data), size});
  // Copies of exactly that size: a byte read beyond the end is a finding.
  const std::vector<char> first(pair.first.begin(), pair.first.end()), second(pair.second.begin(), pair.second.end());
  const auto read = [&] {
    if (pair.both) {
      const Dataset set = read_idx_dataset(MappedFile("images", bytes_of(first)),
                                           MappedFile("labels", bytes_of(second)), "set", {"zero", "one"});
      fuzz::expect(set.size() > 0 && set.images.size() == set.size() * set.image_size(), "pictures of another size");
      for (const std::int32_t label : set.labels) fuzz::expect(label == 0 || label == 1, "a label without a class");
    } else {
      const auto array = read_idx(MappedFile("input", bytes_of(first)));
      fuzz::expect(checked_product(array.shape, 1) == array.values.size(), "another number of values");
    }
  };
  // The room for values grows by doubling, and a label of one byte becomes four.
  fuzz::run(read, size,
            [&] { return 4 * (inflated(pair.first, 1 << 23).size() + inflated(pair.second, 1 << 23).size()); });
  return 0;
}
