/// @file
/// Backend memory between two zones where nobody may write.
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include <resnext/tensor/number.hpp>
#include <resnext/tensor/typed_pointer.hpp>

namespace resnext::detail {

/// The types of numbers in a backend's memory.
enum class TestNumber { scalar, master, gradient };

/// Backend memory between two zones of NaN, where nobody may write.
template <class B>
class GuardedTensor {
 public:
  using Stream = typename B::Stream;

  explicit GuardedTensor(std::size_t size, TestNumber type = TestNumber::scalar) : size_(size), type_(type) {
    with_type([&](auto number) { buffer_ = Bytes((size_ + 2 * zone) * sizeof(number)); });
  }

  TypedPointer pointer() {
    return with_type([&](auto number) -> TypedPointer { return numbers(number) + zone; });
  }
  std::size_t size() const { return size_; }

  void assign(Stream& stream, std::span<const float> values) {
    with_type([&](auto number) { B::upload(stream, values, numbers(number) + zone); });
  }
  /// Fills the tensor with `value`, and the zones with NaN.
  void poison(Stream& stream, float value) {
    std::vector<float> values(size_ + 2 * zone, std::numeric_limits<float>::quiet_NaN());
    std::fill_n(values.begin() + zone, size_, value);
    with_type([&](auto number) { B::upload(stream, std::span<const float>(values), numbers(number)); });
  }
  std::vector<double> values(Stream& stream) const { return read(stream, zone, size_); }
  bool intact(Stream& stream) const {
    const auto before = read(stream, 0, zone), after = read(stream, zone + size_, zone);
    const auto untouched = [](double value) { return is_nan(value); };
    return std::all_of(before.begin(), before.end(), untouched) && std::all_of(after.begin(), after.end(), untouched);
  }

 private:
  using Bytes = typename B::template Buffer<std::byte>;
  static constexpr std::size_t zone = 64;  // keeps the alignment of the memory

  /// Calls `visit` with a number of the tensor's type.
  template <class Visit>
  auto with_type(const Visit& visit) const {
    if (type_ == TestNumber::master) return visit(typename B::Master());
    if (type_ == TestNumber::gradient) return visit(typename B::Gradient());
    return visit(typename B::Scalar());
  }
  template <class Number>
  Number* numbers(Number) {
    return reinterpret_cast<Number*>(buffer_.data());
  }
  template <class Number>
  const Number* numbers(Number) const {
    return reinterpret_cast<const Number*>(buffer_.data());
  }

  std::vector<double> read(Stream& stream, std::size_t from, std::size_t count) const {
    std::vector<double> result(count);
    with_type([&](auto number) { B::download(stream, numbers(number) + from, std::span<double>(result)); });
    return result;
  }

  std::size_t size_;
  TestNumber type_;
  Bytes buffer_;
};

}  // namespace resnext::detail
