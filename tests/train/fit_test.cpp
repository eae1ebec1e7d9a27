#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include <resnext/nn/make_executors.hpp>
#include <resnext/train/fit.hpp>
#include <resnext/train/progress.hpp>

#include "files.hpp"
#include "train/run.hpp"

using namespace resnext;
using test::Run;
using test::Tiny;
using testing::message_of;
using testing::read_text;
using testing::TemporaryFolder;

TEST_CASE("a run learns, evaluates every epoch and reports") {
  const TemporaryFolder folder;
  Run run;
  FitOptions options = Run::options(folder.path());
  options.epochs = 8;
  options.schedule = Schedule::cosine(0.1, 8 * 7);
  options.keep = 2;
  std::vector<EpochResult> epochs;
  options.epoch_done = [&](const EpochResult& result) { epochs.push_back(result); };
  std::vector<TrainingProgress> reports;
  options.progress = [&](const TrainingProgress& progress) { reports.push_back(progress); };
  CHECK(run.fit(options));
  REQUIRE(epochs.size() == 8);
  for (std::size_t i = 0; i < epochs.size(); ++i) {
    CHECK(epochs[i].epoch == static_cast<int>(i));
    CHECK(epochs[i].step == static_cast<std::int64_t>(i + 1) * 7);
    CHECK(epochs[i].train.images == 50);
    REQUIRE(epochs[i].test);
    CHECK(epochs[i].test->images == 30);
  }
  CHECK(epochs.back().test->top1() > 0.9);
  CHECK(epochs.back().test->mean_loss() < epochs.front().test->mean_loss());
  REQUIRE(!reports.empty());
  CHECK(reports.back().batch == 7);
  CHECK(reports.back().seconds_left == doctest::Approx(0));
  CHECK(reports.back().metrics.images == 50);
  CHECK(checkpoints_in(folder.path()) ==
        std::vector{checkpoint_path(folder.path(), 56), checkpoint_path(folder.path(), 49)});
  CHECK(run.state.epoch == 8);
  CHECK(run.fit(options));  // nothing is left to do
  CHECK(epochs.size() == 8);
}

TEST_CASE("a resumed run equals the one that was never stopped, bit for bit") {
  const TemporaryFolder whole_folder;
  Run whole;
  std::vector<double> losses;
  FitOptions options = Run::options(whole_folder.path());
  options.epoch_done = [&](const EpochResult& result) { losses.push_back(result.test->loss); };
  REQUIRE(whole.fit(options));
  const std::string expected = read_text(checkpoint_path(whole_folder.path(), 21));
  REQUIRE(!expected.empty());

  // Stopped before the first step, within an epoch, at its end, in the last epoch; each time a new program.
  for (const int workers : {0, 2}) {
    const TemporaryFolder folder;
    options = Run::options(folder.path());
    std::vector<double> resumed_losses;
    options.epoch_done = [&](const EpochResult& result) { resumed_losses.push_back(result.test->loss); };
    const std::vector<int> stops{0, 1, 6, 7, 10, 20};
    for (const int stop : stops) {
      Run run(workers);
      if (stop != stops.front()) run.resume(*latest_checkpoint(folder.path()));
      options.stop = [&] { return run.state.step == stop; };
      CHECK(!run.fit(options));
      CHECK(run.state.step == stop);
    }
    Run last(workers);
    last.resume(*latest_checkpoint(folder.path()));
    CHECK(last.state.step == 20);
    options.stop = {};
    CHECK(last.fit(options));
    CHECK(read_text(checkpoint_path(folder.path(), 21)) == expected);
    CHECK(resumed_losses == losses);
  }
}

