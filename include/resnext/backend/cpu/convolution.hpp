/// @file
/// Convolutions: own kernels for the grouped 3x3, oneDNN on NHWC maps for the rest.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <resnext/backend/backend.hpp>
#include <resnext/backend/check_shapes.hpp>
#include <resnext/backend/cpu/onednn.hpp>
#include <resnext/backend/cpu/pointwise.hpp>
#include <resnext/backend/cpu/product.hpp>
#include <resnext/backend/cpu/registry.hpp>

namespace resnext::detail {

inline std::string describe_shape(const ConvolutionShape& s) {
  return joined("a convolution of [", s.n, ", ", s.h, ", ", s.w, ", ", s.in, "] to [", s.n, ", ", s.out_h(), ", ",
                s.out_w(), ", ", s.out, "], kernel ", s.kernel, ", stride ", s.stride, ", padding ", s.padding,
                ", groups ", s.groups);
}

/// A convolution in oneDNN's words. Maps are NHWC; weights are left to the primitives, which are never fast on the
/// plain layout `[out, in / groups, kernel, kernel]`.
struct ConvolutionLayouts {
  dnnl::memory::desc x, y, bias, weights, plain_weights;
  dnnl::memory::dims strides, padding;

  explicit ConvolutionLayouts(const ConvolutionShape& s)
      : x(layout({s.n, s.in, s.h, s.w}, dnnl::memory::format_tag::nhwc)),
        y(layout({s.n, s.out, s.out_h(), s.out_w()}, dnnl::memory::format_tag::nhwc)),
        bias(layout({s.out}, dnnl::memory::format_tag::x)),
        strides{s.stride, s.stride},
        padding{s.padding, s.padding} {
    const dnnl::memory::dims dense{s.out, s.in, s.kernel, s.kernel};
    const dnnl::memory::dims grouped{s.groups, s.out / s.groups, s.in / s.groups, s.kernel, s.kernel};
    const auto& dims = s.groups == 1 ? dense : grouped;
    weights = layout(dims, dnnl::memory::format_tag::any);
    plain_weights = layout(dims, s.groups == 1 ? dnnl::memory::format_tag::oihw : dnnl::memory::format_tag::goihw);
  }
};

/// True if the own products compute this convolution, and pay.
inline bool is_product(const ConvolutionShape& s) {
  return isa() == Isa::avx512 && s.kernel == 1 && s.stride == 1 && s.padding == 0 && s.groups == 1;
}
inline std::int64_t pixels(const ConvolutionShape& s) { return std::int64_t{s.n} * s.h * s.w; }

/// The own grouped kernel for this convolution, or null.
inline const GroupedKernel* find_kernel(const ConvolutionShape& s, const KernelRegistry& registry) {
  return is_grouped_3x3(s) ? registry.find(s.in / s.groups) : nullptr;
}
/// True for groups at which oneDNN's AVX2 code is quicker than ours: it works on 32 channels at once, so 40 and 48
/// leave it half idle (benchmarks/results/cpu/grouped.md).
inline bool is_wide_for_avx2(int width) { return isa() == Isa::avx2 && (width == 32 || width > 48); }
/// True where weights lie in blocks, as all of oneDNN's convolutions want them that are compiled for the shape; the
/// general ones do not, and are slow for groups of any width.
inline bool is_blocked(const dnnl::memory::desc& weights) {
#if DNNL_VERSION_MAJOR >= 3
  return weights.get_inner_nblks() > 0;
#else
  return weights.data.format_desc.blocking.inner_nblks > 0;
#endif
}
/// Takes the first implementation that fits: each of `choices` is a member function that says whether it does.
template <class Operator, std::size_t N>
void choose(Operator& op, const std::array<bool (Operator::*)(), N>& choices) {
  for (const auto choice : choices) {
    if ((op.*choice)()) return;
  }
}
inline GroupedShape grouped_shape(const ConvolutionShape& s) { return {s.n, s.h, s.w, s.in, s.stride}; }
inline std::string kernel_name(const GroupedKernel& kernel) {
  return "grouped d=" + std::to_string(kernel.width) + " " + std::string(isa_name(isa()));
}

/// y = relu(convolution(x) + bias + y). A residual after a grouped convolution is added by a pass of its own.
class CpuInferenceConvolution {
 public:
  /// @throws ShapeError for an impossible shape, DeviceError if oneDNN has no such convolution.
  CpuInferenceConvolution(const ConvolutionShape& shape, Epilogue epilogue, const KernelRegistry& registry,
                          std::string_view path)
      : shape_(shape), epilogue_(epilogue), path_(path) {
    check_shape(shape, path);
    what_ = describe_shape(shape);
    kernel_ = find_kernel(shape, registry);
    using Self = CpuInferenceConvolution;
    static constexpr std::array<bool (Self::*)(), 3> choices{&Self::wide_groups, &Self::grouped, &Self::onednn};
    choose(*this, choices);
  }

