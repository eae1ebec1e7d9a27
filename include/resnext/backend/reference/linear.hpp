/// @file
/// The fully connected layer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include <resnext/backend/backend.hpp>
#include <resnext/backend/check_shapes.hpp>
#include <resnext/backend/host/stream.hpp>
#include <resnext/backend/reference/matrix.hpp>
#include <resnext/backend/reference/rounding.hpp>

namespace resnext::detail {

/// y = x weights^T + bias, with weights `[out, in]`.
template <class T>
class ReferenceLinear {
 public:
  using C = Calculated<T>;

  ReferenceLinear(const LinearShape& shape, std::string_view path) : shape_(shape) { check_shape(shape, path); }

  std::size_t scratch_size() const {
    return 2 * Workspace::copy_bytes<T>(inputs()) + Workspace::copy_bytes<T>(std::int64_t{shape_.in} * shape_.out);
  }

  void forward(HostStream&, const T* x, const T* weights, const C* bias, C* y, std::byte* scratch) const {
    Workspace space(scratch);
    auto out = matrix(y, shape_.n, shape_.out);
    out.noalias() = features(space.read(x, inputs())) * kernel(weights, space).transpose();
    out.rowwise() += matrix(bias, 1, shape_.out).row(0);
  }

  void backward(HostStream&, const T* x, const T* weights, const C* dy, T* dx, C* dweights, C* dbias,
                std::byte* scratch) const {
    Workspace space(scratch);
    const auto gradient = matrix(dy, shape_.n, shape_.out);
    C* const result = space.write(dx, inputs());
    features(result).noalias() = gradient * kernel(weights, space);
    store(result, dx, inputs());
    matrix(dweights, shape_.out, shape_.in).noalias() = gradient.transpose() * features(space.read(x, inputs()));
    matrix(dbias, 1, shape_.out) = gradient.colwise().sum();
  }

 private:
  std::int64_t inputs() const { return std::int64_t{shape_.n} * shape_.in; }
  template <class U>
  auto features(U* x) const {
    return matrix(x, shape_.n, shape_.in);
  }
  auto kernel(const T* weights, Workspace& space) const {
    return matrix(space.read(weights, std::int64_t{shape_.in} * shape_.out), shape_.out, shape_.in);
  }

  LinearShape shape_;
};

}  // namespace resnext::detail
