/// @file
/// The IDX format of MNIST and its successors, plain or compressed by gzip (yann.lecun.com/exdb/mnist).
#pragma once

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <resnext/data/dataset.hpp>
#include <resnext/error.hpp>
#include <resnext/io/array.hpp>
#include <resnext/io/file.hpp>
#include <resnext/tensor/number.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace resnext {

namespace detail {

/// The bytes of a file from the start to the end; those of its gzip members one after the other when it is compressed,
/// as `gzip -d` gives them.
class InflatedFile {
 public:
  explicit InflatedFile(MappedFile file) : file_(std::move(file)) {
    const auto bytes = file_.bytes();
    gzip_ = bytes.size() >= 2 && bytes[0] == std::byte{0x1F} && bytes[1] == std::byte{0x8B};
    constexpr int gzip_only = 16;
    if (gzip_ && inflateInit2(&stream_, gzip_only + MAX_WBITS) != Z_OK)
      throw_error<FileError>(file_.path(), ": zlib could not be set up");
  }
  InflatedFile(const InflatedFile&) = delete;
  InflatedFile& operator=(const InflatedFile&) = delete;
  ~InflatedFile() {
    if (gzip_) inflateEnd(&stream_);
  }

  /// Fills `target` and counts on. Throws FileError when the content ends before or is damaged.
  void read(std::span<std::uint8_t> target, std::string_view what) { check(take(target), target.size(), what); }
  /// The same of `size` bytes. A small compressed file can claim a thousand times its own size, so the room grows with
  /// what really comes out of it.
  std::vector<std::uint8_t> read(std::size_t size, std::string_view what) {
    constexpr std::size_t first = std::size_t{1} << 16;
    std::vector<std::uint8_t> values;
    std::size_t found = 0;
    do {
      values.resize(gzip_ ? std::min(size, std::max(2 * found, first)) : size);
      found += take(std::span(values).subspan(found));
    } while (found == values.size() && found < size);
    check(found, size, what);
    return values;
  }
  /// Throws FileError unless the content and the file end here.
  void expect_end() {
    const std::string end = place();
    std::array<std::uint8_t, 1> more;
    if (take(more) != 0 || at_ != file_.size()) throw_error<FileError>(end, ": expected the end, found more bytes");
    if (gzip_ && !ended_) throw_error<FileError>(place(), ": expected the end of the gzip member (truncated)");
  }
  /// The most bytes that may be left. Deflate makes at most 1032 of one.
  std::uint64_t most_left() const { return (file_.size() - at_) * (gzip_ ? 1032u : 1u); }

  /// "path: byte N", N counting in the file as it is on the disk.
  std::string place() const { return file_.path() + ": byte " + std::to_string(at_); }

 private:
  void check(std::size_t found, std::size_t expected, std::string_view what) const {
    if (found != expected)
      throw_error<FileError>(place(), ": expected ", expected, " bytes of ", what, ", found ", found, " (truncated)");
  }
  std::size_t take(std::span<std::uint8_t> target) {
    const auto bytes = file_.bytes();
    if (!gzip_) {
      const std::size_t size = std::min(target.size(), bytes.size() - at_);
      if (size > 0) std::memcpy(target.data(), bytes.data() + at_, size);
      at_ += size;
      return size;
    }
    constexpr std::size_t piece = std::size_t{1} << 30;  // zlib counts in 32 bits
    std::size_t done = 0;
    while (!ended_ && done < target.size()) {
      const std::size_t in = std::min(bytes.size() - at_, piece), out = std::min(target.size() - done, piece);
      stream_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(bytes.data() + at_));
      stream_.avail_in = static_cast<uInt>(in);
      stream_.next_out = target.data() + done;
      stream_.avail_out = static_cast<uInt>(out);
      const int status = inflate(&stream_, Z_NO_FLUSH);
      at_ += in - stream_.avail_in;
      done += out - stream_.avail_out;
      if (status == Z_STREAM_END) {
        next_member();
      } else if (status == Z_BUF_ERROR) {
        break;  // no input left
      } else if (status != Z_OK) {
        throw_error<FileError>(place(), ": gzip: ", stream_.msg ? stream_.msg : "damaged data");
      }
    }
    return done;
  }

  /// After the end of a member: another one, or the end. Zeros that pad the file to a tape's blocks belong to neither.
  void next_member() {
    const auto rest = file_.bytes().subspan(at_);
    if (rest.size() >= 2 && rest[0] == std::byte{0x1F} && rest[1] == std::byte{0x8B}) {
      if (inflateReset(&stream_) != Z_OK) throw_error<FileError>(place(), ": zlib could not be set up");
      return;
    }
    ended_ = true;
    if (std::all_of(rest.begin(), rest.end(), [](std::byte byte) { return byte == std::byte{0}; })) at_ = file_.size();
  }

  MappedFile file_;
  bool gzip_ = false, ended_ = false;
  z_stream stream_{};
  std::size_t at_ = 0;
};

}  // namespace detail