  std::size_t packed_size() const { return (weights_size_ + static_cast<std::size_t>(shape_.out)) * sizeof(float); }
  std::size_t scratch_size() const {
    if (kernel_ != nullptr && epilogue_.residual) return static_cast<std::size_t>(shape_.output_size()) * sizeof(float);
    return scratch_size_ * sizeof(float);
  }
  std::string_view implementation() const { return implementation_; }
  std::string packed_layout() const { return kernel_ != nullptr ? implementation_ : layout_name(packed_layout_); }

  /// Packs weights `[out, in / groups, kernel, kernel]` and bias `[out]`. Allocates.
  void pack(CpuStream& stream, const float* weights, const float* bias, std::byte* packed_bytes) {
    float* const packed = reinterpret_cast<float*>(packed_bytes);
    std::copy_n(bias, shape_.out, packed + weights_size_);
    if (kernel_ != nullptr) return kernel_->pack_forward(weights, shape_.in, packed, isa());
    with_onednn(path_, what_, [&] {
      if (Primitive reorder = make_reorder(plain_layout_, packed_layout_)) {
        reorder.run(stream.onednn(), {weights, packed});
      } else {
        std::memcpy(packed, weights, packed_layout_.get_size());
      }
    });
  }

  void run(CpuStream& stream, const float* x, const std::byte* packed_bytes, float* y, std::byte* scratch_bytes) {
    const float* const packed = reinterpret_cast<const float*>(packed_bytes);
    float* const scratch = reinterpret_cast<float*>(scratch_bytes);
    const float* const bias = packed + weights_size_;
    if (kernel_ == nullptr) {
      return with_onednn(path_, what_, [&] { convolution_.run(stream.onednn(), {x, packed, bias, y, scratch}); });
    }
    if (!epilogue_.residual) return kernel_->forward(grouped_shape(shape_), x, packed, bias, epilogue_.relu, y, isa());
    kernel_->forward(grouped_shape(shape_), x, packed, bias, false, scratch, isa());
    pointwise(scratch, y, y, shape_.output_size(), epilogue_.relu);
  }

 private:
  /// oneDNN for groups at which it is quicker than the own kernel, if it has more than its general code for them.
  bool wide_groups() {
    if (kernel_ == nullptr || !is_wide_for_avx2(kernel_->width)) return false;
    const GroupedKernel* const own = std::exchange(kernel_, nullptr);
    if (onednn() && is_blocked(packed_layout_)) return true;
    kernel_ = own;
    convolution_ = {};
    scratch_size_ = 0;
    return false;
  }

  bool grouped() {
    if (kernel_ == nullptr) return false;
    weights_size_ = lines(kernel_->packed_size(shape_.in, isa()) * sizeof(float));
    implementation_ = kernel_name(*kernel_);
    return true;
  }

  /// Any convolution; its last resort is reference code.
  bool onednn() {
    with_onednn(path_, what_, [&] { build(); });
    return true;
  }

  void build() {
    const ConvolutionLayouts layouts(shape_);
    dnnl::post_ops after;
    if (epilogue_.residual) after.append_sum();
    if (epilogue_.relu) append_relu(after);
    auto attributes = onednn_attributes();
    attributes.set_post_ops(after);
    const auto forward = describe_forward<dnnl::convolution_forward>(
        attributes, dnnl::prop_kind::forward_inference, dnnl::algorithm::convolution_direct, layouts.x, layouts.weights,
        layouts.bias, layouts.y, layouts.strides, layouts.padding, layouts.padding);
    packed_layout_ = forward.weights_desc();
    plain_layout_ = layouts.plain_weights;
    weights_size_ = lines(packed_layout_.get_size());
    scratch_size_ = lines(forward.scratchpad_desc().get_size());
    implementation_ = std::string("onednn ") + forward.impl_info_str();
    convolution_ = {dnnl::convolution_forward(forward),
                    {{DNNL_ARG_SRC, layouts.x},
                     {DNNL_ARG_WEIGHTS, packed_layout_},
                     {DNNL_ARG_BIAS, layouts.bias},
                     {DNNL_ARG_DST, layouts.y},
                     {DNNL_ARG_SCRATCHPAD, forward.scratchpad_desc()}}};
  }

