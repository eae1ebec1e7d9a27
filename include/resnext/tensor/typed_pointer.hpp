/// @file
/// Pointers to numbers whose type is known when a program runs.
#pragma once

#include <cstddef>
#include <type_traits>

#include <resnext/error.hpp>
#include <resnext/tensor/dtype.hpp>
#include <resnext/tensor/number_format.hpp>

namespace resnext {

template <bool constant>
class BasicTypedPointer;

namespace detail {

/// What a typed pointer may be made of a pointer to, and be taken for one to.
template <class T, bool constant>
concept PointedTo = TensorNumber<std::remove_const_t<T>> &&(constant || !std::is_const_v<T>);
template <class T, bool constant>
concept TakenFor = TensorNumber<std::remove_const_t<T>> &&(!constant || std::is_const_v<T>);

/// The typed pointer that a constant one may be made of.
template <class Other, bool constant>
concept WriterOf = constant && std::is_same_v<Other, BasicTypedPointer<false>>;

}  // namespace detail

/// Where numbers lie in a backend's memory, and of which type they are. Made of a pointer to numbers, and taken for one
/// by whoever expects numbers of that type: so a backend whose maps have one type writes plain pointers.
template <bool constant>
class BasicTypedPointer {
 public:
  /// Const for what may only be read.
  template <class T>
  using Qualified = std::conditional_t<constant, const T, T>;

  /// Null.
  BasicTypedPointer(std::nullptr_t) {}
  /// Of numbers whose type is known while compiling.
  template <detail::PointedTo<constant> T>
  BasicTypedPointer(T* data) : data_(data), type_(dtype_of<std::remove_const_t<T>>) {}
  /// Of numbers of that type.
  BasicTypedPointer(Qualified<void>* data, Dtype type) : data_(data), type_(type) {}
  /// One that may only be read, of one that may be written.
  template <detail::WriterOf<constant> Other>
  BasicTypedPointer(const Other& other) : data_(other.data()), type_(other.type()) {}

  /// The address.
  Qualified<void>* data() const { return data_; }
  /// Of the numbers.
  Dtype type() const { return type_; }
  /// False for null.
  explicit operator bool() const { return data_ != nullptr; }
  /// @throws ShapeError when the numbers are of another type
  template <detail::TakenFor<constant> T>
  operator T*() const {
    constexpr Dtype expected = dtype_of<std::remove_const_t<T>>;
    if (data_ != nullptr && type_ != expected) {
      throw_error<ShapeError>("an operator expected numbers of type ", dtype_name(expected), ", found ",
                              dtype_name(type_));
    }
    return static_cast<T*>(data_);
  }

 private:
  Qualified<void>* data_ = nullptr;
  Dtype type_ = Dtype::F32;
};

/// Numbers that are written.
using TypedPointer = BasicTypedPointer<false>;
/// Numbers that are only read.
using ConstTypedPointer = BasicTypedPointer<true>;

}  // namespace resnext
