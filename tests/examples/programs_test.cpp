// The example programs, on tiny inputs, as a user runs them.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <nlohmann/json.hpp>

#include <resnext/io/image.hpp>
#include <resnext/random.hpp>

#include "examples/program.hpp"
#include "files.hpp"

using namespace resnext;
using testing::contains;
using testing::programs;
using testing::read_text;
using testing::Result;
using testing::run;
using testing::TemporaryFolder;
using testing::write_text;
namespace fs = std::filesystem;

namespace {

/// A program in the background, output to /dev/null.
pid_t start(const std::vector<std::string>& words) {
  std::vector<std::string> copy = words;
  copy[0] = programs + copy[0];
  std::vector<char*> arguments;
  for (std::string& word : copy) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  std::fflush(nullptr);  // or the child would write it once more
  const pid_t child = ::fork();
  if (child == 0) {
    static_cast<void>(std::freopen("/dev/null", "w", stdout));
    static_cast<void>(std::freopen("/dev/null", "w", stderr));
    ::execv(arguments[0], arguments.data());
    ::_exit(127);
  }
  return child;
}

/// Its exit status, or minus the signal that ended it.
int wait(pid_t child) {
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

void write_idx(const fs::path& path, const std::vector<std::uint32_t>& shape, const std::string& values) {
  std::string text{'\0', '\0', '\x08', static_cast<char>(shape.size())};
  for (const std::uint32_t extent : shape) {
    for (int shift = 24; shift >= 0; shift -= 8) text += static_cast<char>(extent >> shift & 255);
  }
  write_text(path, text + values);
}

/// A data set with the files of Fashion-MNIST, of random pictures.
void write_fashion(const fs::path& folder, std::uint32_t train, std::uint32_t test) {
  const RandomStream random(1, "fashion");
  for (const auto& [name, count] : {std::pair(std::string("train"), train), {std::string("t10k"), test}}) {
    std::string pixels, labels;
    for (std::uint32_t i = 0; i < count * 784; ++i) pixels += static_cast<char>(random[count].below(i, 256));
    for (std::uint32_t i = 0; i < count; ++i) labels += static_cast<char>(i % 10);
    write_idx(folder / (name + "-images-idx3-ubyte"), {count, 28, 28}, pixels);
    write_idx(folder / (name + "-labels-idx1-ubyte"), {count}, labels);
  }
}

std::vector<fs::path> checkpoints(const fs::path& folder) {
  std::vector<fs::path> paths;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".safetensors") paths.push_back(entry.path());
  }
  return paths;
}

}  // namespace

