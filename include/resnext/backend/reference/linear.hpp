/// @file
/// The fully connected layer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include <resnext/backend/backend.hpp>
#include <resnext/backend/check_shapes.hpp>
#include <resnext/backend/host/stream.hpp>
#include <resnext/backend/reference/convolution.hpp>
#include <resnext/backend/reference/matrix.hpp>
#include <resnext/backend/reference/rounding.hpp>
#include <resnext/tensor/typed_pointer.hpp>

namespace resnext::detail {

/// y = x weights^T + bias, with weights `[out, in]`.
template <class T>
class ReferenceLinear {
 public:
  using C = Calculated<T>;

  ReferenceLinear(const LinearShape& shape, std::string_view path)
      : shape_(shape), type_(known_formats<T>(shape.formats).x.type) {
    check_shape(shape, path);
  }

  std::size_t scratch_size() const {
    return 2 * Workspace::copy_bytes<C>(type_, inputs()) + Workspace::copy_bytes<C>(type_, weight_size());
  }

  void forward(HostStream&, ConstTypedPointer x, ConstTypedPointer weights, const C* bias, C* y,
               std::byte* scratch) const {
    Workspace space(scratch);
    auto out = matrix(y, shape_.n, shape_.out);
    const auto in = features(space.read<C>(x, inputs()));
    out.noalias() = in * kernel(weights, space).transpose();
    out.rowwise() += matrix(bias, 1, shape_.out).row(0);
  }

  void backward(HostStream&, ConstTypedPointer x, ConstTypedPointer weights, const C* dy, TypedPointer dx, C* dweights,
                C* dbias, std::byte* scratch) const {
    Workspace space(scratch);
    const auto gradient = matrix(dy, shape_.n, shape_.out);
    C* const result = space.write<C>(dx, inputs());
    features(result).noalias() = gradient * kernel(weights, space);
    store(result, dx, inputs());
    matrix(dweights, shape_.out, shape_.in).noalias() = gradient.transpose() * features(space.read<C>(x, inputs()));
    matrix(dbias, 1, shape_.out) = gradient.colwise().sum();
  }

 private:
  std::int64_t inputs() const { return std::int64_t{shape_.n} * shape_.in; }
  std::int64_t weight_size() const { return std::int64_t{shape_.in} * shape_.out; }
  template <class U>
  auto features(U* x) const {
    return matrix(x, shape_.n, shape_.in);
  }
  auto kernel(ConstTypedPointer weights, Workspace& space) const {
    return matrix(space.read<C>(weights, weight_size()), shape_.out, shape_.in);
  }

  LinearShape shape_;
  Dtype type_;  // of x, and of the weights
};

/// The same for inference: a 1x1 convolution of a map whose pixels are the images, so integers are defined there.
template <class T>
class ReferenceInferenceLinear : public ReferenceInferenceConvolution<T> {
 public:
  ReferenceInferenceLinear(const LinearShape& shape, std::string_view path)
      : ReferenceInferenceConvolution<T>(as_convolution(shape, path), {}, nullptr, path) {}

 private:
  static ConvolutionShape as_convolution(const LinearShape& s, std::string_view path) {
    check_shape(s, path);
    return {.h = s.n,
            .in = s.in,
            .out = s.out,
            .formats = {.x = s.formats.x, .y = NumberFormat{dtype_of<Calculated<T>>, 1}}};
  }
};

}  // namespace resnext::detail
