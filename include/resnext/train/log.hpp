/// @file
/// The record of a run: a CSV file with a row an epoch, and its learning curve.
#pragma once

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include <resnext/error.hpp>
#include <resnext/io/file.hpp>
#include <resnext/io/gnuplot.hpp>
#include <resnext/train/fit.hpp>

namespace resnext {

/// A CSV file that grows by a row an epoch and is complete at any moment. Lines that begin with `#` say what was run.
class RunLog {
 public:
  /// The first line that is no comment.
  static constexpr std::string_view columns =
      "epoch,step,learning_rate,train_loss,train_accuracy,test_loss,test_accuracy,test_accuracy_of_5,seconds,"
      "images_per_second";

  /// Starts a log, or goes on with the one of a run that is resumed at `state`: rows of epochs that will be run again go.
  /// @param notes what there is to know about the run, as pairs; written at the start only
  /// @throws FileError when a log that is to go on has other columns
  RunLog(std::filesystem::path path, const RunState& state, const std::map<std::string, std::string>& notes)
      : path_(std::move(path)) {
    std::ifstream old;
    if (state.step > 0) old.open(path_);
    if (!old.is_open()) {
      for (const auto& [name, value] : notes) text_ += "# " + name + ": " + value + "\n";
      (text_ += columns) += "\n";
      return;
    }
    bool header = false;
    for (std::string line; std::getline(old, line);) {
      const bool row = header && !line.starts_with('#');
      if (!header && !line.starts_with('#') && !std::exchange(header, line == columns)) {
        if (!header) fail<FileError>(path_.string(), ": expected the columns ", columns, ", found ", detail::quoted(line));
      }
      if (row && std::atoll(line.c_str()) > state.epoch) continue;
      text_ += line + "\n";
    }
    text_ += "# resumed at step " + std::to_string(state.step) + "\n";
  }

  /// Adds an epoch. Epochs count from 1 here; losses are means, accuracies shares.
  /// @throws FileError when the file cannot be written
  void add(const EpochResult& result) {
    std::array<char, 300> row{};
    const Accuracy test = result.test.value_or(Accuracy());
    std::snprintf(row.data(), row.size(), "%d,%lld,%.6g,%.6f,%.6f,%.6f,%.6f,%.6f,%.2f,%.1f\n", result.epoch + 1,
                  static_cast<long long>(result.step), result.learning_rate, result.train.mean_loss(),
                  result.train.accuracy(), test.mean_loss(), test.top1(), test.top5(), result.seconds,
                  result.images_per_second);
    text_ += row.data();
    write_file(path_, {bytes_of(text_)});
  }

 private:
  std::filesystem::path path_;
  std::string text_;
};

/// Draws loss and accuracy of training and test over the epochs of a log, PNG or SVG by the extension.
/// @throws FileError when gnuplot is not installed or fails
inline void draw_learning_curve(const std::filesystem::path& log, const std::filesystem::path& picture) {
  const std::string data = gnuplot_string(log.string());
  const std::string style = " with linespoints linewidth 2 pointtype 7 pointsize 0.7";
  const auto plot = [&](std::string_view train, std::string_view test) {
    return "plot " + data + " using 1:" + std::string(train) + style + " linecolor '#888888' title 'training', " + data +
           " using 1:" + std::string(test) + style + " linecolor '#1f6fb4' title 'test'\n";
  };
  draw_with_gnuplot(picture, 900, 380,
                    "set datafile separator ','\nset key autotitle columnhead\nset multiplot layout 1,2\n"
                    "set grid linecolor '#dddddd'\nset xlabel 'epoch'\nset format x '%.0f'\nset tics nomirror\n"
                    "set border 3\nset key top right\nset ylabel 'loss'\nset yrange [0:*]\n" +
                        plot("4", "6") +
                        "set key bottom right\nset ylabel 'accuracy, %'\nset yrange [*:100]\n" +
                        plot("(100*$5)", "(100*$7)") + "unset multiplot");
}

}  // namespace resnext