/// Reads an IDX file of unsigned bytes that is mapped or in memory. Throws FileError, with the offset, when it is of
/// another type, or not exactly as long as its header says. Takes memory for what the file holds, whatever it claims.
inline DenseArray<std::uint8_t> read_idx(MappedFile mapped) {
  const std::filesystem::path path = mapped.path();
  detail::InflatedFile file(std::move(mapped));
  std::array<std::uint8_t, 4> magic;
  file.read(magic, "an IDX header");
  if (magic[0] != 0 || magic[1] != 0) throw_error<FileError>(path.string(), ": byte 0: not an IDX file");
  if (magic[2] != 8)
    throw_error<FileError>(path.string(), ": byte 2: expected type 8 (unsigned byte), found ", int{magic[2]});
  DenseArray<std::uint8_t> array;
  for (int i = 0; i < magic[3]; ++i) {
    std::array<std::uint8_t, 4> extent;
    file.read(extent, "an IDX header");
    array.shape.push_back(std::int64_t{extent[0]} << 24 | extent[1] << 16 | extent[2] << 8 | extent[3]);
  }
  const auto size = checked_product(array.shape, 1);
  if (!size || *size > file.most_left())
    throw_error<FileError>(file.place(), ": expected values of shape ", detail::shape_text(array.shape),
                           ", found at most ", file.most_left(), " bytes (truncated)");
  array.values = file.read(static_cast<std::size_t>(*size), "values");
  file.expect_end();
  return array;
}

/// Reads an IDX file of unsigned bytes. Throws FileError when it is missing, and as above.
inline DenseArray<std::uint8_t> read_idx(const std::filesystem::path& path) { return read_idx(MappedFile(path)); }

/// Joins an IDX file of pictures `[N, H, W]` with one of labels `[N]`. Throws FileError when they do not belong
/// together or a label has no class.
inline Dataset read_idx_dataset(MappedFile image_file, MappedFile label_file, std::string name,
                                std::vector<std::string> class_names) {
  const std::filesystem::path images = image_file.path(), labels = label_file.path();
  DenseArray<std::uint8_t> pictures = read_idx(std::move(image_file));
  const DenseArray<std::uint8_t> classes = read_idx(std::move(label_file));
  constexpr std::int64_t limit = 1 << 14;
  const auto& shape = pictures.shape;
  if (shape.size() != 3 || shape[0] < 1 || std::min(shape[1], shape[2]) < 1 || std::max(shape[1], shape[2]) > limit)
    throw_error<FileError>(images.string(), ": expected pictures [N, H, W] with N at least 1 and H, W from 1 to ",
                           limit, ", found ", detail::shape_text(shape));
  if (classes.shape.size() != 1 || classes.shape[0] != shape[0])
    throw_error<FileError>(labels.string(), ": expected labels [", shape[0], "] as ", images.filename().string(),
                           " has pictures, found ", detail::shape_text(classes.shape));
  for (std::size_t i = 0; i < classes.values.size(); ++i)
    if (classes.values[i] >= class_names.size())
      throw_error<FileError>(labels.string(), ": label ", i, ": expected less than ", class_names.size(), ", found ",
                             int{classes.values[i]});
  Dataset dataset;
  dataset.name = std::move(name);
  dataset.height = static_cast<int>(shape[1]);
  dataset.width = static_cast<int>(shape[2]);
  dataset.channels = 1;
  dataset.classes = static_cast<int>(class_names.size());
  dataset.class_names = std::move(class_names);
  dataset.images = std::move(pictures.values);
  dataset.labels.assign(classes.values.begin(), classes.values.end());
  return dataset;
}

/// The same of two files by their names.
inline Dataset read_idx_dataset(const std::filesystem::path& images, const std::filesystem::path& labels,
                                std::string name, std::vector<std::string> class_names) {
  return read_idx_dataset(MappedFile(images), MappedFile(labels), std::move(name), std::move(class_names));
}

/// Where Debian's package dataset-fashion-mnist puts its files.
inline constexpr std::string_view fashion_mnist_folder = "/usr/share/datasets/fashion-mnist";

/// Fashion-MNIST (Xiao, Rasul, Vollgraf 2017): 60,000 + 10,000 grey pictures 28 x 28 of ten classes. The four files may
/// be compressed or not. Throws FileError as `read_idx_dataset` does.
inline Dataset fashion_mnist(DatasetSplit split, const std::filesystem::path& folder = fashion_mnist_folder) {
  const auto file = [&](std::string name) {
    name = (split == DatasetSplit::train ? "train-" : "t10k-") + name;
    for (const auto& path : {folder / (name + ".gz"), folder / name})
      if (std::filesystem::exists(path)) return path;
    throw_error<FileError>((folder / name).string(), "[.gz]: not found; Debian's package dataset-fashion-mnist has it");
  };
  const auto images = file("images-idx3-ubyte"), labels = file("labels-idx1-ubyte");
  return read_idx_dataset(
      images, labels, "Fashion-MNIST",
      {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"});
}

}  // namespace resnext