TEST_CASE("train: learns, logs, resumes bit for bit; classify: reads what it wrote") {
  const TemporaryFolder folder;
  write_fashion(folder.path(), 40, 20);
  const std::string data = " --folder " + folder.path().string();
  const std::string recipe = data + " --batch 16 --warmup 1 --seed 7 --id test";
  const auto in = [&](const char* name) { return (folder / name).string(); };

  const Result whole = run("train --epochs 3 --checkpoints " + in("whole") + recipe);
  CAPTURE(whole.output);
  REQUIRE(whole.status == 0);
  CHECK(contains(whole.output, "\ntest accuracy: "));
  CHECK(contains(whole.output, "epoch 3/3"));
  const std::string last = "/checkpoint-0000000009.safetensors";
  REQUIRE(fs::exists(in("whole") + last));
  const std::string log = read_text(in("whole") + "/log.csv");
  for (const char* note : {"# seed: 7\n", "# isa: ", "# threads: ", "# compiler: ", "# backend: Cpu<float>, oneDNN "}) {
    CHECK(contains(log, note));
  }
  CHECK(contains(log, "# resnext: 0.1.0, commit "));
  CHECK(contains(log, "\nepoch,step,"));
  CHECK(contains(log, "\n3,9,"));

  CHECK(run("train --epochs 1 --quiet --checkpoints " + in("parts") + recipe).status == 0);
  const Result resumed = run("train --epochs 3 --resume --workers 0 --checkpoints " + in("parts") + recipe);
  CHECK(resumed.status == 0);
  CHECK(contains(resumed.output, "resumed from " + in("parts") + "/checkpoint-0000000003.safetensors"));
  CHECK(read_text(in("parts") + last) == read_text(in("whole") + last));

  using Json = nlohmann::json;
  const Result json = run("train --epochs 2 --json --checkpoints " + in("json") + " --log " + in("log.jsonl") + recipe);
  CAPTURE(json.output);
  std::vector<Json> lines;
  std::istringstream text(json.output);
  for (std::string line; std::getline(text, line);) lines.push_back(Json::parse(line));
  REQUIRE(lines.size() == 3);
  CHECK(lines[1].at("epoch") == 2);
  CHECK(lines[2].at("finished") == true);
  CHECK(lines[2].at("test_accuracy").get<double>() ==
        doctest::Approx(lines[1].at("test_accuracy").get<double>()).epsilon(1e-5));
  CHECK(fs::exists(lines[2].at("checkpoint").get<std::string>()));
  CHECK(contains(read_text(in("log.jsonl")), json.output.substr(0, json.output.find('\n'))));
  const Result drawn =
      run("curves " + in("whole") + "/log.csv " + in("parts") + "/log.csv --picture " + in("curves.svg"));
  CHECK((drawn.status == 0 || contains(drawn.output, "gnuplot did not start")));

  const Result other = run("train --epochs 3 --resume --rate 0.5 --checkpoints " + in("parts") + recipe);
  CHECK(other.status == 1);
  CHECK(contains(other.output, "is of another run: expected rate = 0.5, found 0.1"));

  // A damaged newest checkpoint: the one before it is taken, and it is said.
  write_text(in("parts") + last, "damaged");
  const Result repaired = run("train --epochs 3 --resume --checkpoints " + in("parts") + recipe);
  CHECK(repaired.status == 0);
  CHECK(contains(repaired.output, "passed over " + in("parts") + last));
  CHECK(read_text(in("parts") + last) == read_text(in("whole") + last));

  // The same folder for another run.
  const auto before = checkpoints(in("parts"));
  const std::string rows = read_text(in("parts") + "/log.csv");
  const Result refused = run("train --epochs 1 --checkpoints " + in("parts") + recipe + " --id other");
  CHECK(refused.status == 1);
  CHECK(contains(refused.output, "found one of the run \"test\": resume that run, or take another folder"));
  const Result logged = run("train --epochs 1 --log " + in("parts") + "/log.csv" + recipe + " --id other");
  CHECK(logged.status == 1);
  CHECK(contains(logged.output, "found that of another run: resume that run, or take another name for the log"));
  CHECK(checkpoints(in("parts")) == before);
  CHECK(read_text(in("parts") + "/log.csv") == rows);

  const Result tested = run("classify " + in("whole") + " --test --sheet " + in("sheet.png") + data);
  CAPTURE(tested.output);
  CHECK(tested.status == 0);
  CHECK(contains(tested.output, "Fashion-MNIST: 20 images, top-1 "));
  CHECK(read_image(in("sheet.png")).width == 8 * 132);

  Image picture{40, 30, 3, std::vector<std::uint8_t>(40 * 30 * 3, 90)};
  write_png(in("grey.png"), picture);
  const Result classified = run("classify " + in("whole") + last + " " + in("grey.png") + " --top 3");
  CHECK(classified.status == 0);
  CHECK(std::count(classified.output.begin(), classified.output.end(), '\n') == 4);
  CHECK(contains(classified.output, " %  "));
  const bool named = contains(classified.output, "Sneaker") || contains(classified.output, "Bag") ||
                     contains(classified.output, "Dress") || !contains(classified.output, "class ");
  CHECK(named);

  for (const std::string& command :
       {"train --profile" + recipe, "classify --profile " + in("whole") + " " + in("grey.png"),
        std::string("quickstart --profile")}) {
    const Result profiled = run(command);
    CAPTURE(profiled.output);
    CHECK(profiled.status == 0);
    for (const char* part : {"GFLOP/s  % peak  layer", "  layer1.0.conv2  ", "  grouped d=4 ", "; peak: "}) {
      CHECK(contains(profiled.output, part));
    }
  }

  const Json best = Json::parse(run("classify --json --top 3 " + in("whole") + " " + in("grey.png")).output);
  CHECK(best.at("picture") == in("grey.png"));
  CHECK(best.at("best").size() == 3);
  CHECK(Json::parse(run("classify --json --test " + in("whole") + data).output).at("images") == 20);

  const Result foreign = run("classify " + in("whole") + " --network resnext29_4x8d " + in("grey.png"));
  CHECK(foreign.status == 1);
  CHECK(contains(foreign.output, "does not hold the parameters of this network"));
}

