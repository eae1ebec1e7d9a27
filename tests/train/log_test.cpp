#include <doctest/doctest.h>

#include <cstdlib>
#include <string>

#include <resnext/io/image.hpp>
#include <resnext/train/log.hpp>

#include "files.hpp"

using namespace resnext;
using testing::message_of;
using testing::read_text;
using testing::TemporaryFolder;
using testing::write_text;
namespace fs = std::filesystem;

namespace {

EpochResult epoch(int number) {
  EpochResult result{number, (number + 1) * 10, 0.05, {.loss = 20, .correct = 30, .images = 40}, {}, 2, 20};
  result.test = Accuracy{.images = 10, .correct = 7, .correct_of_5 = 9, .loss = 5};
  return result;
}

const std::string header = std::string(RunLog::columns) + "\n";

std::string row(int number) {
  return std::to_string(number) + "," + std::to_string(number * 10) +
         ",0.05,0.500000,0.750000,0.500000,0.700000,0.900000,2.00,20.0\n";
}

/// Hides all programs while it lives.
class EmptyPath {
 public:
  EmptyPath() : path_(std::getenv("PATH")) { ::setenv("PATH", "/nonexistent", 1); }
  EmptyPath(const EmptyPath&) = delete;
  EmptyPath& operator=(const EmptyPath&) = delete;
  ~EmptyPath() { ::setenv("PATH", path_.c_str(), 1); }

 private:
  std::string path_;
};

}  // namespace

TEST_CASE("a log says what was run and has a row an epoch") {
  const TemporaryFolder folder;
  const fs::path path = folder / "log.csv";
  RunLog log(path, {}, {{"seed", "7"}, {"batch", "8"}});
  log.add(epoch(0));
  log.add(epoch(1));
  CHECK(read_text(path) == "# batch: 8\n# seed: 7\n" + header + row(1) + row(2));

  SUBCASE("a resumed run forgets the epochs that it repeats") {
    RunLog resumed(path, {.epoch = 1, .batch = 3, .step = 13}, {{"seed", "7"}});
    resumed.add(epoch(1));
    CHECK(read_text(path) == "# batch: 8\n# seed: 7\n" + header + row(1) + "# resumed at step 13\n" + row(2));
  }
  SUBCASE("a new run begins a new log") {
    RunLog again(path, {}, {});
    again.add(epoch(0));
    CHECK(read_text(path) == header + row(1));
  }
  SUBCASE("a file with other columns is left alone") {
    write_text(path, "# a\nepoch,something\n");
    CHECK(message_of<FileError>([&] { RunLog(path, {.epoch = 1, .step = 13}, {}); }).find("expected the columns epoch,step") !=
          std::string::npos);
    CHECK(read_text(path) == "# a\nepoch,something\n");
  }
}

TEST_CASE("a learning curve is drawn, or it is said what is missing") {
  const TemporaryFolder folder;
  const fs::path log_path = folder / "it's a log.csv", png = folder / "it's a curve.png", svg = folder / "curve.svg";
  RunLog log(log_path, {}, {{"seed", "7"}});
  log.add(epoch(0));
  log.add(epoch(1));
  {
    const EmptyPath hidden;
    const std::string message = message_of<FileError>([&] { draw_learning_curve(log_path, png); });
    CHECK(message.find("gnuplot did not start (Debian package gnuplot-nox)") != std::string::npos);
    CHECK(!fs::exists(png));
  }
  if (std::system("gnuplot --version > /dev/null 2>&1") != 0) {
    MESSAGE("skipped: gnuplot is not installed");
    return;
  }
  draw_learning_curve(log_path, png);
  const Image picture = read_image(png);
  CHECK(picture.width == 900);
  CHECK(picture.height == 380);
  draw_learning_curve(log_path, svg);
  CHECK(read_text(svg).find("<svg") != std::string::npos);
  CHECK(folder.files() == 3);
  CHECK(message_of<FileError>([&] { draw_learning_curve(folder / "none.csv", folder / "none.png"); }).find("gnuplot failed") !=
        std::string::npos);
  CHECK(folder.files() == 3);
}
