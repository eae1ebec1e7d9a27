// Trains a network on Fashion-MNIST, CIFAR-10 or CIFAR-100.
//
//     train                                                    # ResNeXt-29's little sister on Fashion-MNIST
//     train --data cifar10 --folder cifar-10-batches-bin --network resnext29_8x64d --checkpoints run
//     train ... --checkpoints run --resume                     # goes on where that run was stopped, or begins it
//
// Without options it is the recipe of the paper's Sec. 5.3 as its code has it: 300 epochs of batches of 128, a rate of
// 0.1 divided by 10 after 150 and 225 epochs, Nesterov's momentum 0.9, a decay of 0.0005 on everything.
//
// CTRL-C, SIGTERM (containers), SIGHUP (a lost terminal), SIGUSR1 and SIGXCPU (batch systems) end the run after the
// current step and leave a checkpoint; the resumed run has the same bits as one that was never stopped. A folder
// belongs to one run: without --resume another one is refused there. Exit status: 0 done, 1 an error, 2 wrong options,
// 130 stopped by CTRL-C, 143 by SIGTERM, 128 and the signal's number by the others.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <locale>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include <resnext/backend/cpu/isa.hpp>
#include <resnext/backend/cpu/parallel.hpp>
#include <resnext/train/fit.hpp>
#include <resnext/train/log.hpp>
#include <resnext/train/progress.hpp>
#include <resnext/version.hpp>

#include "networks.hpp"

using namespace resnext;

namespace {

struct Options {
  std::string data = "fashion-mnist", folder, network = "small";
  int epochs = 300, batch = 128;
  double rate = 0.1, factor = 0.1, warmup = 0;
  std::string schedule = "step";
  std::vector<double> milestones{150, 225};
  double momentum = 0.9, decay = 5e-4, smoothing = 0, ema = 0;
  bool nesterov = true, flip = true;
  std::string decayed = "all", initializer = "paper";
  int ghost = 0, pad = 4;
  std::uint64_t seed = 1;
  int workers = 1, threads = 0;
  std::string checkpoints, id, log, curve;
  int keep = 3, checkpoint_every = 0;
  bool resume = false, quiet = false, json = false, profile = false;
};

std::atomic<int> interrupted = 0;  // the signal that asked for an end

/// The first CTRL-C or other request to end asks for one, the second is the system's: SIGTERM of containers, SIGHUP of
/// a terminal that is gone, SIGUSR1 and SIGXCPU of batch systems whose time is nearly up.
void stop_at_interrupt() {
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGXCPU}) {
    std::signal(number, [](int signal) {
      interrupted = signal;
      std::signal(signal, SIG_DFL);
    });
  }
}

Schedule schedule_of(const Options& options, int steps_per_epoch) {
  const auto steps = [&](double epochs) { return std::int64_t{std::llround(epochs * steps_per_epoch)}; };
  std::vector<std::int64_t> milestones;
  for (const double epoch : options.milestones) milestones.push_back(steps(epoch));
  const Schedule schedule = options.schedule == "cosine"
                                ? Schedule::cosine(options.rate, steps(options.epochs))
                                : Schedule::step_decay(options.rate, milestones, options.factor);
  return schedule.warmed_up(steps(options.warmup));
}

/// All that decides the numbers of a run, but for the machine: the checkpoint remembers it.
std::map<std::string, std::string> recipe_of_run(const Options& options) {
  std::map<std::string, std::string> recipe;
  const auto put = [&](const char* name, const auto& value) {
    std::ostringstream text;
    text.imbue(std::locale::classic());
    text.precision(17);
    text << value;
    recipe[name] = text.str();
  };
  put("data", options.data);
  put("network", options.network);
  put("batch", options.batch);
  put("rate", options.rate);
  put("schedule", options.schedule);
  if (options.schedule == "cosine") {
    put("epochs", options.epochs);
  } else {
    std::ostringstream milestones;
    milestones.imbue(std::locale::classic());
    for (const double epoch : options.milestones) milestones << epoch << " ";
    put("milestones", milestones.str());
    put("factor", options.factor);
  }
  put("warmup", options.warmup);
  put("momentum", options.momentum);
  put("nesterov", options.nesterov);
  put("decay", options.decay);
  put("decayed", options.decayed);
  put("smoothing", options.smoothing);
  if (options.ema > 0) put("ema", options.ema);  // older checkpoints do not have it
  put("ghost", options.ghost);
  put("pad", options.pad);
  put("flip", options.flip);
  put("initializer", options.initializer);
  put("seed", options.seed);
  return recipe;
}