TEST_CASE("train: CTRL-C and SIGTERM leave a checkpoint, kill -9 does no harm") {
  const TemporaryFolder folder;
  write_fashion(folder.path(), 200, 10);
  const auto command = [&](const char* name) {
    std::vector<std::string> words{"train", "--folder", folder.path(), "--checkpoints", (folder / name).string()};
    for (const char* word :
         {"--batch", "8", "--epochs", "3", "--quiet", "--checkpoint-every", "1", "--resume", "--id", "test"}) {
      words.emplace_back(word);
    }
    return words;
  };
  REQUIRE(wait(start(command("whole"))) == 0);
  const std::string last = "checkpoint-0000000075.safetensors";
  const std::string expected = read_text(folder / "whole" / last);
  REQUIRE(!expected.empty());

  const auto some = [&](const char* name) { return fs::exists(folder / name) && !checkpoints(folder / name).empty(); };
  const auto pause = [](int milliseconds) { std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds)); };
  pid_t child = 0;
  for (const auto& [signal, name] :
       {std::pair(SIGINT, "stopped"), {SIGTERM, "ended"}, {SIGHUP, "lost"}, {SIGUSR1, "warned"}}) {
    child = start(command(name));
    for (int i = 0; i < 1000 && !some(name); ++i) pause(10);
    ::kill(child, signal);
    CHECK(wait(child) == 128 + signal);
    CHECK(some(name));
    REQUIRE(wait(start(command(name))) == 0);
    CHECK(read_text(folder / name / last) == expected);
  }

  const RandomStream random(1, "kill");
  int killed = 0;
  for (std::uint32_t i = 0; i < 8; ++i) {
    child = start(command("killed"));
    pause(150 + static_cast<int>(random.below(i, 250)));
    ::kill(child, SIGKILL);
    killed += wait(child) == -SIGKILL;
  }
  CHECK(killed > 0);
  REQUIRE(wait(start(command("killed"))) == 0);
  CHECK(read_text(folder / "killed" / last) == expected);
  CHECK(checkpoints(folder / "killed").size() == 3);
}

TEST_CASE("programs say what is wrong, with the status they document") {
  const TemporaryFolder folder;
  for (const std::string program : {"train", "classify", "imagenet", "table", "curves"}) {
    CAPTURE(program);
    CHECK(run(program + " --help").status == 0);
  }
  CHECK(run("train --epochs 0").status == 2);
  CHECK(run("train --network none").status == 2);
  CHECK(run("train --resume").status == 2);
  CHECK(run("classify").status == 2);
  CHECK(run("curves").status == 2);
  CHECK(run("curves none.csv").status == 1);
  CHECK(run("imagenet batch.npy").status == 2);
  CHECK(run("table --sizes 3").status == 2);
  CHECK(run("table resnext51").status == 1);
  const Result missing = run("train --folder " + (folder / "none").string());
  CHECK(missing.status == 1);
  CHECK(contains(missing.output, "none/train-images-idx3-ubyte"));
  CHECK(run("classify " + folder.path().string() + " --test").status == 1);
  CHECK(run("train --epochs 1 --rate -1").status == 1);
}
