/// @file
/// Files as wholes: a read-only mapping of one, and a write that happens completely or not at all.
#pragma once

#include <fcntl.h>     // open
#include <sys/mman.h>  // mmap
#include <sys/stat.h>  // fstat
#include <unistd.h>    // write, fsync, close

#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstdio>  // std::rename
#include <initializer_list>
#include <resnext/error.hpp>
#include <resnext/random.hpp>  // fnv1a
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace resnext {

static_assert(std::endian::native == std::endian::little, "the file formats here are read in place, little-endian");

namespace detail {

/// Throws FileError "path: could not ACTION: reason" for the current errno.
[[noreturn]] inline void fail_errno(const std::string& path, std::string_view action) {
  const int code = errno;
  throw_error<FileError>(path, ": could not ", action, ": ", std::generic_category().message(code));
}

/// A name from a file, fit for a message: in quotes, control characters replaced, at most 120 bytes long.
inline std::string quoted(std::string_view name) {
  std::string text = "\"";
  for (const char c : name.substr(0, 120)) text += static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? '?' : c;
  return text + (name.size() > 120 ? "...\"" : "\"");
}

/// Owns a POSIX file descriptor.
class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() { close(); }

  int get() const { return number_; }
  /// False (and errno) when the system reports a failed write only now.
  bool close() { return number_ < 0 || ::close(std::exchange(number_, -1)) == 0; }

 private:
  int number_;
};

}  // namespace detail

/// The bytes of a struct, vector or string, to be written.
template <class Range>
std::span<const std::byte> bytes_of(const Range& range) {
  return std::as_bytes(std::span(range));
}

/// A regular file mapped read-only into memory. Movable. The file must not be shortened while it is mapped (the system
/// then ends the program with SIGBUS); `AtomicFile` replaces a file without ever shortening it.
class MappedFile {
 public:
  /// Throws FileError when the file is missing, unreadable or not a regular file.
  explicit MappedFile(const std::string& path) : path_(path) {
    // Without O_NONBLOCK the opening of a pipe would wait for its other end.
    const detail::Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (file.get() < 0) detail::fail_errno(path, "open");
    struct stat status {};
    if (::fstat(file.get(), &status) != 0) detail::fail_errno(path, "examine");
    if (!S_ISREG(status.st_mode)) throw_error<FileError>(path, ": expected a regular file");
    size_ = static_cast<std::size_t>(status.st_size);
    if (size_ == 0) return;  // an empty mapping is an error of mmap, an empty file is none
    void* address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.get(), 0);
    if (address == MAP_FAILED) detail::fail_errno(path, "map");
    ::madvise(address, size_, MADV_WILLNEED);  // files are read as wholes: the disk may begin
    data_ = static_cast<const std::byte*>(address);
    mapped_ = true;
  }
  /// No file, but bytes that are in memory already, such as weights that are part of the program. They stay the
  /// caller's and must outlive this; `name` is what messages call them.
  MappedFile(std::string name, std::span<const std::byte> bytes)
      : path_(std::move(name)), data_(bytes.data()), size_(bytes.size()) {}
  /// Takes the mapping over.
  MappedFile(MappedFile&& other) noexcept
      : path_(std::move(other.path_)),
        data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        mapped_(std::exchange(other.mapped_, false)) {}
  /// Exchanges the mappings.
  MappedFile& operator=(MappedFile&& other) noexcept {
    path_.swap(other.path_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(mapped_, other.mapped_);
    return *this;
  }
  ~MappedFile() {
    if (mapped_) ::munmap(const_cast<std::byte*>(data_), size_);
  }

  /// As given to the constructor.
  const std::string& path() const { return path_; }
  /// In bytes.
  std::size_t size() const { return size_; }
  /// The content, valid as long as the mapping.
  std::span<const std::byte> bytes() const { return {data_, size_}; }

  /// Gives the memory of `part` of bytes() back to the system, in whole pages. The bytes stay valid: whoever reads them
  /// again has them from the file again.
  void release(std::span<const std::byte> part) const {
    if (!mapped_ || part.empty()) return;
    constexpr std::size_t page = 4096;  // where pages are larger the advice is refused, and nothing is lost
    const auto begin = static_cast<std::size_t>(part.data() - data_), first = begin / page * page;
    ::madvise(const_cast<std::byte*>(data_) + first, begin - first + part.size(), MADV_DONTNEED);
  }

 private:
  std::string path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  bool mapped_ = false;
};