TEST_CASE("a run of a network that is chosen at run time is that of its type, also resumed") {
  using B = Reference<float>;
  const TemporaryFolder typed_folder, folder;
  Run typed;
  REQUIRE(typed.fit(Run::options(typed_folder.path())));

  const NetworkList<Tiny> networks{{"tiny"}};
  const TrainerOptions recipe{.sgd = {.momentum = 0.9, .weight_decay = 1e-4, .nesterov = true}};
  const auto begun = make_trainer(networks, BackendList<B>(), "tiny", "", 3, recipe);
  Run data;  // for its loaders
  FitOptions options = Run::options(folder.path());
  options.stop = [&] { return data.state.step == 9; };
  CHECK(!fit(*begun, data.train, &data.test, data.state, options));

  const auto resumed = make_trainer(networks, BackendList<B>(), "tiny", "", 3, recipe);
  const AnyCheckpoint checkpoint = load_checkpoint(*latest_checkpoint(folder.path()), resumed->layers());
  resumed->restore(checkpoint.trainer);
  RunState state = checkpoint.state;
  CHECK(state.step == 9);
  CHECK(fit(*resumed, data.train, &data.test, state, Run::options(folder.path())));
  CHECK(read_text(checkpoint_path(folder.path(), 21)) == read_text(checkpoint_path(typed_folder.path(), 21)));

  Classifier<Tiny, B> classifier(typed.trainer.parameters());
  CHECK(evaluate(*resumed->classifier(), data.test).loss == evaluate(classifier, typed.test).loss);
}

TEST_CASE("checkpoints within an epoch change nothing") {
  const TemporaryFolder folder, often;
  Run run, other;
  REQUIRE(run.fit(Run::options(folder.path())));
  FitOptions options = Run::options(often.path());
  options.checkpoint_every = 2;
  options.keep = 100;
  REQUIRE(other.fit(options));
  CHECK(read_text(checkpoint_path(often.path(), 21)) == read_text(checkpoint_path(folder.path(), 21)));
  CHECK(checkpoints_in(often.path()).size() == 13);  // steps 0, 2, ..., 20, and 7, 21
}

TEST_CASE("a loss that is not finite stops the run with the step, the layer, and the last good checkpoint") {
  // The rate is harmless until step 9, which makes weights so large that step 10 overflows. The loss is looked at after
  // every step, after some, or at the end of the epoch only: it is always the same step.
  for (const int every : {1, 3, 100}) {
    const TemporaryFolder folder;
    Run run;
    FitOptions options = Run::options(folder.path());
    options.report_every = every;
    options.schedule = Schedule::step_decay(1e-30, {8}, 1e68);
    const std::string message = message_of<Error>([&] { run.fit(options); });
    CAPTURE(message);
    CHECK(message.starts_with("the loss became "));
    CHECK(message.find(" at step 10 (epoch 2, learning rate ") != std::string::npos);
    CHECK(message.find("first seen in the output of conv1; ") != std::string::npos);
    CHECK(message.find("the last good checkpoint is " + checkpoint_path(folder.path(), 7).string()) !=
          std::string::npos);
    CHECK(latest_checkpoint(folder.path()) == checkpoint_path(folder.path(), 7));
    for (const float weight : run.trainer.parameters()["fc.weight"]) CHECK(std::isfinite(weight));
  }
}

TEST_CASE("the layer in which the loss became infinite is the one with the bad weight, also in a resumed run") {
  const TemporaryFolder folder;
  const std::string names[] = {"conv1", "layer1.0.conv2", "layer2.0.downsample.0", "fc"};
  for (const std::string& name : names) {
    Run run;
    auto parameters = initialized<Tiny>(3);
    parameters[name + ".weight"][0] = 3e38f;
    if (name == "fc") parameters["fc.bias"][0] = 3e38f;
    run.trainer.restore({parameters});
    run.state.epoch = 1;
    run.state.batch = 2;
    run.state.step = 9;
    const std::string message = message_of<Error>([&] { run.fit(Run::options(folder.path())); });
    CAPTURE(message);
    CHECK(message.find(" at step 10 (epoch 2, ") != std::string::npos);
    CHECK(message.find("in the output of " + name + "; there is no checkpoint") != std::string::npos);
  }
}

TEST_CASE("a weight that is not finite is not written, and the last good checkpoint is named") {
  const TemporaryFolder folder;
  Run run;
  FitOptions options = Run::options(folder.path());
  options.schedule = Schedule::step_decay(1e-30, {13}, 1e300);  // of the last step of the second epoch
  const std::string message = message_of<Error>([&] { run.fit(options); });
  CAPTURE(message);
  CHECK(message.find("is infinite or not a number after step 14; the last good checkpoint is " +
                     checkpoint_path(folder.path(), 7).string()) != std::string::npos);
}

