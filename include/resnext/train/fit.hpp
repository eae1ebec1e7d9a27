/// @file
/// The loop of a training run: epochs, evaluation, checkpoints, and how it ends.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>

#include <resnext/clock.hpp>
#include <resnext/data/loader.hpp>
#include <resnext/error.hpp>
#include <resnext/eval/accuracy.hpp>
#include <resnext/nn/any_executors.hpp>
#include <resnext/nn/executor_adapters.hpp>
#include <resnext/tensor/number.hpp>
#include <resnext/train/checkpoint.hpp>
#include <resnext/train/report.hpp>
#include <resnext/train/schedule.hpp>

namespace resnext {

/// How `fit` runs, and who watches.
struct FitOptions {
  int epochs = 1;                                     ///< in all, at least 1, those before a resume included
  Schedule schedule = Schedule::step_decay(0.1, {});  ///< of the learning rate
  std::filesystem::path checkpoints{};                ///< an existing folder, of this run alone; empty to write none
  int keep = 3;                                       ///< checkpoints that stay, at least 1
  int checkpoint_every = 0;                           ///< steps; 0 for those of the start and of each epoch's end only
  int report_every = 10;         ///< steps, at least 1, after which the loss is looked at and progress is reported
  std::function<bool()> stop{};  ///< asked before every step and in evaluations; true ends the run with a checkpoint
  std::function<void(const TrainingProgress&)> progress{};  ///< called now and then
  std::function<void(const EpochResult&)> epoch_done{};     ///< before that epoch's checkpoint is written
};

namespace detail {

inline void check(const FitOptions& options, const RunState& state) {
  const auto at_least = [](const char* what, std::int64_t least, std::int64_t found) {
    if (found < least) throw_error<OptionError>("fit: expected ", what, " from ", least, ", found ", found);
  };
  at_least("epochs", 1, options.epochs);
  at_least("keep", 1, options.keep);
  at_least("checkpoint_every", 0, options.checkpoint_every);
  at_least("report_every", 1, options.report_every);
  at_least("a state with an epoch", 0, state.epoch);
  at_least("a state with a batch", 0, state.batch);
  at_least("a state with a step", 0, state.step);
}

}  // namespace detail

/// Trains from `state` to the end of the last epoch and keeps `state` up to date. The numbers of a run that is
/// interrupted, restored with `trainer.restore` and fitted again are those of one that was never stopped, bit for bit.
///
/// A state without an id gets one. A run that begins writes a checkpoint before its first step: whatever makes that
/// impossible is known at once. Only checkpoints of the same run are ever removed. Rank 0 alone looks at the folder and
/// writes into it; loss, progress and `options.stop` are those of each rank.
/// @param test evaluated after each epoch unless it is null, with the moving average where the trainer has one
/// @return false when `options.stop` ended it
/// @throws OptionError when an option or the state is impossible or a text of the state is not UTF-8; Error when the
/// loss or a weight becomes infinite or not a number, with the step, the layer in whose output it first appeared and
/// the last good checkpoint; FileError when the folder has checkpoints of another run, or one cannot be written
inline bool fit(AnyTrainer& trainer, Loader& train, Loader* test, RunState& state, const FitOptions& options) {
  detail::check(options, state);
  const Dataset& data = train.dataset();
  if (state.id.empty()) state.id = new_run_id();
  const bool writes = !options.checkpoints.empty() && trainer.rank() == 0;
  if (writes) {
    if (!std::filesystem::is_directory(options.checkpoints)) {
      throw_error<FileError>(options.checkpoints.string(), ": expected a folder for checkpoints, found none");
    }
    check_run_folder(options.checkpoints, state);
  }
  std::filesystem::path last_checkpoint;  // so far that of a run that is resumed
  if (!options.checkpoints.empty()) last_checkpoint = checkpoint_path(options.checkpoints, state.step);
  if (!std::filesystem::exists(last_checkpoint)) last_checkpoint.clear();
  const auto advice = [&] {
    return (last_checkpoint.empty() ? "there is no checkpoint"
                                    : "the last good checkpoint is " + last_checkpoint.string()) +
           ". Try a lower learning rate or a longer warm-up";
  };
  const auto save = [&] {
    if (!writes) return;
    const auto path = checkpoint_path(options.checkpoints, state.step);
    try {
      save_checkpoint(path, trainer.state(), state);
    } catch (const FileError&) {
      throw;
    } catch (const OptionError&) {
      throw;
    } catch (const Error& error) {
      throw_error<Error>(error.what(), "; ", advice());
    }
    prune_checkpoints(options.checkpoints, options.keep, state);
    last_checkpoint = path;
  };
  int first_unread = state.batch;  // of the batches whose metrics wait in the backend's memory
  // The trainer has the weights that the first bad batch was given: that batch shows where it went wrong.
  const auto stop_at_bad_loss = [&](const TrainingMetrics& fresh) {
    int bad = first_unread;
    train.start(state.epoch, bad);
    const Batch* batch = &train.next();
    for (double good = fresh.images; batch->count <= good; ++bad) {
      good -= batch->count;
      batch = &train.next();
    }
    const auto place = trainer.first_not_finite(batch->images, batch->labels);
    const std::int64_t step = state.step - state.batch + bad + 1;
    throw_error<Error>("the loss became ", fresh.loss, " at step ", step, " (epoch ", state.epoch + 1,
                       ", learning rate ", options.schedule(step - 1), "), first seen ",
                       place ? "in " + *place : "on another rank", "; ", advice());
  };
  const auto read_metrics = [&] {
    const TrainingMetrics fresh = trainer.read_metrics();
    if (!is_finite(fresh.loss)) stop_at_bad_loss(fresh);
    first_unread = state.batch;
    state.metrics.loss += fresh.loss;
    state.metrics.correct += fresh.correct;
    state.metrics.images += fresh.images;
  };

  std::unique_ptr<AnyClassifier> classify;  // of the epoch before
  train.start(state.epoch, state.batch);
  if (state.step == 0 && state.epoch < options.epochs) save();
  while (state.epoch < options.epochs) {
    const detail::Stopwatch watch;
    std::int64_t images = 0;  // of this process, unlike state.metrics
    while (state.batch < train.batches()) {
      if (options.stop && options.stop()) {
        read_metrics();
        save();
        return false;
      }
      trainer.set_learning_rate(options.schedule(state.step));
      const Batch& batch = train.next();
      trainer.step(batch.images, batch.labels);
      ++state.batch;
      ++state.step;
      images += batch.count;
      const bool last = state.batch == train.batches();
      const bool save_now = !last && options.checkpoint_every > 0 && state.step % options.checkpoint_every == 0;
      if (!last && !save_now && state.step % options.report_every != 0) continue;
      read_metrics();
      if (save_now) save();
      if (!options.progress) continue;
      const double speed = static_cast<double>(images) / watch.seconds();
      const double epochs_left = options.epochs - state.epoch - static_cast<double>(state.batch) / train.batches();
      options.progress({state.epoch, options.epochs, state.batch, train.batches(), state.metrics, speed,
                        static_cast<double>(data.size()) * epochs_left / (speed * trainer.ranks())});
    }
    EpochResult result{state.epoch,     state.step, options.schedule(state.step - 1), state.metrics, {},
                       watch.seconds(), 0};
    result.images_per_second = static_cast<double>(images) / result.seconds;
    if (test != nullptr) {
      if (classify == nullptr) {
        classify = trainer.classifier();
      } else {
        classify->replace(trainer.ema());
      }
      // A long evaluation must not keep who asked for an end waiting: it is made up for when the run goes on.
      struct Stopped {};
      const auto ask = [&](const Batch&, std::span<const float>) {
        if (options.stop && options.stop()) throw Stopped();
      };
      try {
        result.test = evaluate(*classify, *test, ask);
      } catch (const Stopped&) {
        save();
        return false;
      }
    }
    if (options.epoch_done) options.epoch_done(result);
    ++state.epoch;
    state.batch = first_unread = 0;
    state.metrics = {};
    save();
  }
  return true;
}

/// The same for a trainer whose network and backend are types.
template <class Net, Backend B, class Comm>
bool fit(Trainer<Net, B, Comm>& trainer, Loader& train, Loader* test, RunState& state, const FitOptions& options) {
  detail::TrainerOf<Net, B, Comm, Trainer<Net, B, Comm>&> any(trainer);
  return fit(any, train, test, state, options);
}

}  // namespace resnext
