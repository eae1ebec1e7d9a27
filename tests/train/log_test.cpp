#include <doctest/doctest.h>

#include <sys/stat.h>

#include <array>
#include <clocale>
#include <cstdlib>
#include <limits>
#include <map>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <nlohmann/json.hpp>

#include <resnext/io/image.hpp>
#include <resnext/train/log.hpp>
#include <resnext/train/progress.hpp>

#include "files.hpp"
#include "train/run.hpp"

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
  SUBCASE("the log of another run, or of nobody knows whom, is not lost to a new run") {
    const std::string before = read_text(path);
    for (const char* id : {"", "this"}) {
      CHECK(message_of<FileError>([&] { RunLog(path, {.id = id}, {}); }).find("found that of another run: resume") !=
            std::string::npos);
    }
    CHECK(read_text(path) == before);
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

TEST_CASE("a log belongs to the run whose id it has") {
  const TemporaryFolder folder;
  for (const char* name : {"log.csv", "log.jsonl"}) {
    CAPTURE(name);
    const fs::path path = folder / name;
    RunLog log(path, {.id = "this"}, {{"seed", "7"}});
    log.add(epoch(0));
    log.add(epoch(1));
    const std::string before = read_text(path);
    for (const RunState& state : {RunState{.id = "other"}, RunState{.epoch = 1, .step = 10, .id = "other"}, RunState{},
                                  RunState{.id = "thi"}, RunState{.id = "this one"}}) {
      const std::string message = message_of<FileError>([&] { RunLog(path, state, {}); });
      CHECK(message == path.string() + ": expected the log of the run " + detail::quoted(state.id) +
                           ", found that of another run: resume that run, or take another name for the log");
    }
    CHECK(read_text(path) == before);
    RunLog resumed(path, {.epoch = 1, .step = 10, .id = "this"}, {});
    resumed.add(epoch(1));
    CHECK(read_text(path).starts_with(before.substr(0, before.size() / 2)));
    RunLog from_the_start(path, {.id = "this"}, {});  // stopped before its first checkpoint
    from_the_start.add(epoch(0));
    CHECK_NOTHROW(RunLog(path, {.epoch = 1, .step = 10, .id = "this"}, {}));
  }
  CHECK(read_text(folder / "log.csv").starts_with("# id: this\n# seed: 7\nepoch,step,"));
}

TEST_CASE("notes of any text, and numbers that JSON has no word for, leave a log that can be read") {
  const TemporaryFolder folder;
  const std::map<std::string, std::string> notes{{"a\nb", "1,2\r\n3\n"}, {"quoted \"", "|"}};
  for (const char* name : {"log.csv", "log.jsonl"}) {
    RunLog log(folder / name, {.id = "i\nd"}, notes);
    log.add(epoch(0));
    RunLog resumed(folder / name, {.epoch = 1, .step = 10, .id = "i\nd"}, {});
    CHECK(message_of<OptionError>([&] {
            RunLog(folder / "new.csv", {}, {{"name", "caf\xe9"}});
          }).find("\"name\": expected UTF-8") != std::string::npos);
  }
  EpochResult bad = epoch(0);
  bad.test->loss = std::numeric_limits<double>::quiet_NaN();
  bad.images_per_second = std::numeric_limits<double>::infinity();
  const auto json = nlohmann::json::parse(to_json(bad));
  CHECK(json.at("test_loss").is_null());
  CHECK(json.at("images_per_second").is_null());
  CHECK(json.at("train_loss") == 0.5);
}

TEST_CASE("numbers in files and messages follow no locale") {
  const TemporaryFolder folder;
  // The system has the locale, or the sources of which it can be made.
  const char* german = std::setlocale(LC_ALL, "de_DE.UTF-8");
  if (german == nullptr) {
    const std::string make = "localedef -i de_DE -f UTF-8 " + (folder / "de_DE.UTF-8").string() + " > /dev/null 2>&1";
    static_cast<void>(std::system(make.c_str()));
    ::setenv("LOCPATH", folder.path().c_str(), 1);
    german = std::setlocale(LC_ALL, "de_DE.UTF-8");
    ::unsetenv("LOCPATH");
  }
  if (german == nullptr) {
    MESSAGE("skipped: there is no locale de_DE.UTF-8, and localedef cannot make it");
    return;
  }
  CHECK(std::stod("1,5") == 1.5);
  RunLog log(folder / "log.csv", {}, {});
  log.add(epoch(0));
  const std::string text = read_text(folder / "log.csv"), json = to_json(epoch(0)),
                    message = detail::joined(0.25, 1e-7f);
  const auto parameters = initialized<test::Tiny>(1);
  save_checkpoint(folder / "x.safetensors", {parameters}, {.metrics = {.loss = 0.5}});
  const double loss = load_checkpoint<test::Tiny>(folder / "x.safetensors").state.metrics.loss;
  const std::string line = progress_line({1, 6, 50, 100, {.loss = 50, .correct = 75, .images = 100}, 5120.4, 65}, 0);
  std::setlocale(LC_ALL, "C");
  CHECK(text == header + row(1));
  CHECK(nlohmann::json::parse(json).at("learning_rate") == 0.05);
  CHECK(message == "0.251e-07");
  CHECK(loss == 0.5);
  CHECK(line == "epoch 2/6  50 %  loss 0.5000  accuracy 75.00 %  5120 images/s  ETA 1:05");
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
        }).ends_with("could not write: No such file or directory"));
  CHECK(folder.files() == 4);

  // Names that gnuplot would take for a command, an option or a quotation, for logs and pictures.
  for (const std::string name :
       {"|touch pwned; cat >out #", "<touch pwned #", "`touch pwned`", "a'b\"c\\d", "x\nsystem 'touch pwned'\n", "-",
        "~", "@a", "$x", "caf\xe9", "<&>", "' system('touch pwned') '"}) {
    CAPTURE(name);
    const TemporaryFolder here;
    const fs::path before = fs::current_path();
    fs::current_path(here.path());
    const std::string text = read_text(log_path);
    write_text(name, text);
    write_text("plain.csv", text);
    for (const char* extension : {".png", ".svg"}) {
      CHECK(message_of<FileError>([&] {
              draw_learning_curve(std::array{fs::path(name), fs::path("plain.csv")}, name + extension);
            }) == "");
      CHECK(fs::file_size(name + extension) > 1000);
    }
    CHECK(read_image(name + ".png").width == 900);
    CHECK(!detail::first_invalid_utf8(read_text(name + ".svg")));
    CHECK(here.files() == 4);
    fs::current_path(before);
  }
}

TEST_CASE("a log into a pipe gets each line once, and is not read") {
  const TemporaryFolder folder;
  const auto path = folder / "pipe";
  REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
  std::string text;
  std::thread reader([&] { text = read_text(path); });
  {
    RunLog log(path, {.id = "this"}, {{"seed", "7"}});
    for (const int done : {0, 1}) log.add(epoch(done));
  }
  reader.join();
  CHECK(text == "# id: this\n# seed: 7\n" + std::string(header) + row(1) + row(2));
  CHECK(folder.files() == 1);
  CHECK_NOTHROW(RunLog("/dev/null", {}, {}).add(epoch(0)));
}
