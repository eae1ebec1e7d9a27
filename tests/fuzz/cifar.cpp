// Any bytes as a file of CIFAR-10 or CIFAR-100, or of their class names. The first byte says which, the second how many
// records are expected.

#include <vector>

#include <resnext/data/cifar.hpp>

#include "fuzz.hpp"

using namespace resnext;

namespace {

constexpr std::size_t image = 3072;
constexpr std::array<detail::CifarLabel, 1> ten{{{"class", 10}}};
constexpr std::array<detail::CifarLabel, 2> hundred{{{"coarse", 20}, {"fine", 100}}};

std::span<const detail::CifarLabel> labels(std::uint8_t mode) {
  return mode & 1 ? std::span<const detail::CifarLabel>(hundred) : ten;
}
bool names(std::uint8_t mode) { return mode % 8 == 7; }

void mutate_records(fuzz::Choices& choices, std::string& text) {
  constexpr std::array<char, 10> bounds{0, 1, 9, 10, 19, 20, 99, 100, 127, -1};
  const auto mode = static_cast<std::uint8_t>(text[0]);
  const std::size_t before = labels(mode).size(), record = before + image;
  switch (choices.below(5)) {
    case 0:  // as many records as are expected
      text[1] = static_cast<char>(choices.below(3));
      text.resize(2 + static_cast<std::size_t>(text[1]) * record);
      break;
    case 1:  // a few bytes more or less
      text.resize(std::max<std::size_t>(2, text.size() + choices.below(5) - 2));
      break;
    case 2:
      text[choices.below(2)] = static_cast<char>(choices.below(8));
      break;
    case 3: {  // another label
      const std::size_t at = 2 + choices.below(3) * record + choices.below(before);
      if (at < text.size()) text[at] = choices.one_in(4) ? choices.of(bounds) : static_cast<char>(choices.below(20));
      break;
    }
    default: {
      const std::size_t at = std::min(text.size(), 2 + choices.below(text.size()));
      std::string part = text.substr(at, 16);
      fuzz::mutate_bytes(part, 0);
      text.replace(at, part.size(), part);
    }
  }
}

void mutate_names(fuzz::Choices& choices, std::string& text) {
  constexpr std::array<std::string_view, 10> lines{
      "\n", "\r\n", "bird\n", "\n\n", "frog", "\r", "a\nb\nc\nd\ne\n", "\xFF\n", "\xEF\xBB\xBF", "\xC3\xA9 \t\n"};
  const std::size_t at = 2 + choices.below(text.size() - 1);
  if (choices.one_in(3)) {
    text.erase(std::min(at, text.size()), choices.below(8));
  } else {
    text.insert(std::min(at, text.size()), choices.of(lines));
  }
  if (!choices.one_in(64)) text.resize(std::min<std::size_t>(text.size(), 200));
}

}  // namespace

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                               unsigned seed) {
  fuzz::Choices choices(seed);
  std::string text(reinterpret_cast<const char*>(data), size);
  if (size < 2 || choices.one_in(200)) text.assign(2, static_cast<char>(choices.below(8)));
  for (std::size_t changes = 1 + choices.below(3); changes > 0; --changes) {
    if (names(static_cast<std::uint8_t>(text[0])) && !choices.one_in(8)) {
      mutate_names(choices, text);
    } else {
      mutate_records(choices, text);
    }
  }
  return fuzz::put(text, data, max_size);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::uint8_t mode = data[0];
  const std::size_t records = data[1];
  const auto input = std::span(data, size).subspan(2);
  const auto read = [&] {
    const MappedFile file("input", std::as_bytes(input));
    if (names(mode)) {
      for (const std::string& name : read_class_names(file, 10)) {
        fuzz::expect(!name.empty() && name.find_first_of("\r\n") == std::string::npos, "a name that is no line");
        fuzz::expect(!detail::first_invalid_utf8(name), "a name that is not UTF-8");
      }
      return;
    }
    Dataset dataset;
    const std::size_t use = mode >> 1 & (labels(mode).size() - 1);
    detail::append_cifar(dataset, file, records, labels(mode), use);
    fuzz::expect(dataset.size() == records && dataset.images.size() == records * image, "another number of pictures");
    const std::size_t record = labels(mode).size() + image;
    for (std::size_t r = 0; r < records; ++r) {
      fuzz::expect(dataset.labels[r] == input[r * record + use] && dataset.labels[r] < labels(mode)[use].classes,
                   "another label");
      const std::size_t pixel = (r * 77 + mode) % 1024;
      for (std::size_t c = 0; c < 3; ++c) {
        fuzz::expect(dataset.images[r * image + 3 * pixel + c] == input[(r + 1) * record - image + c * 1024 + pixel],
                     "another pixel");
      }
    }
  };
  fuzz::run(read, size);
  return 0;
}
