#include <doctest/doctest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <resnext/io/gnuplot.hpp>
#include <string>

#include "files.hpp"

using namespace resnext;
using namespace testing;

namespace {

/// Makes programs come from one folder only.
class Path {
 public:
  explicit Path(const fs::path& folder) { ::setenv("PATH", folder.c_str(), 1); }
  Path(const Path&) = delete;
  Path& operator=(const Path&) = delete;
  ~Path() { ::setenv("PATH", before_.c_str(), 1); }

 private:
  std::string before_ = std::getenv("PATH") ? std::getenv("PATH") : "";
};

std::string drawn(const fs::path& picture) {
  return message_of<FileError>([&] { draw_with_gnuplot(picture, 100, 100, "plot x"); });
}

}  // namespace

TEST_CASE("a text becomes one gnuplot string, whatever is in it") {
  CHECK(gnuplot_string("it's\n1") == R"("it's 1")");
  CHECK(gnuplot_string(R"(a"b\c`d`)") == R"("a\042b\134c\140d\140")");
  CHECK(gnuplot_string("caf\xc3\xa9 caf\xe9\x7f") == "\"caf\xc3\xa9 caf? \"");
  CHECK(gnuplot_string("") == R"("")");
}

TEST_CASE("a gnuplot that is missing or fails says so, and leaves nothing behind") {
  const TemporaryFolder folder, programs;
  const Path path(programs.path());
  const auto picture = folder / "a.png";
  CHECK(drawn(picture) ==
        picture.string() +
            ": not drawn: gnuplot did not start (Debian package gnuplot-nox): No such file or directory");

  const auto program = write_text(programs / "gnuplot", "#!/bin/sh\necho 'line 3: no' >&2\nexit 1\n");
  REQUIRE(::chmod(program.c_str(), 0700) == 0);
  CHECK(drawn(picture) == picture.string() + ": not drawn: gnuplot failed: line 3: no\n");
  CHECK(folder.files() == 0);
}
