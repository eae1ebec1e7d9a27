/// @file
/// Where the time of a network goes, unit by unit.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iomanip>
#include <ostream>
#include <string>
#include <vector>

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
    last_ = Clock::now();
  }
  /// Ends a row's time and begins the next one's. `describe()` makes the row the first time.
  template <class Describe>
  void lap(Describe&& describe) {
    const auto now = Clock::now();
    if (next_ == rows_.size()) rows_.push_back(describe());
    Row& row = rows_[next_++];
    row.seconds = std::min(row.seconds, std::chrono::duration<double>(now - last_).count());
    last_ = Clock::now();
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
  void print(std::ostream& out, double peak_gflops = 0) const {
    const auto flags = out.flags();
    const auto precision = out.precision();
    out << std::fixed << std::setprecision(3) << "      ms     %  GFLOP/s" << (peak_gflops > 0 ? "  % peak" : "") << "  layer\n";
    for (const Row& row : rows_) {
      const double speed = static_cast<double>(row.flops) / row.seconds * 1e-9;
      out << std::setw(8) << row.seconds * 1e3 << std::setprecision(1) << std::setw(6) << row.seconds / seconds() * 100;
      if (row.flops > 0) {
        out << std::setw(9) << speed;
        if (peak_gflops > 0) out << std::setw(8) << speed / peak_gflops * 100;
      } else {
        out << std::string(peak_gflops > 0 ? 17 : 9, ' ');
      }
      out << "  " << row.name << "  " << row.work << "  " << row.implementation << '\n' << std::setprecision(3);
    }
    out << std::setw(8) << seconds() * 1e3 << "  in all";
    if (peak_gflops > 0) out << std::setprecision(0) << "; peak: " << peak_gflops << " GFLOP/s of multiply-adds";
    out << '\n';
    out.flags(flags);
    out.precision(precision);
  }

 private:
  using Clock = std::chrono::steady_clock;
  std::vector<Row> rows_;
  std::size_t next_ = 0;
  Clock::time_point last_;
};

}  // namespace resnext
