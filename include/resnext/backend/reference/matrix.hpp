/// @file
/// Row-major views of plain memory, so that Eigen multiplies and nobody else sees its types.
#pragma once

#include <type_traits>

#include <Eigen/Core>

namespace resnext::detail {

template <class T>
using RowMajor = Eigen::Matrix<std::remove_const_t<T>, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// `rows` rows of `columns` numbers, `stride` numbers apart. T may be const.
template <class T>
auto matrix(T* data, Eigen::Index rows, Eigen::Index columns, Eigen::Index stride) {
  using Plain = std::conditional_t<std::is_const_v<T>, const RowMajor<T>, RowMajor<T>>;
  return Eigen::Map<Plain, Eigen::Unaligned, Eigen::OuterStride<>>(data, rows, columns, Eigen::OuterStride<>(stride));
}

/// Dense rows.
template <class T>
auto matrix(T* data, Eigen::Index rows, Eigen::Index columns) {
  return matrix(data, rows, columns, columns);
}

}  // namespace resnext::detail
