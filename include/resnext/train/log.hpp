/// @file
/// The record of a run: a file with a row an epoch, and its learning curve.
#pragma once

#include <array>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <istream>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <resnext/error.hpp>
#include <resnext/io/file.hpp>
#include <resnext/io/gnuplot.hpp>
#include <resnext/io/json.hpp>
#include <resnext/io/leftovers.hpp>
#include <resnext/io/utf8.hpp>
#include <resnext/text.hpp>
#include <resnext/train/report.hpp>
#include <resnext/train/run_state.hpp>

namespace resnext {

namespace detail {

/// The numbers of an epoch by name.
inline auto epoch_fields(const EpochResult& result) {
  const Accuracy test = result.test.value_or(Accuracy());
  using Field = std::pair<const char*, std::string>;
  return std::array{Field("epoch", std::to_string(result.epoch + 1)),
                    Field("step", std::to_string(result.step)),
                    Field("learning_rate", general_text(result.learning_rate)),
                    Field("train_loss", fixed_text(result.train.mean_loss(), 6)),
                    Field("train_accuracy", fixed_text(result.train.accuracy(), 6)),
                    Field("test_loss", fixed_text(test.mean_loss(), 6)),
                    Field("test_accuracy", fixed_text(test.top1(), 6)),
                    Field("test_accuracy_of_5", fixed_text(test.top5(), 6)),
                    Field("seconds", fixed_text(result.seconds, 2)),
                    Field("images_per_second", fixed_text(result.images_per_second, 1))};
}

}  // namespace detail

/// An epoch as one JSON object without a line break. Epochs count from 1; losses are means, accuracies shares; what is
/// infinite or not a number is null, for JSON has no word for it.
inline std::string to_json(const EpochResult& result) {
  std::string json;
  for (const auto& [name, value] : detail::epoch_fields(result)) {
    const bool number = value.find_first_not_of("0123456789.e+-") == std::string::npos;
    ((((json += json.empty() ? "{" : ",") += detail::json_string(name)) += ':') += number ? value : "null");
  }
  return json + "}";
}

/// A file that grows by a row an epoch and is complete at any moment. Its name decides what it is:
/// - `.jsonl`: JSON lines. `{"run":{...}}` says what was run, `{"resumed_at_step":N}` that it went on, the others are
///   those of to_json();
/// - anything else: CSV with the same columns, and comments from `#` on for the rest.
///
/// A pipe or a device gets each line once, and is not read.
class RunLog {
 public:
  /// Starts a log, or goes on with the one of the same run: rows of epochs that will be run again go. A run that is
  /// resumed also goes on with a log that does not say whose it is.
  /// @param notes what there is to know about the run, as pairs; written at the start only
  /// @throws FileError when the path names no file, or a file that is no log or that of another run; OptionError when
  /// a note is not UTF-8
  RunLog(std::filesystem::path path, const RunState& state, const std::map<std::string, std::string>& notes)
      : path_(std::move(path)), json_(path_.extension() == ".jsonl") {
    if (!path_.has_filename())
      throw_error<FileError>("expected the path of a log, found ", detail::quoted(path_.string()));
    std::error_code ignored;
    if (const auto status = std::filesystem::status(path_, ignored); std::filesystem::exists(status) &&
                                                                     !std::filesystem::is_regular_file(status) &&
                                                                     !std::filesystem::is_directory(status)) {
      begin(state.id, notes);
      pipe_.open(path_, std::ios::app);
      return;
    }
    std::ifstream old(path_);
    if (!old.is_open() || old.peek() == std::ifstream::traits_type::eof()) {
      begin(state.id, notes);
    } else {
      go_on(old, state);
    }
    detail::remove_leftovers(path_.parent_path(), path_.filename().string());
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
    if (!pipe_.is_open()) return write_file(path_, {bytes_of(text_)});
    if (!(pipe_ << std::exchange(text_, {}) << std::flush)) {
      throw_error<FileError>(path_.string(), ": could not be written: is anybody still reading?");
    }
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

  /// Whose log it is, as a line begins that says so.
  std::string id_line(std::string_view id) const {
    return json_ ? "{\"run\":{\"id\":" + detail::json_string(id) : "# id: " + one_line(id);
  }

  /// Fit for a comment: line breaks would end it.
  static std::string one_line(std::string_view text) {
    std::string line(text);
    for (char& c : line) c = static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    return line;
  }

  void begin(const std::string& id, const std::map<std::string, std::string>& notes) {
    const auto check = [&](const std::string& name, const std::string& value) {
      if (detail::first_invalid_utf8(name) || detail::first_invalid_utf8(value)) {
        throw_error<OptionError>(path_.string(), ": not written: ", detail::quoted(name), ": expected UTF-8, found ",
                                 detail::quoted(value), "; convert it, e.g. iconv -f latin1 -t utf-8");
      }
    };
    check("id", id);
    for (const auto& [name, value] : notes) check(name, value);
    if (!json_) {
      if (!id.empty()) text_ = id_line(id) + "\n";
      for (const auto& [name, value] : notes) text_ += "# " + one_line(name) + ": " + one_line(value) + "\n";
      text_ += columns() + "\n";
      return;
    }
    text_ = id.empty() ? "{\"run\":{" : id_line(id);
    for (const auto& [name, value] : notes) {
      if (text_.back() != '{') text_ += ',';
      ((text_ += detail::json_string(name)) += ':') += detail::json_string(value);
    }
    text_ += "}}\n";
  }

  void go_on(std::istream& old, const RunState& state) {
    const std::string any = id_line(""), ours = id_line(state.id);
    const std::string_view mark = json_ ? std::string_view(any).substr(0, any.size() - 1) : any;
    bool known = false, named = false, same = false;
    for (std::string line; std::getline(old, line);) {
      const bool header = json_ ? line.starts_with("{\"run\":") : line == columns();
      const bool comment = line.starts_with(json_ ? "{\"resumed_at_step\":" : "#");
      if (!known && !named && line.starts_with(mark)) {
        named = true;
        same = json_ ? line.starts_with(ours) : line == ours;
      }
      known = known || header;
      const bool row = known && !header && !comment && line.starts_with(row_begin());
      if (!header && !comment && !row) {
        if (json_)
          throw_error<FileError>(path_.string(), ": expected the JSON lines of a run, found ", detail::quoted(line));
        throw_error<FileError>(path_.string(), ": expected the columns ", columns(), ", found ", detail::quoted(line));
      }
      if (row && std::atoll(line.c_str() + row_begin().size()) > state.epoch) continue;
      text_ += line + "\n";
    }
    if (named ? !same : state.step == 0) {
      throw_error<FileError>(path_.string(), ": expected the log of the run ", detail::quoted(state.id),
                             ", found that of another run: resume that run, or take another name for the log");
    }
    const std::string step = std::to_string(state.step);
    text_ += json_ ? "{\"resumed_at_step\":" + step + "}\n" : "# resumed at step " + step + "\n";
  }

  std::filesystem::path path_;
  bool json_;
  std::string text_;    // of the file, or what a pipe does not have yet
  std::ofstream pipe_;  // open where the path is no file
};

/// Draws loss and accuracy of training and test over the epochs of CSV logs, PNG or SVG by the extension: several runs
/// lie over each other, each in its colour and under the name of its log.
/// @throws FileError when a log is missing or no CSV log, when gnuplot is not installed or fails
inline void draw_learning_curve(std::span<const std::filesystem::path> logs, const std::filesystem::path& picture) {
  constexpr std::array colours{"#1f6fb4", "#d1495b", "#2a9d5c", "#e08e1b", "#7b4fa3", "#3aa6a6", "#8c6d46", "#555555"};
  const auto plot = [&](const std::string& train, const std::string& test) {
    std::string script;
    const auto curve = [&](std::size_t log, const std::string& column, const std::string& style) {
      script +=
          (script.empty() ? "plot input" : ", input") + std::to_string(log) + " using 1:" + column + " with " + style;
    };
    for (std::size_t i = 0; i < logs.size(); ++i) {
      const bool alone = logs.size() == 1;
      const std::string colour = std::string(" linecolor '") + colours[i % colours.size()] + "'";
      curve(i, train, "lines linewidth 2 dashtype 3" + colour + (alone ? " title 'training'" : " notitle"));
      curve(i, test,
            "linespoints linewidth 2 pointtype 7 pointsize 0.7" + colour + " title " +
                (alone ? "'test'" : gnuplot_string(logs[i].string())));
    }
    return script + "\n";
  };
  for (const std::filesystem::path& log : logs) {
    const MappedFile file(log);
    if (log.extension() == ".jsonl" || file.size() == 0) throw_error<FileError>(log.string(), ": expected a CSV log");
  }
  draw_with_gnuplot(picture, 900, 380,
                    "set datafile separator ','\nset key autotitle columnhead\nset multiplot layout 1,2\n"
                    "set grid linecolor '#dddddd'\nset xlabel 'epoch'\nset format x '%.0f'\nset tics nomirror\n"
                    "set border 3\nset key top right\nset ylabel 'loss'\nset yrange [0:*]\n" +
                        plot("4", "6") + "set key bottom right\nset ylabel 'accuracy, %'\nset yrange [*:100]\n" +
                        plot("(100*$5)", "(100*$7)") + "unset multiplot",
                    logs);
}

}  // namespace resnext