/// Where the time of a step goes.
void print_profile(AnyTrainer& trainer, Loader& loader) {
  Profile profile;
  trainer.set_learning_rate(0);
  loader.start(0, 0);
  // The last batch may be smaller: a profile is of one extent.
  for (int i = 0; i < std::clamp(loader.batches() - 1, 1, 10); ++i) {
    const Batch& batch = loader.next();
    trainer.step(batch.images, batch.labels, &profile);
  }
  std::fputs(profile.table(trainer.peak_gflops()).c_str(), stdout);
}

int run(const Options& options) {
  const auto& source = examples::source(options.data);
  const std::filesystem::path folder = options.folder.empty() ? source.folder : options.folder;
  const Dataset train_data = source.read(DatasetSplit::train, folder),
                test_data = source.read(DatasetSplit::test, folder);
  Augmentation augmentation = source.recipe();
  augmentation.pad = options.pad;
  augmentation.flip = options.flip;
  Loader train(train_data, augmentation, {.batch = options.batch, .seed = options.seed, .workers = options.workers});
  Loader test(test_data, normalisation_only(augmentation),
              {.batch = 200, .shuffle = false, .workers = options.workers});

  const auto initializer = options.initializer == "paper" ? Initializer::paper : Initializer::torchvision;
  const Decay decay = options.decayed == "all" ? Decay::all : Decay::weights_only;
  const auto trainer = examples::small_trainer(
      options.network, source, options.seed,
      {.sgd = {.momentum = options.momentum, .weight_decay = options.decay, .nesterov = options.nesterov},
       .decay = decay,
       .label_smoothing = options.smoothing,
       .ghost_batch = options.ghost,
       .ema_decay = options.ema},
      initializer);

  if (options.profile) {
    print_profile(*trainer, train);
    return 0;
  }

  RunState state{.options = recipe_of_run(options), .class_names = train_data.class_names, .id = options.id};
  const std::filesystem::path checkpoints = options.checkpoints;
  if (!checkpoints.empty()) std::filesystem::create_directories(checkpoints);
  if (options.resume) {
    const auto damaged = [](const std::string& what) { std::fprintf(stderr, "train: passed over %s\n", what.c_str()); };
    if (const auto latest = latest_checkpoint(checkpoints, damaged)) {
      const auto checkpoint = load_checkpoint(*latest, trainer->layers());
      const auto same = [&](const std::string& name, const std::string& value, const std::string& before) {
        if (before == value) return;
        throw_error<OptionError>(latest->string(), " is of another run: expected ", name, " = ", value, ", found ",
                                 before);
      };
      for (const auto& [name, value] : state.options) {
        const auto at = checkpoint.state.options.find(name);
        same(name, value, at == checkpoint.state.options.end() ? "nothing" : at->second);
      }
      const auto joined = [](const RunState& run) {  // as older checkpoints have them
        std::string names;
        for (const std::string& name : run.class_names) names += (names.empty() ? "" : "|") + name;
        return names;
      };
      same("classes", joined(state), joined(checkpoint.state));
      if (!options.id.empty()) same("id", options.id, checkpoint.state.id);
      trainer->restore(checkpoint.trainer);
      state = checkpoint.state;
      state.class_names = train_data.class_names;
      if (!options.json) std::printf("resumed from %s\n", latest->c_str());
    } else if (!options.json) {
      std::printf("no checkpoint in %s: starting from the beginning\n", checkpoints.c_str());
    }
  }
  if (state.id.empty()) state.id = new_run_id();
  if (!checkpoints.empty()) check_run_folder(checkpoints, state);

  std::map<std::string, std::string> notes = state.options;
  notes["resnext"] = std::string(library_version) + ", commit " RESNEXT_COMMIT;
  notes["compiler"] = __VERSION__;
  notes["backend"] = std::string(trainer->backend()) + ", " + trainer->libraries();
  notes["isa"] = isa_name(isa());
  notes["threads"] = std::to_string(thread_count());
  if (!options.quiet) {
    std::printf("%s on %s: %lld parameters, %.1f million multiply-adds an image; %s, %s, %d threads\n",
                options.network.c_str(), train_data.name.c_str(), static_cast<long long>(trainer->parameter_count()),
                static_cast<double>(trainer->macs(train_data.height, train_data.width)) * 1e-6,
                notes["backend"].c_str(), notes["isa"].c_str(), thread_count());
  }

  std::string log_path = options.log;
  if (log_path.empty() && !checkpoints.empty()) log_path = checkpoints / "log.csv";
  std::optional<RunLog> log;
  if (!log_path.empty()) log.emplace(log_path, state, notes);
  ProgressBar bar;
  std::optional<Accuracy> accuracy;

  FitOptions fitting;
  fitting.epochs = options.epochs;
  fitting.schedule = schedule_of(options, train.batches());
  fitting.checkpoints = checkpoints;
  fitting.keep = options.keep;
  fitting.checkpoint_every = options.checkpoint_every;
  fitting.stop = [] { return interrupted.load() != 0; };
  fitting.progress = [&](const TrainingProgress& progress) {
    if (!options.quiet) bar.update(progress);
  };
  fitting.epoch_done = [&](const EpochResult& result) {
    accuracy = result.test;
    bar.clear();
    if (log) log->add(result);
    if (options.json) {
      std::printf("%s\n", to_json(result).c_str());
      std::fflush(stdout);
    }
    if (options.quiet) return;
    std::printf(
        "epoch %d/%d  loss %.4f  accuracy %.2f %%  test loss %.4f  test accuracy %.2f %%  %.1f s  %.0f images/s\n",
        result.epoch + 1, options.epochs, result.train.mean_loss(), 100 * result.train.accuracy(),
        result.test->mean_loss(), 100 * result.test->top1(), result.seconds, result.images_per_second);
    std::fflush(stdout);
  };
  stop_at_interrupt();
  const bool finished = fit(*trainer, train, &test, state, fitting);
  bar.clear();

  if (!options.curve.empty() && !log_path.empty() && state.epoch > 0) {
    try {
      draw_learning_curve(std::array{std::filesystem::path(log_path)}, options.curve);
      if (!options.json) std::printf("learning curve: %s\n", options.curve.c_str());
    } catch (const FileError& error) {
      std::fprintf(stderr, "train: %s\n", error.what());  // a picture is not worth a failed run
    }
  }
  if (finished && !accuracy) accuracy = evaluate(*trainer->classifier(), test);
  if (options.json) {
    nlohmann::json result{{"finished", finished}, {"step", state.step}};
    if (!checkpoints.empty()) result["checkpoint"] = checkpoint_path(checkpoints, state.step).string();
    if (finished) result["test_accuracy"] = accuracy->top1();
    // A path need not be UTF-8, JSON must be.
    std::printf("%s\n", result.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
    return finished ? 0 : 128 + interrupted;
  }
  if (!checkpoints.empty()) std::printf("checkpoint: %s\n", checkpoint_path(checkpoints, state.step).c_str());
  if (!finished) {
    std::printf("stopped after step %lld, in epoch %d of %d%s\n", static_cast<long long>(state.step), state.epoch + 1,
                options.epochs, checkpoints.empty() ? "" : "; --resume goes on from here");
    return 128 + interrupted;
  }
  std::printf("test accuracy: %.2f %%\n", 100 * accuracy->top1());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Trains a network on Fashion-MNIST, CIFAR-10 or CIFAR-100.");
  app.footer(
      "Exit status: 0 done, 1 an error, 2 wrong options, 130 stopped by CTRL-C, 143 by SIGTERM, 128 + n by "
      "signal n (with a checkpoint).");
  app.option_defaults()->always_capture_default()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.add_option("--data", options.data, "Data set")->check(CLI::IsMember({"fashion-mnist", "cifar10", "cifar100"}));
  app.add_option("--folder", options.folder, "Where its files are (fashion-mnist: Debian's folder)");
  app.add_option("--network", options.network, "Network")->check(CLI::IsMember(examples::small_networks()));
  app.add_option("--epochs", options.epochs, "Epochs")->check(CLI::Range(1, 100000));
  app.add_option("--batch", options.batch, "Images a step")->check(CLI::Range(1, 1 << 20));
  app.add_option("--rate", options.rate, "Learning rate");
  app.add_option("--schedule", options.schedule, "How the rate falls")->check(CLI::IsMember({"step", "cosine"}));
  app.add_option("--milestones", options.milestones, "Epochs after which a step schedule falls");
  app.add_option("--factor", options.factor, "By which it falls");
  app.add_option("--warmup", options.warmup, "Epochs in which the rate rises to its full height")
      ->check(CLI::Range(0., 1e5));
  app.add_option("--momentum", options.momentum, "Momentum")->check(CLI::Range(0.0, 1.0));
  app.add_flag("--nesterov,!--no-nesterov", options.nesterov, "Nesterov's momentum");
  app.add_option("--decay", options.decay, "Weight decay")->check(CLI::Range(0.0, 1.0));
  app.add_option("--decayed", options.decayed, "What it applies to")->check(CLI::IsMember({"all", "weights"}));
  app.add_option("--smoothing", options.smoothing, "Label smoothing")->check(CLI::Range(0.0, 1.0));
  app.add_option("--ema", options.ema, "Share that a step leaves of the moving average that is evaluated, 0 for none")
      ->check(CLI::Range(0.0, 0.999999));
  app.add_option("--ghost", options.ghost, "Images that share batch statistics, 0 for all")
      ->check(CLI::Range(0, 1 << 20));
  app.add_option("--pad", options.pad, "Pixels by which crops may be moved")->check(CLI::Range(0, 64));
  app.add_flag("--flip,!--no-flip", options.flip, "Mirror every other image");
  app.add_option("--initializer", options.initializer, "Start")->check(CLI::IsMember({"paper", "torchvision"}));
  app.add_option("--seed", options.seed, "Of the start, the order and the augmentation");
  app.add_option("--workers", options.workers, "Threads that prepare batches")->check(CLI::Range(0, 256));
  app.add_option("--threads", options.threads, "Threads that compute, 0 for all")->check(CLI::Range(0, 1024));
  app.add_option("--checkpoints", options.checkpoints, "Folder for checkpoints and log.csv of one run");
  app.add_option("--id", options.id, "Tells the run from others in its checkpoints and log (random)");
  app.add_option("--keep", options.keep, "Checkpoints to keep")->check(CLI::Range(1, 1 << 20));
  app.add_option("--checkpoint-every", options.checkpoint_every, "Steps, beside one an epoch")
      ->check(CLI::Range(0, 1 << 30));
  app.add_flag("--resume", options.resume, "Go on from the newest intact checkpoint, if there is one")
      ->needs("--checkpoints");
  app.add_option("--log", options.log, "File with a row an epoch: JSON lines if it ends in .jsonl, else CSV");
  app.add_option("--curve", options.curve, "Picture of the learning curve, .png or .svg (needs gnuplot)");
  app.add_flag("--quiet", options.quiet, "Print the result only");
  app.add_flag("--json", options.json, "Print JSON lines only: one an epoch, and the result");
  app.add_flag("--profile", options.profile, "Print the time of every layer in the first steps, and end");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }

  try {
    options.quiet = options.quiet || options.json;
    if (options.threads > 0) set_thread_count(options.threads);
    return run(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "train: %s\n", error.what());
    return 1;
  }
}
