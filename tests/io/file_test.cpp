#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <array>
#include <csignal>
#include <resnext/io/file.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "files.hpp"

using namespace resnext;
using namespace testing;

TEST_CASE("what is written is what is mapped, and nothing else stays in the folder") {
  const TemporaryFolder folder;
  const std::string head = "head", tail = "tail";
  write_file(folder / "a", {bytes_of(head), {}, bytes_of(tail)});
  write_file(folder / "empty", {});
  CHECK(read_text(folder / "a") == "headtail");
  CHECK(folder.files() == 2);

  MappedFile a(folder / "a");
  MappedFile b = std::move(a);
  CHECK(a.size() == 0);  // NOLINT(bugprone-use-after-move): that is what is tested
  CHECK(std::string(reinterpret_cast<const char*>(b.bytes().data()), b.size()) == "headtail");
  b = MappedFile(folder / "empty");
  CHECK(b.bytes().empty());
}

TEST_CASE("a failed or abandoned write leaves the old file and no temporary") {
  const TemporaryFolder folder;
  const auto path = write_text(folder / "a", "old");
  {
    AtomicFile file(path);
    file.write(bytes_of(std::string("new")));
    CHECK(read_text(path) == "old");
    CHECK(folder.files() == 2);
  }
  CHECK(read_text(path) == "old");
  CHECK(folder.files() == 1);

  // The system refuses to let a file grow over this limit, as it does on a full disk.
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
  const rlimit small{4096, before.rlim_max};
  const std::vector<char> large(10000);
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
  const std::string message = message_of<FileError>([&] { write_file(path, {bytes_of(large)}); });
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &before) == 0);
  CHECK(message == path.string() + ": could not write: File too large");
  CHECK(read_text(path) == "old");
  CHECK(folder.files() == 1);
}

TEST_CASE("an error names the path and the reason") {
  const TemporaryFolder folder;
  const auto missing = folder / "no" / "file";
  CHECK(message_of<FileError>([&] { MappedFile{missing}; }) ==
        missing.string() + ": could not open: No such file or directory");
  CHECK(message_of<FileError>([&] { write_file(missing, {}); }) ==
        missing.string() + ": could not write: No such file or directory");
  CHECK(message_of<FileError>([&] { MappedFile{folder.path()}; }) ==
        folder.path().string() + ": expected a regular file");
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK_THROWS_AS(MappedFile{folder / "pipe"}, FileError);  // and does not wait for a writer
  fs::create_directory(folder / "folder");
  CHECK(message_of<FileError>([&] { write_file(folder / "folder", {}); }) ==
        (folder / "folder").string() + ": expected the name of a file, found a folder");
  CHECK(folder.files() == 2);
  fs::create_symlink("second", folder / "first");
  fs::create_symlink("first", folder / "second");
  CHECK(message_of<FileError>([&] { write_file(folder / "first", {}); }) ==
        (folder / "first").string() + ": could not write: Too many levels of symbolic links");
}

TEST_CASE("a symbolic link stays, and what it leads to is replaced with its permissions") {
  const TemporaryFolder folder;
  const std::string text = "new";
  fs::create_directory(folder / "far");
  const auto target = write_text(folder / "far" / "target", "old");
  REQUIRE(::chmod(target.c_str(), 0640) == 0);
  fs::create_symlink("far/target", folder / "near");  // relative to the link's own folder
  fs::create_symlink(folder / "near", folder / "link");
  fs::create_symlink("far/missing", folder / "dangling");
  {
    AtomicFile file(folder / "link");
    file.write(bytes_of(text));
    CHECK(read_text(target) == "old");
    CHECK(std::distance(fs::directory_iterator(folder / "far"), {}) == 2);  // the temporary is beside the target
    file.commit();
  }
  write_file(folder / "dangling", {bytes_of(text)});
  for (const char* link : {"near", "link", "dangling"}) CHECK(fs::is_symlink(folder / link));
  CHECK(read_text(target) == "new");
  CHECK(read_text(folder / "far" / "missing") == "new");
  CHECK(folder.files() == 4);
  CHECK(std::distance(fs::directory_iterator(folder / "far"), {}) == 2);

  for (const ::mode_t mode : {0600u, 0644u, 0444u, 0755u}) {
    REQUIRE(::chmod(target.c_str(), mode) == 0);
    write_file(target, {bytes_of(text)});
    struct stat status {};
    REQUIRE(::stat(target.c_str(), &status) == 0);
    CHECK((status.st_mode & 07777) == mode);
  }
}

TEST_CASE("what is no regular file is written into and stays what it is") {
  const TemporaryFolder folder;
  const std::string text = "content";
  const auto pipe = folder / "pipe";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  fs::create_symlink("pipe", folder / "link");
  std::string found;
  std::thread reader([&] { found = read_text(pipe); });
  write_file(folder / "link", {bytes_of(text)});
  reader.join();
  CHECK(found == text);
  CHECK(fs::is_fifo(pipe));
  CHECK(folder.files() == 2);
  write_file("/dev/null", {bytes_of(text)});
  CHECK(fs::is_character_file("/dev/null"));

  // As the shell's `> file` and `>> file` leave it, and a file that has no name any more.
  const int before = ::dup(1);
  for (const bool named : {true, false}) {
    const auto path = write_text(folder / "out", named ? "first " : "");
    const int out = ::open(path.c_str(), O_RDWR | O_APPEND);
    REQUIRE(::dup2(out, 1) == 1);
    if (!named) fs::remove(path);
    const std::string message = message_of<FileError>([&] { write_file("/dev/stdout", {bytes_of(text)}); });
    std::array<char, 32> content{};
    const ssize_t size = ::pread(out, content.data(), content.size(), 0);
    REQUIRE(::dup2(before, 1) == 1);
    ::close(out);
    CHECK(message.empty());
    CHECK(std::string(content.data(), static_cast<std::size_t>(size)) == (named ? "first content" : "content"));
    CHECK(folder.files() == (named ? 3 : 2));
  }
  ::close(before);
}

TEST_CASE("every name that the file system takes, and its leftovers are known") {
  const TemporaryFolder folder;
  const std::string text = "content";
  for (const std::size_t length : {1u, 100u, 101u, 232u, 246u, 255u}) {
    const std::string name(length, 'n');
    std::string temporary;
    {
      AtomicFile file(folder / name);
      file.write(bytes_of(text));
      REQUIRE(folder.files() == 1);
      temporary = fs::directory_iterator(folder.path())->path().filename();
      file.commit();
    }
    CHECK(read_text(folder / name) == text);
    CHECK(folder.files() == 1);
    CHECK(detail::is_temporary(temporary, name));
    CHECK(!detail::is_temporary(temporary, "other"));
    CHECK(!detail::is_temporary(temporary, std::string(length, 'o')));
    CHECK(!detail::is_temporary(name, name));
    fs::remove(folder / name);
  }
  CHECK(message_of<FileError>([&] { AtomicFile{folder / std::string(256, 'n')}; }).ends_with("File name too long"));
}
