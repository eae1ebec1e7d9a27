// The program examples/classify on what users bring: pictures, names, weights and outputs of other programs.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <cstdint>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <resnext/io/image.hpp>
#include <resnext/model/network.hpp>
#include <resnext/model/template.hpp>
#include <resnext/nn/parameter_files.hpp>
#include <resnext/nn/parameters.hpp>

#include "examples/program.hpp"
#include "files.hpp"

using namespace resnext;
using testing::contains;
using testing::Result;
using testing::run;
using testing::TemporaryFolder;
using testing::write_text;
using Json = nlohmann::json;
namespace fs = std::filesystem;

namespace {

/// The programs' network "small" for Fashion-MNIST.
using Small =
    Network<Template<CifarStem<16, 1>, Bottleneck<4, 4>, Planes<16>, Stage<1>, Stage<1>, Stage<1>, Classes<10>>>;

const std::vector<float> biases{0, -1000, -990, -980, -970, -960, -950, -940, -930, -900};

/// Its weights, with the classifier's logits the same for every picture, and with counters of another type.
std::string write_weights(const TemporaryFolder& folder, Dtype counter = Dtype::I64) {
  const auto parameters = initialized<Small>(1);
  const std::vector<float> zeros(10 * 256);
  const std::int64_t count = 0;
  std::vector<TensorView> tensors = tensor_views(parameters);
  for (TensorView& tensor : tensors) {
    if (tensor.name == "fc.weight") tensor.bytes = std::as_bytes(std::span(zeros));
    if (tensor.name == "fc.bias") tensor.bytes = std::as_bytes(std::span(biases));
    if (!tensor.name.ends_with("num_batches_tracked")) continue;
    tensor.dtype = counter;
    if (counter == Dtype::F32) tensor.shape = {1};  // as PyTorch 0.3 wrote it
    tensor.bytes = std::as_bytes(std::span(&count, 1)).first(dtype_size(counter));
  }
  const std::string path = (folder / "weights.safetensors").string();
  write_safetensors(path, tensors);
  return path;
}

/// A command that classifies with these weights; file names in quotes follow.
std::string classify(const std::string& weights) {
  return "classify " + weights + " --network small --data fashion-mnist ";
}

std::string quoted(const fs::path& path) { return "'" + path.string() + "' "; }

void write_picture(const fs::path& path, int height = 30, int width = 40) {
  const auto pixels = static_cast<std::size_t>(height) * static_cast<std::size_t>(width) * 3;
  write_png(path, {height, width, 3, std::vector<std::uint8_t>(pixels, 90)});
}

std::vector<Json> lines(const std::string& text) {
  std::vector<Json> all;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    if (line.starts_with('{')) all.push_back(Json::parse(line));
  }
  return all;
}

}  // namespace

TEST_CASE("classify: one bad picture of many is reported, the others are classified, the exit status says so") {
  const TemporaryFolder folder;
  const std::string weights = write_weights(folder);
  write_picture(folder / "good.png");
  write_picture(folder / "caf\xE9.png");  // a name that is not UTF-8
  write_text(folder / "bad.jpg", "\xFF\xD8\xFF");
  write_picture(folder / "thin.png", 60000, 1);
  const std::string pictures = quoted(folder / "good.png") + quoted(folder / "bad.jpg") + quoted(folder / "none.png") +
                               quoted(folder / "caf\xE9.png") + quoted(folder / "thin.png");
  const Result text = run(classify(weights) + "--top 1 " + pictures);
  CAPTURE(text.output);
  CHECK(text.status == 1);
  CHECK(contains(text.output, "classify: " + (folder / "bad.jpg").string() + ": JPEG: "));
  CHECK(contains(text.output, "classify: " + (folder / "none.png").string() + ": could not open"));
  for (const char* name : {"good.png", "caf\xE9.png", "thin.png"}) {
    CHECK(contains(text.output, (folder / name).string() + "\n  100.00 %  class 0\n"));
  }

  const auto found = lines(run(classify(weights) + "--json " + pictures).output);
  REQUIRE(found.size() == 5);
  CHECK(found[0].at("picture") == (folder / "bad.jpg").string());
  CHECK(contains(found[0].at("error").get<std::string>(), "JPEG"));
  CHECK(found[1].at("picture") == (folder / "none.png").string());
  CHECK(found[2].at("picture") == (folder / "good.png").string());
  CHECK(found[3].at("picture") == (folder / "caf\xEF\xBF\xBD.png").string());
  CHECK(found[4].at("best")[0].at("class") == 0);

  CHECK(run(classify(weights) + quoted(folder / "bad.jpg")).status == 1);
  CHECK(run(classify(weights) + quoted(folder / "good.png")).status == 0);
  CHECK(contains(run("classify --help").output, "could not be read"));
}

