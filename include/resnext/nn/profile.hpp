/// @file
/// Where the time of a network goes, unit by unit.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <resnext/clock.hpp>
#include <resnext/text.hpp>

namespace resnext {

/// Collects the time of each unit over the runs of one plan. The best of all runs counts: what was in the way of the
/// others is not the unit's.
class Profile {
 public:
  /// A unit and its time.
  struct Row {
    std::string name;            ///< path of the layer
    std::string work;            ///< what runs, for instance `convolution + relu`
    std::string implementation;  ///< what the backend chose
    std::int64_t flops = 0;      ///< two a multiply-add, of the whole batch; 0 for what is not counted in them
    double seconds = 1e30;       ///< best of all runs
  };

  /// Begins a run: the next lap() is the first row's.
  void start() {
    next_ = 0;
    last_ = detail::steady_seconds();
  }
  /// Ends a row's time and begins the next one's. `describe()` makes the row the first time.
  template <class Describe>
  void lap(Describe&& describe) {
    const double time = detail::steady_seconds();
    if (next_ == rows_.size()) rows_.push_back(describe());
    Row& row = rows_[next_++];
    row.seconds = std::min(row.seconds, time - last_);
    last_ = detail::steady_seconds();
  }

  /// In the order of execution.
  const std::vector<Row>& rows() const { return rows_; }
  /// The sum of the rows.
  double seconds() const {
    double sum = 0;
    for (const Row& row : rows_) sum += row.seconds;
    return sum;
  }

  /// A table: milliseconds, share of the whole, GFLOP/s (and share of `peak_gflops` where it is given), implementation.
  std::string table(double peak_gflops = 0) const {
    std::string text = "      ms     %  GFLOP/s" + std::string(peak_gflops > 0 ? "  % peak" : "") + "  layer\n";
    const auto put = [&](double number, int digits, std::size_t width) {
      const std::string digits_of = detail::fixed_text(number, digits);
      text.append(width - std::min(width, digits_of.size()), ' ') += digits_of;
    };
    for (const Row& row : rows_) {
      put(row.seconds * 1e3, 3, 8);
      put(row.seconds / seconds() * 100, 1, 6);
      const double speed = static_cast<double>(row.flops) / row.seconds * 1e-9;
      if (row.flops > 0) {
        put(speed, 1, 9);
        if (peak_gflops > 0) put(speed / peak_gflops * 100, 1, 8);
      } else {
        text.append(peak_gflops > 0 ? 17 : 9, ' ');
      }
      ((((((text += "  ") += row.name) += "  ") += row.work) += "  ") += row.implementation) += "\n";
    }
    put(seconds() * 1e3, 3, 8);
    text += "  in all";
    if (peak_gflops > 0) text += "; peak: " + detail::fixed_text(peak_gflops, 0) + " GFLOP/s of multiply-adds";
    return text + "\n";
  }

 private:
  std::vector<Row> rows_;
  std::size_t next_ = 0;
  double last_ = 0;
};

}  // namespace resnext
