/// @file
/// Convolution as a matrix product, one image and one group at a time.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>
#include <vector>

#include <resnext/backend/backend.hpp>
#include <resnext/backend/check_shapes.hpp>
#include <resnext/backend/host/quantized_weights.hpp>
#include <resnext/backend/host/stream.hpp>
#include <resnext/backend/reference/matrix.hpp>
#include <resnext/backend/reference/rounding.hpp>
#include <resnext/tensor/number.hpp>
#include <resnext/tensor/typed_pointer.hpp>

namespace resnext::detail {

/// Convolution of `[n, h, w, in]` by `[out, in / groups, kernel, kernel]` in numbers of type C, with both gradients.
///
/// A group's windows are laid out as the rows of a matrix `[out_h out_w, in / groups kernel kernel]` (im2col), whose
/// columns are in the order of the weights. A 1x1 of stride 1 needs no copy: there the map itself is that matrix.
template <class C>
class ConvolutionProducts {
 public:
  using Index = std::ptrdiff_t;

  explicit ConvolutionProducts(const ConvolutionShape& shape) : shape_(shape) {}

  std::string_view name() const { return is_map() ? "product" : "im2col"; }
  /// Bytes that each of the passes takes from its workspace.
  std::size_t windows_size() const { return is_map() ? 0 : Workspace::bytes<C>(pixels() * window()); }

  /// `add`: the result is added to what y holds.
  void forward(const C* x, const C* weights, C* y, Workspace space, bool add) const {
    C* const rows = windows(space);
    for_each_part([&](Index image, Index group) {
      const auto windows = gather(x, image, group, rows);
      const auto kernel = matrix(weights + group * outputs() * window(), outputs(), window());
      auto out = output(y, image, group);
      if (add) {
        out.noalias() += windows * kernel.transpose();
      } else {
        out.noalias() = windows * kernel.transpose();
      }
    });
  }

  void backward_data(const C* dy, const C* weights, C* dx, Workspace space) const {
    C* const rows = windows(space);
    if (!is_map()) std::fill_n(dx, shape_.input_size(), C(0));
    for_each_part([&](Index image, Index group) {
      const auto kernel = matrix(weights + group * outputs() * window(), outputs(), window());
      if (is_map()) {
        input(dx, image, group).noalias() = output(dy, image, group) * kernel;
        return;
      }
      matrix(rows, pixels(), window()).noalias() = output(dy, image, group) * kernel;
      for_each_tap(
          image, group, [&](Index at, Index tap) { dx[at] += rows[tap]; }, [](Index) {});
    });
  }

  void backward_weights(const C* x, const C* dy, C* dweights, Workspace space) const {
    C* const rows = windows(space);
    for_each_part([&](Index image, Index group) {
      const auto windows = gather(x, image, group, rows);
      auto kernel = matrix(dweights + group * outputs() * window(), outputs(), window());
      if (image == 0) kernel.setZero();
      kernel.noalias() += output(dy, image, group).transpose() * windows;
    });
  }

 private:
  bool is_map() const { return shape_.kernel == 1 && shape_.stride == 1; }
  Index inputs() const { return shape_.in / shape_.groups; }    // channels a group reads
  Index outputs() const { return shape_.out / shape_.groups; }  // channels a group writes
  Index window() const { return inputs() * shape_.kernel * shape_.kernel; }
  Index pixels() const { return Index{shape_.out_h()} * shape_.out_w(); }
  C* windows(Workspace& space) const { return is_map() ? nullptr : space.take<C>(pixels() * window()); }

  template <class Visit>
  void for_each_part(Visit visit) const {
    for (Index image = 0; image < shape_.n; ++image) {
      for (Index group = 0; group < shape_.groups; ++group) visit(image, group);
    }
  }

  /// One group's channels of one image, `[out_h out_w, outputs()]`.
  template <class U>
  auto output(U* y, Index image, Index group) const {
    return matrix(y + image * pixels() * shape_.out + group * outputs(), pixels(), outputs(), shape_.out);
  }

  /// The same of the input, `[h w, inputs()]`.
  template <class U>
  auto input(U* x, Index image, Index group) const {
    const Index size = Index{shape_.h} * shape_.w;
    return matrix(x + image * size * shape_.in + group * inputs(), size, inputs(), shape_.in);
  }

  auto gather(const C* x, Index image, Index group, C* rows) const {
    if (is_map()) return input(x, image, group);
    for_each_tap(
        image, group, [&](Index at, Index tap) { rows[tap] = x[at]; }, [&](Index tap) { rows[tap] = C(0); });
    return matrix(static_cast<const C*>(rows), pixels(), window(), window());
  }

