#include <doctest/doctest.h>

#include <cstdlib>
#include <sstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

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

const std::string header =
    "epoch,step,learning_rate,train_loss,train_accuracy,test_loss,test_accuracy,test_accuracy_of_5,seconds,"
    "images_per_second\n";

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
  SUBCASE("what a killed run left behind goes, and nothing else") {
    write_text(path.string() + ".123-4.tmp", "killed in the middle");
    const auto others = {"notes.tmp", "log.csv.old.tmp", "log.csv.1-.tmp", "log.csv.-1.tmp", "log.csv1-2.tmp"};
    for (const char* name : others) write_text(folder / name, "somebody else's");
    RunLog resumed(path, {.epoch = 1, .batch = 3, .step = 13}, {});
    CHECK(folder.files() == 1 + others.size());
    for (const char* name : others) CHECK(fs::exists(folder / name));
  }
  SUBCASE("a folder is no log") {
    CHECK(
        message_of<FileError>([&] { RunLog(folder.path() / "", {}, {}); }).starts_with("expected the path of a log, "));
  }
  SUBCASE("a file with other columns is left alone") {
    write_text(path, "# a\nepoch,something\n");
    CHECK(message_of<FileError>([&] {
            RunLog(path, {.epoch = 1, .step = 13}, {});
          }).find("expected the columns epoch,step") != std::string::npos);
    CHECK(read_text(path) == "# a\nepoch,something\n");
  }
}

TEST_CASE("a log whose name ends in .jsonl has JSON lines") {
  const TemporaryFolder folder;
  const fs::path path = folder / "log.jsonl";
  using Json = nlohmann::json;
  const auto lines = [&] {
    std::vector<Json> all;
    std::istringstream text(read_text(path));
    for (std::string line; std::getline(text, line);) all.push_back(Json::parse(line));
    return all;
  };
  const auto row = [](int number) {
    return Json{{"epoch", number},          {"step", number * 10},       {"learning_rate", 0.05},
                {"train_loss", 0.5},        {"train_accuracy", 0.75},    {"test_loss", 0.5},
                {"test_accuracy", 0.7},     {"test_accuracy_of_5", 0.9}, {"seconds", 2.0},
                {"images_per_second", 20.0}};
  };
  const Json run{{"run", {{"seed", "7"}, {"name", "a \"quoted\" one"}}}};
  RunLog log(path, {}, {{"seed", "7"}, {"name", "a \"quoted\" one"}});
  log.add(epoch(0));
  log.add(epoch(1));
  CHECK(lines() == std::vector{run, row(1), row(2)});
  RunLog resumed(path, {.epoch = 1, .batch = 3, .step = 13}, {});
  resumed.add(epoch(1));
  CHECK(lines() == std::vector{run, row(1), Json{{"resumed_at_step", 13}}, row(2)});

  const std::string before = read_text(path);
  for (const std::string line : {"epoch,step", "{\"loss\":1}"}) {
    write_text(path, before + line + "\n");
    CHECK(message_of<FileError>([&] {
            RunLog(path, {.epoch = 1, .step = 13}, {});
          }).find("expected the JSON lines of a run") != std::string::npos);
    CHECK(read_text(path) == before + line + "\n");
  }
}

TEST_CASE("a learning curve is drawn, or it is said what is missing") {
  const TemporaryFolder folder;
  const fs::path log_path = folder / "it's a log.csv", png = folder / "it's a curve.png", svg = folder / "curve.svg";
  RunLog log(log_path, {}, {{"seed", "7"}});
  log.add(epoch(0));
  log.add(epoch(1));
  std::vector<fs::path> logs{log_path};
  {
    const EmptyPath hidden;
    const std::string message = message_of<FileError>([&] { draw_learning_curve(logs, png); });
    CHECK(message.find("gnuplot did not start (Debian package gnuplot-nox)") != std::string::npos);
    CHECK(!fs::exists(png));
  }
  if (std::system("gnuplot --version > /dev/null 2>&1") != 0) {
    MESSAGE("skipped: gnuplot is not installed");
    return;
  }
  draw_learning_curve(logs, png);
  const Image picture = read_image(png);
  CHECK(picture.width == 900);
  CHECK(picture.height == 380);
  draw_learning_curve(logs, svg);
  CHECK(read_text(svg).find("<svg") != std::string::npos);
  CHECK(read_text(svg).find("training") != std::string::npos);
  CHECK(folder.files() == 3);

  // Two runs in one picture, each under its name.
  RunLog second(folder / "second.csv", {}, {});
  second.add(epoch(0));
  logs.push_back(folder / "second.csv");
  draw_learning_curve(logs, svg);
  for (const char* name : {"log.csv", "second.csv"}) CHECK(read_text(svg).find(name) != std::string::npos);
  CHECK(folder.files() == 4);

  logs.push_back(folder / "none.csv");
  CHECK(message_of<FileError>([&] { draw_learning_curve(logs, folder / "none.png"); }) ==
        (folder / "none.csv").string() + ": could not open: No such file or directory");
  logs.pop_back();
  CHECK(message_of<FileError>([&] {
          draw_learning_curve(logs, folder / "none" / "curve.png");
        }).find("gnuplot failed") != std::string::npos);
  CHECK(folder.files() == 4);
}
