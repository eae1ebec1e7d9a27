/// @file
/// The fully connected layer, on oneDNN.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>

#include <resnext/backend/backend.hpp>
#include <resnext/backend/check_shapes.hpp>
#include <resnext/backend/cpu/onednn.hpp>

namespace resnext::detail {

/// y = x weights^T + bias, with weights `[out, in]`, which oneDNN takes as they are.
class CpuLinear {
 public:
  /// @throws ShapeError for an extent below 1, DeviceError if oneDNN has no such product.
  CpuLinear(const LinearShape& shape, std::string_view path) : path_(path) {
    check_shape(shape, path);
    what_ = joined("a product of [", shape.n, ", ", shape.in, "] and [", shape.out, ", ", shape.in, "]");
    with_onednn(path_, what_, [&] { build(shape); });
  }

  std::size_t scratch_size() const { return scratch_size_ * sizeof(float); }

  void forward(CpuStream& stream, const float* x, const float* weights, const float* bias, float* y,
               std::byte* scratch) {
    with_onednn(path_, what_, [&] { forward_.run(stream.onednn(), {x, weights, bias, y, scratch}); });
  }

  void backward(CpuStream& stream, const float* x, const float* weights, const float* dy, float* dx, float* dweights,
                float* dbias, std::byte* scratch) {
    with_onednn(path_, what_, [&] {
      backward_data_.run(stream.onednn(), {dy, weights, dx, scratch});
      backward_weights_.run(stream.onednn(), {x, dy, dweights, dbias, scratch});
    });
  }

 private:
  void build(const LinearShape& s) {
    using Tag = dnnl::memory::format_tag;
    using dnnl::inner_product_backward_data, dnnl::inner_product_backward_weights, dnnl::inner_product_forward;
    const auto x = layout({s.n, s.in}, Tag::nc), weights = layout({s.out, s.in}, Tag::oi);
    const auto bias = layout({s.out}, Tag::x), y = layout({s.n, s.out}, Tag::nc);
    const auto forward = describe_forward<inner_product_forward>(onednn_attributes(), dnnl::prop_kind::forward_training,
                                                                 x, weights, bias, y);
    const auto data = describe_backward<inner_product_backward_data>(forward, x, weights, y);
    const auto weights_gradient = describe_backward<inner_product_backward_weights>(forward, x, weights, bias, y);
    const auto scratch = [&](const auto& description) {
      const auto layout = description.scratchpad_desc();
      scratch_size_ = std::max(scratch_size_, lines(layout.get_size()));
      return Primitive::Argument{DNNL_ARG_SCRATCHPAD, layout};
    };
    forward_ = {
        inner_product_forward(forward),
        {{DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_BIAS, bias}, {DNNL_ARG_DST, y}, scratch(forward)}};
    backward_data_ = {inner_product_backward_data(data),
                      {{DNNL_ARG_DIFF_DST, y}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_DIFF_SRC, x}, scratch(data)}};
    backward_weights_ = {inner_product_backward_weights(weights_gradient),
                         {{DNNL_ARG_SRC, x},
                          {DNNL_ARG_DIFF_DST, y},
                          {DNNL_ARG_DIFF_WEIGHTS, weights},
                          {DNNL_ARG_DIFF_BIAS, bias},
                          scratch(weights_gradient)}};
  }

  std::string path_, what_;
  Primitive forward_, backward_data_, backward_weights_;
  std::size_t scratch_size_ = 0;
};

}  // namespace resnext::detail