  /// Calls `inside(position in x, position in the matrix of windows)`, or `outside(position in the matrix)` on the
  /// border.
  template <class Inside, class Outside>
  void for_each_tap(Index image, Index group, Inside inside, Outside outside) const {
    const Index k = shape_.kernel;
    Index row = 0;
    for (Index oy = 0; oy < shape_.out_h(); ++oy) {
      for (Index ox = 0; ox < shape_.out_w(); ++ox, row += window()) {
        for (Index ky = 0; ky < k; ++ky) {
          for (Index kx = 0; kx < k; ++kx) {
            const Index y = oy * shape_.stride - shape_.padding + ky;
            const Index x = ox * shape_.stride - shape_.padding + kx;
            const bool on_map = y >= 0 && y < shape_.h && x >= 0 && x < shape_.w;
            const Index at = ((image * shape_.h + y) * shape_.w + x) * shape_.in + group * inputs();
            for (Index channel = 0; channel < inputs(); ++channel) {
              const Index tap = row + (channel * k + ky) * k + kx;
              if (on_map) {
                inside(at + channel, tap);
              } else {
                outside(tap);
              }
            }
          }
        }
      }
    }
  }

  ConvolutionShape shape_;
};

/// The three passes of training.
template <class T>
class ReferenceConvolution {
 public:
  using C = Calculated<T>;

  template <class Registry>
  ReferenceConvolution(const ConvolutionShape& shape, const Registry&, std::string_view path)
      : shape_(shape), formats_(known_formats<T>(shape.formats)), products_(shape) {
    check_shape(shape, path);
  }

  std::size_t packed_size() const { return 0; }
  std::size_t scratch_size() const {
    return Workspace::copy_bytes<C>(formats_.x.type, shape_.input_size()) +
           Workspace::copy_bytes<C>(formats_.x.type, shape_.weight_size()) +
           Workspace::copy_bytes<C>(formats_.y.type, shape_.output_size()) + products_.windows_size();
  }
  std::string_view implementation() const { return products_.name(); }

  void forward(HostStream&, ConstTypedPointer x, ConstTypedPointer weights, TypedPointer y, std::byte* /*packed*/,
               std::byte* scratch) const {
    Workspace space(scratch);
    C* const result = space.write<C>(y, shape_.output_size());
    const C* const from = space.read<C>(x, shape_.input_size());
    products_.forward(from, space.read<C>(weights, shape_.weight_size()), result, space, false);
    store(result, y, shape_.output_size());
  }

  void backward_data(HostStream&, ConstTypedPointer dy, ConstTypedPointer weights, TypedPointer dx,
                     std::byte* /*packed*/, std::byte* scratch) const {
    Workspace space(scratch);
    C* const result = space.write<C>(dx, shape_.input_size());
    const C* const gradient = space.read<C>(dy, shape_.output_size());
    products_.backward_data(gradient, space.read<C>(weights, shape_.weight_size()), result, space);
    store(result, dx, shape_.input_size());
  }

  void backward_weights(HostStream&, ConstTypedPointer x, ConstTypedPointer dy, C* dweights, std::byte* scratch) const {
    Workspace space(scratch);
    const C* const from = space.read<C>(x, shape_.input_size());
    products_.backward_weights(from, space.read<C>(dy, shape_.output_size()), dweights, space);
  }

 private:
  ConvolutionShape shape_;
  KnownFormats formats_;
  ConvolutionProducts<C> products_;
};

/// A convolution with a bias, and what follows it in a residual block.
///
/// From a map of integers of 8 bits it is exact, but for three roundings of floats an output: weights are
/// integers too, see `QuantizedWeights`, sums are of 32 bits, and with s the scales of maps and weights
/// y = round(relu(other (s_other / s_y) + (sum (s_x s_w / s_y) + bias / s_y))), each product with its sum rounded once
/// (a fused multiply-add); what y is stored in rounds to nearest even and saturates, and where it is no integer s_y is
/// 1. From any other map weights are rounded to the map's type and all is calculated in C.
template <class T>
class ReferenceInferenceConvolution {
 public:
  using C = Calculated<T>;

  template <class Registry>
  ReferenceInferenceConvolution(const ConvolutionShape& shape, Epilogue epilogue, const Registry&,
                                std::string_view path)
      : shape_(shape),
        epilogue_(epilogue),
        formats_(known_formats<T>(shape.formats)),
        products_(shape),
        integer_products_(shape) {
    check_shape(shape, path);
  }

  /// Weights, then for each output its bias or, of integers, its factor and its bias.
  std::size_t packed_size() const {
    return static_cast<std::size_t>(shape_.weight_size() + (is_integer() ? 2 : 1) * shape_.out) * sizeof(C);
  }
  std::size_t scratch_size() const {
    if (is_integer()) {
      return Workspace::bytes<std::int32_t>(shape_.input_size()) +
             Workspace::bytes<std::int32_t>(shape_.output_size()) + integer_products_.windows_size();
    }
    return Workspace::copy_bytes<C>(formats_.x.type, shape_.input_size()) +
           Workspace::copy_bytes<C>(formats_.y.type, shape_.output_size()) + products_.windows_size();
  }
  std::string_view implementation() const { return products_.name(); }
  static constexpr std::string_view packed_layout() { return "plain"; }

