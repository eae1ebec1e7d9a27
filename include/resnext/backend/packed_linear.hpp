/// @file
/// The fully connected layer of a backend that has none for inference alone.
#pragma once

#include <concepts>
#include <cstddef>
#include <span>
#include <string_view>

#include <resnext/backend/shapes.hpp>
#include <resnext/tensor/dtype.hpp>
#include <resnext/tensor/number_format.hpp>

namespace resnext::detail {

/// True if maps of the backend may be of the type.
template <class B>
constexpr bool takes(Dtype type) {
  if constexpr (requires {
                  { B::takes(type) } -> std::same_as<bool>;
                }) {
    return B::takes(type);
  } else {
    return type == dtype_of<typename B::Scalar>;
  }
}

/// A fully connected layer for inference made of the one for training: `packed` is the weights as operators read them,
/// then the bias.
template <class B>
class PackedLinear {
  using Scalar = typename B::Scalar;
  using Master = typename B::Master;

 public:
  PackedLinear(const LinearShape& shape, std::string_view path)
      : op_(shape, path), weights_{2, {shape.out, shape.in, 1, 1}}, bias_{1, {shape.out, 1, 1, 1}} {}

  std::size_t packed_size() const { return bias_offset() + B::tensor_size(bias_) * sizeof(Master); }
  std::size_t scratch_size() const { return op_.scratch_size(); }
  static constexpr std::string_view packed_layout() { return "as operators read them"; }
  void pack(typename B::Stream& stream, const float* weights, const float* bias, std::byte* packed) const {
    const auto upload = [&](const float* from, const TensorShape& shape, auto* to) {
      B::upload_tensor(stream, std::span(from, static_cast<std::size_t>(shape.size())), shape, to);
    };
    upload(weights, weights_, reinterpret_cast<Scalar*>(packed));
    upload(bias, bias_, reinterpret_cast<Master*>(packed + bias_offset()));
  }
  void run(typename B::Stream& stream, const Scalar* x, const std::byte* packed, Master* y, std::byte* scratch) {
    op_.forward(stream, x, reinterpret_cast<const Scalar*>(packed),
                reinterpret_cast<const Master*>(packed + bias_offset()), y, scratch);
  }

 private:
  std::size_t bias_offset() const {
    return (B::tensor_size(weights_) * sizeof(Scalar) + B::alignment - 1) / B::alignment * B::alignment;
  }

  typename B::Linear op_;
  TensorShape weights_, bias_;
};
template <class B>
struct InferenceLinearOf {
  using type = PackedLinear<B>;
};
template <class B>
requires requires { typename B::InferenceLinear; }
struct InferenceLinearOf<B> {
  using type = typename B::InferenceLinear;
};
/// A backend's fully connected layer for inference.
template <class B>
using InferenceLinear = typename InferenceLinearOf<B>::type;

}  // namespace resnext::detail