  ConvolutionShape shape_;
  Epilogue epilogue_;
  std::string path_, what_;
  const GroupedKernel* kernel_ = nullptr;
  dnnl::memory::desc plain_layout_, packed_layout_;
  Primitive convolution_;
  std::size_t weights_size_ = 0, scratch_size_ = 0;
  std::string implementation_;
};

/// The three passes of training. Weights change between any two calls, so each call packs them anew, into scratch.
class CpuConvolution {
 public:
  /// @throws ShapeError for an impossible shape, DeviceError if oneDNN has no such convolution.
  CpuConvolution(const ConvolutionShape& shape, const KernelRegistry& registry, std::string_view path)
      : shape_(shape), path_(path) {
    check_shape(shape, path);
    what_ = describe_shape(shape);
    kernel_ = find_kernel(shape, registry);
    using Self = CpuConvolution;
    static constexpr std::array<bool (Self::*)(), 3> choices{&Self::grouped, &Self::products, &Self::onednn};
    choose(*this, choices);
  }

  std::size_t packed_size() const { return 0; }
  std::size_t scratch_size() const { return scratch_size_ * sizeof(float); }
  std::string_view implementation() const { return implementation_; }

  void forward(CpuStream& stream, const float* x, const float* weights, float* y, std::byte* /*packed*/,
               std::byte* scratch_bytes) {
    float* const scratch = reinterpret_cast<float*>(scratch_bytes);
    if (kernel_ == nullptr) return run(stream, forward_, x, weights, y, scratch);
    kernel_->pack_forward(weights, shape_.in, scratch, isa());
    kernel_->forward(grouped_shape(shape_), x, scratch, nullptr, false, y, isa());
  }

  void backward_data(CpuStream& stream, const float* dy, const float* weights, float* dx, std::byte* /*packed*/,
                     std::byte* scratch_bytes) {
    float* const scratch = reinterpret_cast<float*>(scratch_bytes);
    if (product_) {
      float* const packed = scratch + lines(product_->scratch_size() * sizeof(float));
      product_->pack(weights, packed);
      return product_->run(dy, packed, dx, scratch);
    }
    if (kernel_ == nullptr) return run(stream, backward_data_, dy, weights, dx, scratch);
    kernel_->pack_backward_data(weights, shape_.in, shape_.stride, scratch, isa());
    kernel_->backward_data(grouped_shape(shape_), dy, scratch, dx, isa());
  }

  void backward_weights(CpuStream& stream, const float* x, const float* dy, float* dweights, std::byte* scratch_bytes) {
    float* const scratch = reinterpret_cast<float*>(scratch_bytes);
    if (outer_) return outer_->run(dy, x, dweights, scratch);
    if (kernel_ != nullptr) {
      return kernel_->backward_weights(grouped_shape(shape_), x, dy, dweights, scratch, isa(), parts_);
    }
    with_onednn(path_, what_, [&] {
      float* packed = backward_weights_.reorder ? scratch : dweights;
      backward_weights_.convolution.run(stream.onednn(), {x, dy, packed, scratch + backward_weights_.packed_size});
      if (backward_weights_.reorder) backward_weights_.reorder.run(stream.onednn(), {packed, dweights});
    });
  }

 private:
  /// A primitive and the reorder of its weights; scratch holds the packed weights, then the primitive's scratchpad.
  struct PackedPass {
    Primitive convolution, reorder;
    std::size_t packed_size = 0;
  };

  bool grouped() {
    if (kernel_ == nullptr) return false;
    scratch_size_ =
        std::max(kernel_->packed_size(shape_.in, isa()), kernel_->scratch_size(grouped_shape(shape_), isa(), parts_));
    implementation_ = kernel_name(*kernel_);
    return true;
  }

