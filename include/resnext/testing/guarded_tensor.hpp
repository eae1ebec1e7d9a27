/// @file
/// Backend memory between two zones where nobody may write.
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include <resnext/tensor/number.hpp>

namespace resnext::detail {

/// Backend memory between two zones of NaN, where nobody may write.
template <class B>
class GuardedTensor {
 public:
  using Stream = typename B::Stream;

  explicit GuardedTensor(std::size_t size) : size_(size), buffer_(size + 2 * zone) {}

  typename B::Scalar* data() { return buffer_.data() + zone; }
  std::size_t size() const { return size_; }

  void assign(Stream& stream, std::span<const float> values) { B::upload(stream, values, data()); }
  /// Fills the tensor with `value`, and the zones with NaN.
  void poison(Stream& stream, float value) {
    std::vector<float> values(buffer_.size(), std::numeric_limits<float>::quiet_NaN());
    std::fill_n(values.begin() + zone, size_, value);
    B::upload(stream, std::span<const float>(values), buffer_.data());
  }
  std::vector<double> values(Stream& stream) const { return read(stream, zone, size_); }
  bool intact(Stream& stream) const {
    const auto before = read(stream, 0, zone), after = read(stream, zone + size_, zone);
    const auto untouched = [](double value) { return is_nan(value); };
    return std::all_of(before.begin(), before.end(), untouched) && std::all_of(after.begin(), after.end(), untouched);
  }

 private:
  static constexpr std::size_t zone = 64;  // keeps the alignment of the memory

  std::vector<double> read(Stream& stream, std::size_t from, std::size_t count) const {
    std::vector<double> result(count);
    B::download(stream, buffer_.data() + from, std::span<double>(result));
    return result;
  }

  std::size_t size_;
  typename B::template Buffer<typename B::Scalar> buffer_;
};

}  // namespace resnext::detail