TEST_CASE("classify: classes come by their logits where all probabilities but one are 0") {
  const TemporaryFolder folder;
  write_picture(folder / "a.png");
  const Result result = run(classify(write_weights(folder)) + "--json --top 5 " + quoted(folder / "a.png"));
  const Json json = Json::parse(result.output);
  std::vector<int> labels;
  for (const auto& best : json.at("best")) labels.push_back(best.at("class"));
  CHECK(labels == std::vector<int>{0, 9, 8, 7, 6});
}

TEST_CASE("classify: counters of any number type") {
  const TemporaryFolder folder;
  write_picture(folder / "a.png");
  for (const Dtype dtype : {Dtype::F16, Dtype::BF16, Dtype::F32, Dtype::F64, Dtype::I32, Dtype::U8, Dtype::BOOL}) {
    const Result result = run(classify(write_weights(folder, dtype)) + quoted(folder / "a.png"));
    CAPTURE(result.output);
    CHECK(result.status == 0);
  }
}

TEST_CASE("classify: class names of any editor, and as many as there are classes") {
  const TemporaryFolder folder;
  const std::string weights = write_weights(folder);
  write_picture(folder / "a.png");
  const auto with = [&](const std::string& names) {
    write_text(folder / "names.txt", names);
    return run(classify(weights) + "--json --top 1 --classes " + quoted(folder / "names.txt") +
               quoted(folder / "a.png"));
  };
  const Result named = with(
      "\xEF\xBB\xBF"
      "Dress\r\nb\r\nc\r\nd\r\ne\r\nf\r\ng\r\nh\r\ni\r\nj\r\n\r\n");
  CAPTURE(named.output);
  CHECK(named.status == 0);
  CHECK(Json::parse(named.output).at("best")[0].at("name") == "Dress");
  const Result more = with("background\na\nb\nc\nd\ne\nf\ng\nh\ni\nj\n");
  CHECK(more.status == 1);
  CHECK(contains(more.output, "names.txt: expected 10 class names, found 11"));
  CHECK(contains(with("caf\xE9\nb\n").output, "names.txt: byte 3: not UTF-8"));
}

TEST_CASE("classify: a sheet through a link, into a pipe, under the longest name") {
  const TemporaryFolder folder;
  const std::string weights = write_weights(folder);
  write_picture(folder / "a.png");
  const auto draw = [&](const std::string& name, const std::string& after = "") {
    return run(classify(weights) + quoted(folder / "a.png") + "--sheet " + quoted(folder / name) + after).status;
  };
  const auto target = write_text(folder / "target.png", "old");
  REQUIRE(::chmod(target.c_str(), 0600) == 0);
  fs::create_symlink("target.png", folder / "link.png");
  CHECK(draw("link.png") == 0);
  CHECK(fs::is_symlink(folder / "link.png"));
  CHECK(read_image(target).height == 144);
  struct stat status {};
  REQUIRE(::stat(target.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0600);

  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK(draw("pipe", "& cat " + quoted(folder / "pipe") + "> " + quoted(folder / "piped.png") + "; wait") == 0);
  CHECK(fs::is_fifo(folder / "pipe"));
  CHECK(read_image(folder / "piped.png").height == 144);
  CHECK(draw(std::string(251, 'n') + ".png") == 0);
  CHECK(draw("") == 1);  // the folder itself
}