  /// oneDNN forward, own products backward.
  bool products() {
    if (!is_product(shape_)) return false;
    with_onednn(path_, what_, [&] { build_forward(ConvolutionLayouts(shape_)); });
    product_ = Product(pixels(shape_), shape_.out, shape_.in);
    outer_ = OuterProduct(pixels(shape_), shape_.out, shape_.in);
    scratch_size_ = std::max({scratch_size_, outer_->scratch_size(),
                              lines(product_->scratch_size() * sizeof(float)) + product_->packed_size()});
    implementation_ += ", product avx512";
    return true;
  }

  /// Any convolution; its last resort is reference code.
  bool onednn() {
    with_onednn(path_, what_, [&] {
      const ConvolutionLayouts layouts(shape_);
      build_backward(layouts, build_forward(layouts));
    });
    return true;
  }

  dnnl::convolution_forward::primitive_desc build_forward(const ConvolutionLayouts& l) {
    auto forward = describe_forward<dnnl::convolution_forward>(onednn_attributes(), dnnl::prop_kind::forward_training,
                                                               dnnl::algorithm::convolution_direct, l.x, l.weights, l.y,
                                                               l.strides, l.padding, l.padding);
    forward_ = {{dnnl::convolution_forward(forward),
                 {{DNNL_ARG_SRC, l.x},
                  {DNNL_ARG_WEIGHTS, forward.weights_desc()},
                  {DNNL_ARG_DST, l.y},
                  {DNNL_ARG_SCRATCHPAD, forward.scratchpad_desc()}}},
                make_reorder(l.plain_weights, forward.weights_desc())};
    finish(forward_, forward, forward.weights_desc());
    return forward;
  }

  void build_backward(const ConvolutionLayouts& l, const dnnl::convolution_forward::primitive_desc& forward) {
    using dnnl::convolution_backward_data, dnnl::convolution_backward_weights;
    const auto algorithm = dnnl::algorithm::convolution_direct;
    const auto data = describe_backward<convolution_backward_data>(forward, algorithm, l.x, l.weights, l.y, l.strides,
                                                                   l.padding, l.padding);
    const auto weights = describe_backward<convolution_backward_weights>(forward, algorithm, l.x, l.weights, l.y,
                                                                         l.strides, l.padding, l.padding);
    backward_data_ = {{convolution_backward_data(data),
                       {{DNNL_ARG_DIFF_DST, l.y},
                        {DNNL_ARG_WEIGHTS, data.weights_desc()},
                        {DNNL_ARG_DIFF_SRC, l.x},
                        {DNNL_ARG_SCRATCHPAD, data.scratchpad_desc()}}},
                      make_reorder(l.plain_weights, data.weights_desc())};
    finish(backward_data_, data, data.weights_desc());
    backward_weights_ = {{convolution_backward_weights(weights),
                          {{DNNL_ARG_SRC, l.x},
                           {DNNL_ARG_DIFF_DST, l.y},
                           {DNNL_ARG_DIFF_WEIGHTS, weights.diff_weights_desc()},
                           {DNNL_ARG_SCRATCHPAD, weights.scratchpad_desc()}}},
                         make_reorder(weights.diff_weights_desc(), l.plain_weights)};
    finish(backward_weights_, weights, weights.diff_weights_desc());
  }

  template <class Description>
  void finish(PackedPass& pass, const Description& description, const dnnl::memory::desc& packed) {
    pass.packed_size = lines(packed.get_size());
    scratch_size_ = std::max(scratch_size_, pass.packed_size + lines(description.scratchpad_desc().get_size()));
    implementation_ += std::string(implementation_.empty() ? "onednn " : ", ") + description.impl_info_str();
  }

  void run(CpuStream& stream, PackedPass& pass, const float* from, const float* weights, float* to, float* scratch) {
    with_onednn(path_, what_, [&] {
      if (pass.reorder) pass.reorder.run(stream.onednn(), {weights, scratch});
      pass.convolution.run(stream.onednn(), {from, pass.reorder ? scratch : weights, to, scratch + pass.packed_size});
    });
  }

  ConvolutionShape shape_;
  std::string path_, what_;
  const GroupedKernel* kernel_ = nullptr;
  int parts_ = thread_count();         // that the scratch memory is for
  std::optional<Product> product_;     // backward data
  std::optional<OuterProduct> outer_;  // backward weights
  PackedPass forward_, backward_data_, backward_weights_;
  std::size_t scratch_size_ = 0;
  std::string implementation_;
};

}  // namespace resnext::detail
