/// @file
/// The record of a run: a file with a row an epoch, and its learning curve.
#pragma once

#include <array>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <resnext/error.hpp>
#include <resnext/io/file.hpp>
#include <resnext/io/gnuplot.hpp>
#include <resnext/io/safetensors.hpp>  // detail::json_string
#include <resnext/train/fit.hpp>

namespace resnext {

namespace detail {

/// The numbers of an epoch by name.
inline auto epoch_fields(const EpochResult& result) {
  const Accuracy test = result.test.value_or(Accuracy());
  const auto number = [](const char* format, auto value) {
    std::array<char, 40> text{};
    std::snprintf(text.data(), text.size(), format, value);
    return std::string(text.data());
  };
  using Field = std::pair<const char*, std::string>;
  return std::array{Field("epoch", std::to_string(result.epoch + 1)),
                    Field("step", std::to_string(result.step)),
                    Field("learning_rate", number("%.6g", result.learning_rate)),
                    Field("train_loss", number("%.6f", result.train.mean_loss())),
                    Field("train_accuracy", number("%.6f", result.train.accuracy())),
                    Field("test_loss", number("%.6f", test.mean_loss())),
                    Field("test_accuracy", number("%.6f", test.top1())),
                    Field("test_accuracy_of_5", number("%.6f", test.top5())),
                    Field("seconds", number("%.2f", result.seconds)),
                    Field("images_per_second", number("%.1f", result.images_per_second))};
}

}  // namespace detail

/// An epoch as one JSON object without a line break. Epochs count from 1; losses are means, accuracies shares.
inline std::string to_json(const EpochResult& result) {
  std::string json;
  for (const auto& [name, value] : detail::epoch_fields(result)) {
    ((((json += json.empty() ? "{" : ",") += detail::json_string(name)) += ':') += value);
  }
  return json + "}";
}

/// A file that grows by a row an epoch and is complete at any moment. Its name decides what it is:
/// - `.jsonl`: JSON lines. `{"run":{...}}` says what was run, `{"resumed_at_step":N}` that it went on, the others are
///   those of to_json();
/// - anything else: CSV with the same columns, and comments from `#` on for the rest.
class RunLog {
 public:
  /// Starts a log, or goes on with the one of a run that is resumed at `state`: rows of epochs that will be run again
  /// go.
  /// @param notes what there is to know about the run, as pairs; written at the start only
  /// @throws FileError when the path names no file, or a log that is to go on has other columns
  RunLog(std::filesystem::path path, const RunState& state, const std::map<std::string, std::string>& notes)
      : path_(std::move(path)), json_(path_.extension() == ".jsonl") {
    if (!path_.has_filename()) fail<FileError>("expected the path of a log, found ", detail::quoted(path_.string()));
    detail::remove_leftovers(path_.parent_path(), path_.filename().string());
    std::ifstream old;
    if (state.step > 0) old.open(path_);
    if (!old.is_open()) {
      begin(notes);
      return;
    }
    bool known = false;
    for (std::string line; std::getline(old, line);) {
      const bool header = json_ ? line.starts_with("{\"run\":") : line == columns();
      const bool comment = line.starts_with(json_ ? "{\"resumed_at_step\":" : "#");
      known = known || header;
      const bool row = known && !header && !comment && line.starts_with(row_begin());
      if (!header && !comment && !row) {
        if (json_) fail<FileError>(path_.string(), ": expected the JSON lines of a run, found ", detail::quoted(line));
        fail<FileError>(path_.string(), ": expected the columns ", columns(), ", found ", detail::quoted(line));
      }
      if (row && std::atoll(line.c_str() + row_begin().size()) > state.epoch) continue;
      text_ += line + "\n";
    }
    const std::string step = std::to_string(state.step);
    text_ += json_ ? "{\"resumed_at_step\":" + step + "}\n" : "# resumed at step " + step + "\n";
  }

  /// Adds an epoch.
  /// @throws FileError when the file cannot be written
  void add(const EpochResult& result) {
    if (json_) {
      text_ += to_json(result);
    } else {
      const char* separator = "";
      for (const auto& field : detail::epoch_fields(result)) (text_ += std::exchange(separator, ",")) += field.second;
    }
    text_ += "\n";
    write_file(path_, {bytes_of(text_)});
  }

 private:
  /// What the number of the epoch follows.
  std::string_view row_begin() const { return json_ ? "{\"epoch\":" : ""; }

  /// The first line of a CSV file that is no comment.
  static std::string columns() {
    std::string all;
    for (const auto& field : detail::epoch_fields({})) (all += all.empty() ? "" : ",") += field.first;
    return all;
  }

  void begin(const std::map<std::string, std::string>& notes) {
    if (!json_) {
      for (const auto& [name, value] : notes) ((((text_ += "# ") += name) += ": ") += value) += "\n";
      text_ += columns() + "\n";
      return;
    }
    for (const auto& [name, value] : notes) {
      (((text_ += text_.empty() ? "" : ",") += detail::json_string(name)) += ":") += detail::json_string(value);
    }
    text_ = "{\"run\":{" + text_ + "}}\n";
  }

  std::filesystem::path path_;
  bool json_;
  std::string text_;
};

/// Draws loss and accuracy of training and test over the epochs of CSV logs, PNG or SVG by the extension: several runs
/// lie over each other, each in its colour and under the name of its log.
/// @throws FileError when a log is missing or no CSV log, when gnuplot is not installed or fails
inline void draw_learning_curve(std::span<const std::filesystem::path> logs, const std::filesystem::path& picture) {
  constexpr std::array colours{"#1f6fb4", "#d1495b", "#2a9d5c", "#e08e1b", "#7b4fa3", "#3aa6a6", "#8c6d46", "#555555"};
  const auto plot = [&](const std::string& train, const std::string& test) {
    std::string script;
    const auto curve = [&](const std::filesystem::path& log, const std::string& column, const std::string& style) {
      script +=
          (script.empty() ? "plot " : ", ") + gnuplot_string(log.string()) + " using 1:" + column + " with " + style;
    };
    for (std::size_t i = 0; i < logs.size(); ++i) {
      const bool alone = logs.size() == 1;
      const std::string colour = std::string(" linecolor '") + colours[i % colours.size()] + "'";
      curve(logs[i], train, "lines linewidth 2 dashtype 3" + colour + (alone ? " title 'training'" : " notitle"));
      curve(logs[i], test,
            "linespoints linewidth 2 pointtype 7 pointsize 0.7" + colour + " title " +
                (alone ? "'test'" : gnuplot_string(logs[i].string())));
    }
    return script + "\n";
  };
  for (const std::filesystem::path& log : logs) {
    const MappedFile file(log);
    if (log.extension() == ".jsonl" || file.size() == 0) fail<FileError>(log.string(), ": expected a CSV log");
  }
  draw_with_gnuplot(picture, 900, 380,
                    "set datafile separator ','\nset key autotitle columnhead\nset multiplot layout 1,2\n"
                    "set grid linecolor '#dddddd'\nset xlabel 'epoch'\nset format x '%.0f'\nset tics nomirror\n"
                    "set border 3\nset key top right\nset ylabel 'loss'\nset yrange [0:*]\n" +
                        plot("4", "6") + "set key bottom right\nset ylabel 'accuracy, %'\nset yrange [*:100]\n" +
                        plot("(100*$5)", "(100*$7)") + "unset multiplot");
}

}  // namespace resnext