  /// From floats or, so that a folded batch norm is not rounded, doubles.
  template <class Host>
  void pack(HostStream&, const Host* weights, const Host* bias, std::byte* packed) const {
    if (is_integer()) return pack_integers(weights, bias, packed);
    C* const first = reinterpret_cast<C*>(packed);
    C* const last = first + shape_.weight_size();
    with_number<C>(formats_.x.type, [&]<class X>(X) {
      std::transform(weights, weights + shape_.weight_size(), first, [](Host weight) {
        return static_cast<C>(static_cast<std::conditional_t<std::is_integral_v<X>, C, X>>(weight));
      });
    });
    std::transform(bias, bias + shape_.out, last, [](Host value) { return static_cast<C>(value); });
  }

  void run(HostStream&, ConstTypedPointer x, const std::byte* packed, TypedPointer y, std::byte* scratch) const {
    if (is_integer()) return run_integers(x, packed, y, scratch);
    const C* const weights = reinterpret_cast<const C*>(packed);
    const C* const bias = weights + shape_.weight_size();
    Workspace space(scratch);
    C* const sum = space.write<C>(y, shape_.output_size());
    if (epilogue_.residual && sum != y.data()) {
      const Reader<C> residual({y.data(), formats_.other.type}, formats_.other);
      for (std::int64_t i = 0; i < shape_.output_size(); ++i) sum[i] = residual[i];
    }
    const C* const from = space.read<C>(x, shape_.input_size());
    products_.forward(from, weights, sum, space, epilogue_.residual);
    for (C *pixel = sum, *end = sum + shape_.output_size(); pixel != end; pixel += shape_.out) {
      for (int channel = 0; channel < shape_.out; ++channel) {
        const C value = pixel[channel] + bias[channel];
        pixel[channel] = epilogue_.relu ? rectified(value) : value;
      }
    }
    store(sum, y, shape_.output_size(), formats_.y.scale);
  }

 private:
  bool is_integer() const { return is_quantized(formats_.x.type); }

  template <class Host>
  void pack_integers(const Host* weights, const Host* bias, std::byte* packed) const {
    auto* const integers = reinterpret_cast<std::int32_t*>(packed);
    auto* const factors = reinterpret_cast<float*>(integers + shape_.weight_size());
    const std::vector<float> floats(weights, weights + shape_.weight_size());
    const QuantizedWeights quantized(floats, static_cast<std::size_t>(shape_.out));
    std::copy(quantized.numbers.begin(), quantized.numbers.end(), integers);
    const double x = formats_.x.scale, y = formats_.y.scale;
    for (int k = 0; k < shape_.out; ++k) {
      factors[k] = static_cast<float>(x * quantized.scales[static_cast<std::size_t>(k)] / y);
      factors[shape_.out + k] = static_cast<float>(bias[k] / y);
    }
  }

  void run_integers(ConstTypedPointer x, const std::byte* packed, TypedPointer y, std::byte* scratch) const {
    const auto* const weights = reinterpret_cast<const std::int32_t*>(packed);
    const auto* const factors = reinterpret_cast<const float*>(weights + shape_.weight_size());
    const float* const bias = factors + shape_.out;
    Workspace space(scratch);
    auto* const from = space.take<std::int32_t>(shape_.input_size());
    auto* const sums = space.take<std::int32_t>(shape_.output_size());
    const auto copy = [&](const auto* numbers) { std::copy_n(numbers, shape_.input_size(), from); };
    if (x.type() == Dtype::I8) {
      copy(static_cast<const std::int8_t*>(x.data()));
    } else {
      copy(static_cast<const std::uint8_t*>(x.data()));
    }
    integer_products_.forward(from, weights, sums, space, false);
    const Reader<float> residual({y.data(), formats_.other.type}, {formats_.other.type, 1});
    const Writer<float> output({y.data(), formats_.y.type}, {formats_.y.type, 1});
    const auto share = static_cast<float>(double{formats_.other.scale} / formats_.y.scale);
    for (std::int64_t i = 0; i < shape_.output_size(); ++i) {
      const std::int64_t channel = i % shape_.out;
      float value = std::fma(static_cast<float>(sums[i]), factors[channel], bias[channel]);
      if (epilogue_.residual) value = std::fma(residual[i], share, value);
      output(i, epilogue_.relu ? rectified(value) : value);
    }
  }

  ConvolutionShape shape_;
  Epilogue epilogue_;
  KnownFormats formats_;
  ConvolutionProducts<C> products_;
  ConvolutionProducts<std::int32_t> integer_products_;
};

}  // namespace resnext::detail
