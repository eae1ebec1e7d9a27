#include <doctest/doctest.h>

#include <limits>
#include <set>
#include <string>
#include <vector>

#include <resnext/train/checkpoint.hpp>

#include "files.hpp"
#include "train/run.hpp"

using namespace resnext;
using test::Tiny;
using testing::message_of;
using testing::read_text;
using testing::TemporaryFolder;
using testing::write_text;
namespace fs = std::filesystem;

namespace {

using OtherWidth = Network<Template<CifarStem<4, 1>, Bottleneck<2, 3>, Planes<4>, Stage<1>, Stage<1>, Classes<3>>>;
// Differs from Tiny in nothing that has a tensor.
inline constexpr BlockOptions no_shortcut{.residual = false};
using Plain = Network<Template<CifarStem<4, 1>, Bottleneck<2, 2, no_shortcut>, Planes<4>, Stage<2>, Classes<3>>>;
using Bare = Network<Template<CifarStem<16, 1>, Bottleneck<2, 2>, Planes<4>, Stage<1>, Classes<3>>>;
using BareWithout = Network<Template<CifarStem<16, 1>, Bottleneck<2, 2, no_shortcut>, Planes<4>, Stage<1>, Classes<3>>>;

RunState some_state() {
  return {.epoch = 2,
          .batch = 5,
          .step = 1234,
          .metrics = {.loss = 0.1 + 0.2, .correct = 17, .images = 40},
          .options = {{"seed", "18446744073709551615"}, {"network", "a \"quoted\" name"}},
          .class_names = {"air|plane", "", "back\\slash", "\"a\", b]", "caf\xc3\xa9\n", "|"},
          .id = "0123456789abcdef"};
}

template <class Net>
Parameters<Net> filled(std::uint64_t seed) {
  auto parameters = initialized<Net>(seed);
  const RandomStream random(seed, "all");
  for (std::size_t i = 0; i < parameters.values().size(); ++i) parameters.values()[i] = random.uniform(i) - 0.25f;
  return parameters;
}

TrainerState trained(const StateDict& parameters, const StateDict& velocities) {
  return {parameters, {{"velocity", velocities}}, StepCounters{1024, 7, 1234, 2}};
}

bool equal(const StateDict& a, const StateDict& b, bool learned_only) {
  for (const auto& slot : a.tensors()) {
    if (learned_only && !slot.entry.learned()) continue;
    const auto x = a[slot], y = b[slot];
    if (!std::equal(x.begin(), x.end(), y.begin(), y.end())) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("any number of states of the optimiser, in any type, with running statistics or without") {
  const TemporaryFolder folder;
  const fs::path path = folder / "checkpoint-0000001234.safetensors";
  auto average = filled<Tiny>(3);
  average.set_batches_tracked(9);
  TrainerState state{filled<Tiny>(1)};
  SUBCASE("none, and nothing counted") {
    save_checkpoint(path, state, some_state());
    const auto loaded = load_checkpoint(path, Tiny::layers);
    CHECK(loaded.trainer.optimizer.empty());
    CHECK(!loaded.trainer.counters);
    CHECK(equal(loaded.trainer.ema(), state.parameters, false));
  }
  SUBCASE("several") {
    state.optimizer = {{"velocity", filled<Tiny>(2), false, Dtype::BF16},
                       {"ema", average, true},
                       {"second_moment", filled<Tiny>(4), false, Dtype::F16}};
    save_checkpoint(path, state, some_state());
    const auto loaded = load_checkpoint(path, Tiny::layers).trainer;
    REQUIRE(loaded.optimizer.size() == 3);
    CHECK(equal(loaded.ema(), average, false));
    CHECK(loaded.ema().batches_tracked() == 9);
    CHECK(loaded.find("velocity")->statistics == false);
    CHECK(loaded.find("ema")->statistics == true);
    CHECK(loaded.find("nothing") == nullptr);
    for (const auto& slot : state.parameters.tensors()) {
      if (!slot.entry.learned()) continue;
      const auto velocity = state.optimizer[0].tensors[slot], second = state.optimizer[2].tensors[slot];
      for (std::size_t i = 0; i < slot.size; ++i) {
        CHECK(std::as_const(loaded.optimizer[0].tensors)[slot][i] == static_cast<float>(bfloat16(velocity[i])));
        CHECK(std::as_const(loaded.optimizer[2].tensors)[slot][i] == static_cast<float>(float16(second[i])));
      }
    }
    const Safetensors file(path);
    CHECK(file.find("optimizer.ema.bn1.running_mean") != nullptr);
    CHECK(file.find("optimizer.velocity.bn1.running_mean") == nullptr);
    CHECK(file.find("optimizer.velocity.fc.bias")->dtype == Dtype::BF16);
    CHECK(equal(load_safetensors<Tiny>(path), state.parameters, false));  // and plain weights for others
  }
  SUBCASE("names are different, and no paths; types are of floats") {
    const auto refused = [&] { return message_of<OptionError>([&] { save_checkpoint(path, state, some_state()); }); };
    state.optimizer = {{"a", filled<Tiny>(2)}, {"a", filled<Tiny>(2)}};
    CHECK(refused().find("letters and digits, each once, found \"a\"") != std::string::npos);
    state.optimizer = {{"a.b", filled<Tiny>(2)}};
    CHECK(refused().find("found \"a.b\"") != std::string::npos);
    auto large = filled<Tiny>(2);
    large["fc.bias"][0] = 1e6f;
    state.optimizer = {{"a", large, false, Dtype::F16}};
    CHECK(message_of<Error>([&] { save_checkpoint(path, state, some_state()); }) ==
          "checkpoint: not written: 1e+06 of an optimizer's state is beyond F16");
    state.optimizer = {{"a", filled<Tiny>(2), false, Dtype::I64}};
    CHECK(refused().find("expected an optimizer's state stored as F32, F16 or BF16, found I64") != std::string::npos);
    CHECK(folder.files() == 0);
  }
}

TEST_CASE("a checkpoint gives back everything, exactly") {
  const TemporaryFolder folder;
  auto parameters = filled<Tiny>(1), velocities = filled<Tiny>(2);
  parameters.set_batches_tracked(1234);
  const fs::path path = folder / "checkpoint-0000001234.safetensors";
  save_checkpoint(path, trained(parameters, velocities), some_state());
  CHECK(folder.files() == 1);

  const auto loaded = load_checkpoint<Tiny>(path);
  CHECK(equal(loaded.parameters, parameters, false));
  CHECK(loaded.parameters.batches_tracked() == 1234);
  REQUIRE(loaded.trainer.optimizer.size() == 1);
  CHECK(loaded.trainer.optimizer[0].name == "velocity");
  CHECK(equal(loaded.trainer.optimizer[0].tensors, velocities, true));
  CHECK(equal(loaded.trainer.parameters, parameters, false));
  REQUIRE(loaded.trainer.counters);
  CHECK(loaded.trainer.counters->loss_scale == 1024);
  CHECK(loaded.trainer.counters->good_steps == 7);
  CHECK(loaded.trainer.counters->steps == 1234);
  CHECK(loaded.trainer.counters->skipped == 2);
  CHECK(loaded.state.epoch == 2);
  CHECK(loaded.state.batch == 5);
  CHECK(loaded.state.step == 1234);
  CHECK(loaded.state.metrics.loss == 0.1 + 0.2);
  CHECK(loaded.state.metrics.correct == 17);
  CHECK(loaded.state.metrics.images == 40);
  CHECK(loaded.state.options == some_state().options);
  CHECK(loaded.state.class_names == some_state().class_names);
  CHECK(loaded.state.id == some_state().id);

  SUBCASE("others read it as plain weights") {
    CHECK(equal(load_safetensors<Tiny>(path), parameters, false));
    const Safetensors file(path);
    REQUIRE(file.find("layer1.0.conv2.weight"));
    CHECK(file.find("layer1.0.conv2.weight")->shape == std::vector<std::int64_t>{4, 2, 3, 3});
    REQUIRE(file.find("optimizer.velocity.layer1.0.conv2.weight"));
    CHECK(file.find("optimizer.velocity.bn1.running_mean") == nullptr);
  }
  SUBCASE("equal states give equal files") {
    save_checkpoint(folder / "again.safetensors", trained(parameters, velocities), some_state());
    CHECK(read_text(folder / "again.safetensors") == read_text(path));
  }
}

TEST_CASE("no byte of a checkpoint can change unnoticed, and no truncation") {
  const TemporaryFolder folder;
  const fs::path path = folder / "checkpoint-0000000001.safetensors", bad = folder / "bad.safetensors";
  save_checkpoint(path, trained(filled<Bare>(1), filled<Bare>(2)), some_state());
  const std::string good = read_text(path);
  REQUIRE(message_of<FileError>([&] { load_checkpoint<Bare>(path); }) == "");
  // Every byte of the header, and every 31st of the data; the bit walks through all eight.
  const std::size_t header = good.find("}}") + 64;
  std::size_t tried = 0, refused = 0;
  for (std::size_t at = 0; at < good.size(); at += at < header ? 1 : 31) {
    std::string text = good;
    text[at] = static_cast<char>(text[at] ^ (1 << (at % 8)));
    write_text(bad, text);
    ++tried;
    refused += !message_of<FileError>([&] { load_checkpoint<Bare>(bad); }).empty();
  }
  CHECK(refused == tried);
  for (std::size_t size = 0; size < good.size(); size += 97) {
    write_text(bad, good.substr(0, size));
    CHECK(message_of<FileError>([&] { load_checkpoint<Bare>(bad); }) != "");
  }
  CHECK(message_of<FileError>([&] { load_checkpoint<Bare>(folder / "none.safetensors"); }) != "");
  save_safetensors(bad, filled<Bare>(1));
  CHECK(message_of<FileError>([&] { load_checkpoint<Bare>(bad); }) ==
        bad.string() + ": expected a checkpoint, found no metadata resnext.checksum");
}

TEST_CASE("another network's checkpoint is refused, in words") {
  const TemporaryFolder folder;
  const fs::path path = folder / "checkpoint-0000000001.safetensors";
  save_checkpoint(path, trained(filled<Tiny>(1), filled<Tiny>(2)), some_state());
  const std::string shapes = message_of<FileError>([&] { load_checkpoint<OtherWidth>(path); });
  CHECK(shapes.find("layer1.0.conv1.weight: expected [6, 4, 1, 1], found [4, 4, 1, 1]") != std::string::npos);
  const std::string names = message_of<FileError>([&] { load_checkpoint<Plain>(path); });
  CHECK(names.find("missing") != std::string::npos);
  CHECK(names.find("unexpected") != std::string::npos);
  // The same tensors, but without the addition.
  save_checkpoint(path, trained(filled<Bare>(1), filled<Bare>(2)), some_state());
  CHECK(message_of<FileError>([&] { load_checkpoint<BareWithout>(path); }).find("of another network") !=
        std::string::npos);
}

TEST_CASE("metadata are checked even when the checksum is right") {
  const TemporaryFolder folder;
  const fs::path path = folder / "checkpoint-0000000001.safetensors";
  const auto parameters = filled<Bare>(1);
  const auto with = [&](const std::string& key, const std::string& value) {
    save_checkpoint(path, trained(parameters, parameters), some_state());
    const Safetensors file(path);
    auto metadata = file.metadata();
    metadata[key] = value;
    std::vector<TensorView> tensors;
    for (const auto& entry : file.entries()) {
      tensors.emplace_back(entry.name, entry.dtype, entry.shape, file.bytes(entry));
    }
    metadata["resnext.checksum"] = detail::checksum_of(tensors, metadata);
    write_safetensors(folder / "changed.safetensors", tensors, metadata);
    return message_of<FileError>([&] { load_checkpoint<Bare>(folder / "changed.safetensors"); });
  };
  CHECK(with("resnext.option.note", "anything") == "");
  for (const std::string value : {"4", "0", "-1", "2.5", "x"}) {
    CHECK(with("resnext.checkpoint", value).find("version 1 to 3, found \"" + value + "\"") != std::string::npos);
  }
  for (const std::string value : {"", "[\"velocity\",\"velocity\"]", "[\"\"]", "[\"a.b\"]", "[\"momentum\"]"}) {
    CAPTURE(value);
    CHECK(with("resnext.optimizer", value) != "");
  }
  for (const std::string value : {"", "a|b", "[\"a\"", "[\"a\",]", "[1]", "[\"a\"] b"}) {
    CAPTURE(value);
    CHECK(with("resnext.classes", value) != "");
  }
  for (const std::string value : {"-1", "", "3x", "99999999999999999999", "nan", " 1", "+1", "0x1"}) {
    CAPTURE(value);
    CHECK(with("resnext.epoch", value).find("metadata resnext.epoch: expected a number from 0") != std::string::npos);
  }
  for (const std::string value : {"nan", "inf", "-0.5", "1,5", " 1", "+1", "0x1", "1e999"}) {
    CAPTURE(value);
    CHECK(with("resnext.loss", value) != "");
  }
}

TEST_CASE(
    "checkpoints of versions 1 and 2 are read: nothing is counted, the first has no id, and its names are joined") {
  const TemporaryFolder folder;
  const fs::path path = folder / "checkpoint-0000001234.safetensors",
                 old = folder / "checkpoint-0000000009.safetensors";
  const auto parameters = filled<Bare>(1);
  save_checkpoint(path, trained(parameters, parameters), some_state());
  const Safetensors file(path);
  auto metadata = file.metadata();
  for (const char* key : {"optimizer", "loss_scale", "good_steps", "steps", "skipped"}) {
    metadata.erase(std::string("resnext.") + key);
  }
  const auto write = [&] {
    metadata.erase("resnext.checksum");
    std::vector<TensorView> tensors;
    for (const auto& entry : file.entries()) {
      tensors.emplace_back(entry.name, entry.dtype, entry.shape, file.bytes(entry));
    }
    metadata["resnext.checksum"] = detail::checksum_of(tensors, metadata);
    write_safetensors(old, tensors, metadata);
  };
  metadata["resnext.checkpoint"] = "2";
  write();
  const auto second = load_checkpoint<Bare>(old);
  CHECK(second.state.id == some_state().id);
  CHECK(!second.trainer.counters);
  REQUIRE(second.trainer.optimizer.size() == 1);
  CHECK(equal(second.trainer.find("velocity")->tensors, parameters, true));
  metadata["resnext.checkpoint"] = "1";
  metadata["resnext.option.classes"] = "T-shirt/top|caf\xc3\xa9|Bag";
  metadata.erase("resnext.id");
  metadata.erase("resnext.classes");
  write();
  const RunState state = load_checkpoint<Bare>(old).state;
  CHECK(state.step == 1234);
  CHECK(state.id.empty());
  CHECK(state.class_names == std::vector<std::string>{"T-shirt/top", "caf\xc3\xa9", "Bag"});
  CHECK(state.options == some_state().options);

  // It may be of a run that is resumed, not of one that begins; nobody removes it.
  fs::remove(path);
  CHECK_NOTHROW(check_run_folder(folder.path(), {.step = 1234, .id = "a"}));
  CHECK_THROWS_AS(check_run_folder(folder.path(), {.id = "a"}), FileError);
  CHECK_THROWS_AS(check_run_folder(folder.path(), {}), FileError);
  for (const char* id : {"", "a"}) prune_checkpoints(folder.path(), 1, {.step = 2, .id = id});
  CHECK(fs::exists(old));
}

TEST_CASE("texts that are not UTF-8 are refused, each by its name") {
  const TemporaryFolder folder;
  const fs::path path = folder / "checkpoint-0000000001.safetensors";
  const auto parameters = filled<Bare>(1);
  const auto refused = [&](const RunState& state) {
    return message_of<OptionError>([&] { save_checkpoint(path, trained(parameters, parameters), state); });
  };
  RunState state = some_state();
  state.class_names = {"tea", "caf\xe9"};
  CHECK(refused(state).find(": not written: \"resnext.classes\": expected UTF-8, found the byte 233 in ") !=
        std::string::npos);
  CHECK(refused(state).ends_with("; convert it, e.g. iconv -f latin1 -t utf-8"));
  state = some_state();
  state.options["folder"] = "caf\xe9";
  CHECK(refused(state).find("\"resnext.option.folder\"") != std::string::npos);
  state = some_state();
  state.options["caf\xe9"] = "";
  CHECK(refused(state) != "");
  state = some_state();
  state.id = "\xff";
  CHECK(refused(state).find("\"resnext.id\"") != std::string::npos);
  CHECK(folder.files() == 0);
}

TEST_CASE("ids of runs are 16 hexadecimal digits, and no two are the same") {
  std::set<std::string> ids;
  for (int i = 0; i < 1000; ++i) {
    const std::string id = new_run_id();
    CHECK(id.size() == 16);
    CHECK(id.find_first_not_of("0123456789abcdef") == std::string::npos);
    ids.insert(id);
  }
  CHECK(ids.size() == 1000);
}

TEST_CASE("the newest intact checkpoint is found, and it is said which were passed over") {
  const TemporaryFolder folder;
  CHECK(!latest_checkpoint(folder.path()));
  CHECK(!latest_checkpoint(folder / "none"));
  const auto parameters = filled<Bare>(1);
  for (const int step : {9, 10, 100}) {
    save_checkpoint(checkpoint_path(folder.path(), step), trained(parameters, parameters), some_state());
  }
  write_text(folder / "checkpoint-x.safetensors", "no number");
  write_text(folder / "other.safetensors", "another file");
  CHECK(latest_checkpoint(folder.path()) == checkpoint_path(folder.path(), 100));

  const std::string good = read_text(checkpoint_path(folder.path(), 100));
  write_text(checkpoint_path(folder.path(), 100), good.substr(0, good.size() - 1));
  std::vector<std::string> said;
  const auto listen = [&](const std::string& message) { said.push_back(message); };
  CHECK(latest_checkpoint(folder.path(), listen) == checkpoint_path(folder.path(), 10));
  REQUIRE(said.size() == 1);
  CHECK(said[0].find("checkpoint-0000000100.safetensors") != std::string::npos);

  write_text(checkpoint_path(folder.path(), 10), "");
  write_text(checkpoint_path(folder.path(), 9), "x");
  CHECK(message_of<FileError>([&] { latest_checkpoint(folder.path()); }).find("none of its 3 checkpoints is intact") !=
        std::string::npos);
}

TEST_CASE("the last few of a run are kept, nothing that was given up, and all of other runs") {
  const TemporaryFolder folder;
  const auto parameters = filled<Bare>(1);
  const auto save = [&](int step, const std::string& id) {
    save_checkpoint(checkpoint_path(folder.path(), step), trained(parameters, parameters), {.step = step, .id = id});
  };
  for (const int step : {1, 2, 3, 5, 50}) save(step, "this");
  for (const int step : {4, 60}) save(step, "other");
  write_text(checkpoint_path(folder.path(), 70), "damaged");
  write_text(folder / "checkpoint-0000000007.safetensors.123-0.tmp", "killed in the middle");
  for (const char* name : {"notes.tmp", "checkpoint-notes.tmp"}) write_text(folder / name, "somebody else's");
  CHECK(
      message_of<FileError>([&] { check_run_folder(folder.path(), {.step = 5, .id = "this"}); }) ==
      checkpoint_path(folder.path(), 60).string() +
          ": expected no checkpoint but those of the run \"this\", found one of the run \"other\": resume that run, or "
          "take another folder");
  prune_checkpoints(folder.path(), 2, {.step = 5, .id = "this"});
  std::vector<fs::path> expected;
  for (const int step : {70, 60, 5, 4, 3}) expected.push_back(checkpoint_path(folder.path(), step));
  CHECK(checkpoints_in(folder.path()) == expected);
  CHECK(folder.files() == 7);
  for (const char* name : {"notes.tmp", "checkpoint-notes.tmp"}) CHECK(fs::exists(folder / name));
  CHECK_NOTHROW(check_run_folder(folder / "none", {}));

  // a run that was killed before its second checkpoint was whole goes on from its first
  const TemporaryFolder young;
  save_checkpoint(checkpoint_path(young.path(), 0), trained(parameters, parameters), {.id = "this"});
  write_text(checkpoint_path(young.path(), 1), "damaged");
  CHECK_NOTHROW(check_run_folder(young.path(), {.id = "this"}));
  CHECK_THROWS_AS(check_run_folder(young.path(), {.id = "other"}), FileError);
  CHECK_THROWS_AS(check_run_folder(young.path(), {}), FileError);
}

TEST_CASE("a state that is not finite is not written") {
  const TemporaryFolder folder;
  const fs::path path = folder / "checkpoint-0000000001.safetensors";
  auto good = filled<Tiny>(1), bad = good;
  bad["layer2.0.bn1.running_var"][1] = std::numeric_limits<float>::infinity();
  CHECK(message_of<Error>([&] {
          save_checkpoint(path, trained(bad, good), some_state());
        }).find("layer2.0.bn1.running_var is infinite or not a number after step 1234") != std::string::npos);
  bad = good;
  bad["fc.bias"][0] = std::numeric_limits<float>::quiet_NaN();
  CHECK(message_of<Error>([&] {
          save_checkpoint(path, trained(good, bad), some_state());
        }).find("fc.bias (velocity)") != std::string::npos);
  CHECK(folder.files() == 0);
}