TEST_CASE("a run without an id gets one and keeps it; another run is refused in its folder and removes nothing") {
  const TemporaryFolder folder;
  FitOptions options = Run::options(folder.path());
  Run run;
  run.state = {};
  REQUIRE(run.fit(options));
  const std::string id = run.state.id;
  CHECK(id.size() == 16);
  const auto files = checkpoints_in(folder.path());
  for (const auto& file : files) CHECK(run_id_of(file) == id);

  Run again;
  again.state = {};
  options.epochs = 1;
  const std::string message = message_of<FileError>([&] { again.fit(options); });
  CAPTURE(message);
  CHECK(message.find("found one of the run \"" + id + "\": resume that run, or take another folder") !=
        std::string::npos);
  CHECK(again.state.step == 0);
  CHECK(checkpoints_in(folder.path()) == files);

  // Resumed from the one before the last, it replaces its own later ones.
  Run resumed;
  resumed.resume(checkpoint_path(folder.path(), 14));
  CHECK(resumed.state.id == id);
  options.epochs = 4;
  options.stop = [&] { return resumed.state.step == 16; };
  CHECK(!resumed.fit(options));
  CHECK(checkpoints_in(folder.path()) == std::vector{checkpoint_path(folder.path(), 16),
                                                     checkpoint_path(folder.path(), 14),
                                                     checkpoint_path(folder.path(), 7)});
}

TEST_CASE("what makes a checkpoint impossible is known before the first step") {
  const TemporaryFolder folder;
  Run run;
  run.state.class_names = {"caf\xe9"};
  const std::string message = message_of<OptionError>([&] { run.fit(Run::options(folder.path())); });
  CHECK(message.find("\"resnext.classes\": expected UTF-8") != std::string::npos);
  CHECK(message.find("learning rate") == std::string::npos);
  CHECK(run.state.step == 0);
  CHECK(folder.files() == 0);
}

TEST_CASE("impossible options and states are refused, with what was expected and found") {
  const auto refused = [](const auto& change) {
    Run run;
    FitOptions options = Run::options("");
    change(options, run.state);
    return message_of<OptionError>([&] { run.fit(options); });
  };
  CHECK(refused([](FitOptions& options, RunState&) { options.epochs = 0; }) == "fit: expected epochs from 1, found 0");
  CHECK(refused([](FitOptions& options, RunState&) { options.keep = 0; }) == "fit: expected keep from 1, found 0");
  CHECK(refused([](FitOptions& options, RunState&) { options.checkpoint_every = -1; }) ==
        "fit: expected checkpoint_every from 0, found -1");
  CHECK(refused([](FitOptions& options, RunState&) { options.report_every = 0; }) ==
        "fit: expected report_every from 1, found 0");
  CHECK(refused([](FitOptions&, RunState& state) { state.epoch = -1; }) ==
        "fit: expected a state with an epoch from 0, found -1");
  CHECK(refused([](FitOptions&, RunState& state) { state.batch = -1; }) ==
        "fit: expected a state with a batch from 0, found -1");
  CHECK(refused([](FitOptions&, RunState& state) { state.step = -1; }) ==
        "fit: expected a state with a step from 0, found -1");
  CHECK(refused([](FitOptions&, RunState& state) { state.batch = 8; }) ==
        "loader: expected an epoch from 0 and a batch from 0 to 7, found 0 and 8");
}

TEST_CASE("a folder that is not there is an error before anything is lost in silence") {
  const TemporaryFolder folder;
  Run run;
  CHECK(message_of<FileError>([&] { run.fit(Run::options(folder / "none")); }).find("none") != std::string::npos);
}

TEST_CASE("the progress line") {
  const TrainingProgress progress{1, 6, 50, 100, {.loss = 50, .correct = 75, .images = 100}, 5120.4, 65};
  CHECK(progress_line(progress, 10) ==
        "epoch 2/6 [=====>    ]  50 %  loss 0.5000  accuracy 75.00 %  5120 images/s  ETA 1:05");
  CHECK(progress_line(progress, 0) == "epoch 2/6  50 %  loss 0.5000  accuracy 75.00 %  5120 images/s  ETA 1:05");
  CHECK(progress_line({5, 6, 100, 100, {}, 0, 7384}, 3) ==
        "epoch 6/6 [===] 100 %  loss 0.0000  accuracy  0.00 %  0 images/s  ETA 2:03:04");
}
