/// @file
/// The fully connected layer.
#pragma once

#include <cstddef>
#include <string_view>

#include <resnext/backend/backend.hpp>
#include <resnext/backend/check_shapes.hpp>
#include <resnext/backend/host/stream.hpp>
#include <resnext/backend/reference/matrix.hpp>

namespace resnext::detail {

/// y = x weights^T + bias, with weights `[out, in]`.
template <class T>
class ReferenceLinear {
 public:
  ReferenceLinear(const LinearShape& shape, std::string_view path) : shape_(shape) { check_shape(shape, path); }

  std::size_t scratch_size() const { return 0; }

  void forward(HostStream&, const T* x, const T* weights, const T* bias, T* y, T* /*scratch*/) const {
    auto out = matrix(y, shape_.n, shape_.out);
    out.noalias() = matrix(x, shape_.n, shape_.in) * matrix(weights, shape_.out, shape_.in).transpose();
    out.rowwise() += matrix(bias, 1, shape_.out).row(0);
  }

  void backward(HostStream&, const T* x, const T* weights, const T* dy, T* dx, T* dweights, T* dbias,
                T* /*scratch*/) const {
    const auto gradient = matrix(dy, shape_.n, shape_.out);
    matrix(dx, shape_.n, shape_.in).noalias() = gradient * matrix(weights, shape_.out, shape_.in);
    matrix(dweights, shape_.out, shape_.in).noalias() = gradient.transpose() * matrix(x, shape_.n, shape_.in);
    matrix(dbias, 1, shape_.out) = gradient.colwise().sum();
  }

 private:
  LinearShape shape_;
};

}  // namespace resnext::detail
