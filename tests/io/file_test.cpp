#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <resnext/io/file.hpp>
#include <string>
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
        (folder / "folder").string() + ": could not replace: Is a directory");
  CHECK(folder.files() == 2);
}
