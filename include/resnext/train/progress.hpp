/// @file
/// Progress in a terminal: one line that is written again and again, or now and then a line where there is no terminal.
#pragma once

#include <sys/ioctl.h>  // TIOCGWINSZ
#include <unistd.h>     // isatty

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <optional>
#include <string>
#include <utility>

#include <resnext/clock.hpp>
#include <resnext/error.hpp>
#include <resnext/text.hpp>
#include <resnext/tensor/number.hpp>
#include <resnext/train/report.hpp>

namespace resnext {

namespace detail {

/// "1:05" or "2:03:09".
inline std::string duration_text(double seconds) {
  const auto all = static_cast<long long>(is_finite(seconds) ? std::lround(std::clamp(seconds, 0.0, 3.6e8)) : 0);
  const auto two = [](long long number) { return (number < 10 ? ":0" : ":") + std::to_string(number); };
  if (all < 3600) return std::to_string(all / 60) + two(all % 60);
  return std::to_string(all / 3600) + two(all / 60 % 60) + two(all % 60);
}

}  // namespace detail

/// `epoch 2/6 [=====>    ]  48 %  loss 0.3712  accuracy 86.61 %  5120 images/s  ETA 1:05`, with a bar of `width`
/// characters.
inline std::string progress_line(const TrainingProgress& progress, int width) {
  const double done = progress.batches > 0 ? static_cast<double>(progress.batch) / progress.batches : 0;
  std::string bar;
  if (width > 0) {
    bar.assign(static_cast<std::size_t>(done * width), '=');
    if (static_cast<int>(bar.size()) < width) bar += '>';
    bar.resize(static_cast<std::size_t>(width), ' ');
    bar = "[" + bar + "] ";
  }
  const auto number = [](double value, int digits, std::size_t least) {
    std::string text = detail::fixed_text(value, digits);
    return text.insert(0, least - std::min(least, text.size()), ' ');
  };
  return detail::joined("epoch ", progress.epoch + 1, "/", progress.epochs, " ", bar, number(100 * done, 0, 3),
                        " %  loss ", number(progress.metrics.mean_loss(), 4, 0), "  accuracy ",
                        number(100 * progress.metrics.accuracy(), 2, 5), " %  ",
                        number(progress.images_per_second, 0, 0), " images/s  ETA ",
                        detail::duration_text(progress.seconds_left));
}

/// Writes progress to a stream.
class ProgressBar {
 public:
  /// Looks whether the stream is a terminal.
  explicit ProgressBar(std::FILE* stream = stderr) : stream_(stream), terminal_(::isatty(::fileno(stream)) == 1) {}
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  ~ProgressBar() { clear(); }

  /// At most ten times a second on a terminal, every ten seconds elsewhere.
  void update(const TrainingProgress& progress) {
    if (last_ && last_->seconds() < (terminal_ ? 0.1 : 10)) return;
    last_.emplace();
    if (terminal_) {
      std::fprintf(stream_, "\r%s\033[K", progress_line(progress, bar_width()).c_str());
      drawn_ = true;
    } else {
      std::fprintf(stream_, "%s\n", progress_line(progress, 0).c_str());
    }
    std::fflush(stream_);
  }
  /// Takes the bar away, so that others can write.
  void clear() {
    if (std::exchange(drawn_, false)) std::fputs("\r\033[K", stream_);
    std::fflush(stream_);
  }

 private:
  /// What the terminal has left beside the numbers.
  int bar_width() const {
    winsize size{};
    const int columns = ::ioctl(::fileno(stream_), TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
    constexpr int numbers = 78;
    return std::clamp(columns - numbers, 0, 30);
  }

  std::FILE* stream_;
  bool terminal_;
  bool drawn_ = false;
  std::optional<detail::Stopwatch> last_;
};

}  // namespace resnext