namespace detail {

/// What a file's temporaries are called before their ending: its name, or a hash of one that would be too long with it.
inline std::string temporary_stem(std::string_view name) {
  constexpr std::size_t longest = 100;  // file systems take 143 to 255 bytes, of which the ending needs 23
  if (name.size() <= longest) return std::string(name);
  return ".resnext-" + std::to_string(detail::fnv1a(name));
}

/// True for a name that begins with `stem`, or with what it becomes when it is too long, and ends as AtomicFile ends
/// those of its temporaries: `.PROCESS-NUMBER.tmp`.
inline bool is_temporary(std::string_view name, std::string_view stem) {
  const std::string begin = temporary_stem(stem);
  if (!name.starts_with(begin)) return false;
  name.remove_prefix(begin.size());
  const auto ends_with_number_after = [&](std::string_view end, char before) {
    if (!name.ends_with(end)) return false;
    name.remove_suffix(end.size());
    const std::size_t at = name.find_last_not_of("0123456789");
    if (at == std::string_view::npos || at + 1 == name.size() || name[at] != before) return false;
    name = name.substr(0, at);
    return true;
  };
  return ends_with_number_after(".tmp", '-') && ends_with_number_after("", '.');
}

/// The part of a path up to its last slash, empty when it has none.
inline std::string folder_of(const std::string& path) { return path.substr(0, path.rfind('/') + 1); }

/// Where a path leads when symbolic links are followed, also when nothing is there yet. Empty for a link such as
/// /dev/stdout, which stands for a file that is open already. Throws FileError for a loop.
inline std::string link_target(const std::string& path) {
  std::string target = path;
  std::array<char, 4096> text{};  // the longest path that the system takes
  for (int links = 0;; ++links) {
    const ssize_t size = ::readlink(target.c_str(), text.data(), text.size());
    if (size <= 0) return target;  // no link
    if (target.starts_with("/proc/") || target.starts_with("/dev/fd/")) return {};
    if (links == 40)
      throw_error<FileError>(path, ": could not write: the symbolic links do not end");  // Linux follows 40
    const std::string next(text.data(), static_cast<std::size_t>(size));
    target = next.front() == '/' ? next : folder_of(target).append(next);
  }
}

}  // namespace detail

/// A file that appears under its name only when it is complete and on the disk. What is written goes to a temporary
/// beside the target; `commit()` renames it; without `commit()` the destructor removes it and the target stays as it
/// was. Symbolic links are followed: the file that they lead to is replaced, and they stay. The permissions of a file
/// that is replaced are kept, its owner and group where the system allows it; other hard links keep the old content.
/// What is no regular file, such as a pipe or /dev/stdout, cannot be replaced and is written into at once.
class AtomicFile {
 public:
  /// Throws FileError when the path is that of a folder, or the folder does not exist or cannot be written to.
  explicit AtomicFile(const std::string& path) : path_(path), file_(open()) {}
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile() {
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
  }

  /// Appends. Throws FileError when the system refuses (disk full, quota).
  void write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t written = ::write(file_.get(), bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) detail::fail_errno(path_, "write");
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
  }

  /// Makes what was written the content of the target. Throws FileError; the target is then still what it was.
  void commit() {
    const bool replaces = !temporary_.empty();
    if ((replaces && ::fsync(file_.get()) != 0) || !file_.close()) detail::fail_errno(path_, "write");
    if (!replaces) return;
    if (std::rename(temporary_.c_str(), target_.c_str()) != 0) detail::fail_errno(path_, "replace");
    temporary_.clear();
    const std::string folder = detail::folder_of(target_.find('/') == std::string::npos ? "./" : target_);
    const detail::Descriptor entry(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    // Some file systems cannot synchronise a folder and say EINVAL; the rename has happened all the same.
    if (entry.get() >= 0 && ::fsync(entry.get()) != 0 && errno != EINVAL) detail::fail_errno(folder, "synchronise");
  }

 private:
  detail::Descriptor open() {
    struct stat old {};
    const bool exists = ::stat(path_.c_str(), &old) == 0;
    if (!exists && errno != ENOENT) detail::fail_errno(path_, "write");
    if (exists && S_ISDIR(old.st_mode)) throw_error<FileError>(path_, ": expected the name of a file, found a folder");
    if (!exists || S_ISREG(old.st_mode)) {
      target_ = detail::link_target(path_);
      if (!target_.empty()) return create(exists ? &old : nullptr);
    }
    detail::Descriptor file(::open(path_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
    if (file.get() < 0) detail::fail_errno(path_, "write");
    return file;
  }

  /// The temporary, with the permissions of the file that it will replace.
  detail::Descriptor create(const struct stat* old) {
    static std::atomic<unsigned> counter{0};
    const std::string folder = detail::folder_of(target_);
    const std::string stem = folder + detail::temporary_stem(std::string_view(target_).substr(folder.size()));
    for (;;) {
      const std::string name = stem + "." + std::to_string(::getpid()) + "-" + std::to_string(counter++) + ".tmp";
      detail::Descriptor file(::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, old ? 0600 : 0666));
      if (file.get() < 0 && errno == EEXIST) continue;  // left behind by a killed process of this id
      if (file.get() < 0) detail::fail_errno(path_, "write");
      temporary_ = name;
      if (old == nullptr) return file;
      // Only the superuser may give a file away, and some file systems know no permissions.
      [[maybe_unused]] const int owner = ::fchown(file.get(), old->st_uid, old->st_gid);
      [[maybe_unused]] const int mode = ::fchmod(file.get(), old->st_mode & 0777);
      return file;
    }
  }

  std::string path_, target_;
  std::string temporary_;  // empty when the target is written into, and after the commit
  detail::Descriptor file_;
};

/// Writes the parts, one after the other, as the new content of `path`: completely or not at all. Throws FileError.
inline void write_file(const std::string& path, std::initializer_list<std::span<const std::byte>> parts) {
  AtomicFile file(path);
  for (const auto part : parts) file.write(part);
  file.commit();
}

}  // namespace resnext
