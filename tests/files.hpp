/// @file
/// Files for tests: a folder that goes away, whole-file reading and writing, and what lies beside the repository.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#ifndef RESNEXT_TESTS_DIR
#define RESNEXT_TESTS_DIR "tests"
#endif
#ifndef RESNEXT_SHARED_DIR
#define RESNEXT_SHARED_DIR RESNEXT_TESTS_DIR "/../../shared"
#endif

namespace testing {

namespace fs = std::filesystem;

/// A fresh folder, removed with all it holds.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (fs::temp_directory_path() / "resnext-XXXXXX").string();
    if (!::mkdtemp(name.data())) throw std::runtime_error("no temporary folder " + name);
    path_ = name;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  const fs::path& path() const { return path_; }
  fs::path operator/(std::string_view name) const { return path_ / name; }
  std::ptrdiff_t files() const { return std::distance(fs::directory_iterator(path_), {}); }

 private:
  fs::path path_;
};

inline std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline fs::path write_text(const fs::path& path, std::string_view text) {
  fs::remove(path);  // ext4 waits for the disk when a file is truncated and written again
  std::ofstream file(path, std::ios::binary);
  file.write(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file.flush()) throw std::runtime_error("could not write " + path.string());
  return path;
}

/// A file of the reference data, which are no part of the repository: $RESNEXT_SHARED_DIR or ../shared; else nothing.
inline std::optional<fs::path> shared_file(std::string_view name) {
  const char* folder = std::getenv("RESNEXT_SHARED_DIR");
  const fs::path path = fs::path(folder ? folder : RESNEXT_SHARED_DIR) / name;
  return fs::exists(path) ? std::optional(path) : std::nullopt;
}

/// The message of the `Kind` that `action` throws, empty when it throws none.
template <class Kind, class Action>
std::string message_of(Action action) {
  try {
    action();
  } catch (const Kind& error) {
    return error.what();
  }
  return {};
}

}  // namespace testing
