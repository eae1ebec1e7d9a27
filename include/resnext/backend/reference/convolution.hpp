/// @file
/// Convolution as a matrix product, one image and one group at a time.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>

#include <resnext/backend/backend.hpp>
#include <resnext/backend/check_shapes.hpp>
#include <resnext/backend/host/stream.hpp>
#include <resnext/backend/reference/matrix.hpp>
#include <resnext/tensor/number.hpp>

namespace resnext::detail {

/// Convolution of `[n, h, w, in]` by `[out, in / groups, kernel, kernel]`, with both gradients.
///
/// A group's windows are laid out as the rows of a matrix `[out_h out_w, in / groups kernel kernel]` (im2col), whose
/// columns are in the order of the weights. A 1x1 of stride 1 needs no copy: there the map itself is that matrix.
template <class T>
class ReferenceConvolution {
 public:
  using Index = std::ptrdiff_t;

  template <class Registry>
  ReferenceConvolution(const ConvolutionShape& shape, const Registry&, std::string_view path) : shape_(shape) {
    check_shape(shape, path);
  }

  std::size_t packed_size() const { return 0; }
  std::size_t scratch_size() const { return is_map() ? 0 : static_cast<std::size_t>(pixels() * window()); }
  std::string_view implementation() const { return is_map() ? "product" : "im2col"; }

  void forward(HostStream&, const T* x, const T* weights, T* y, T* /*packed*/, T* scratch) const {
    convolve(x, weights, y, scratch, false);
  }

  /// `add`: the result is added to what y holds.
  void convolve(const T* x, const T* weights, T* y, T* scratch, bool add) const {
    for_each_part([&](Index image, Index group) {
      const auto windows = gather(x, image, group, scratch);
      const auto kernel = matrix(weights + group * outputs() * window(), outputs(), window());
      auto out = output(y, image, group);
      if (add) {
        out.noalias() += windows * kernel.transpose();
      } else {
        out.noalias() = windows * kernel.transpose();
      }
    });
  }

  void backward_data(HostStream&, const T* dy, const T* weights, T* dx, T* /*packed*/, T* scratch) const {
    if (!is_map()) std::fill_n(dx, shape_.input_size(), T(0));
    for_each_part([&](Index image, Index group) {
      const auto kernel = matrix(weights + group * outputs() * window(), outputs(), window());
      if (is_map()) {
        input(dx, image, group).noalias() = output(dy, image, group) * kernel;
        return;
      }
      matrix(scratch, pixels(), window()).noalias() = output(dy, image, group) * kernel;
      for_each_tap(
          image, group, [&](Index at, Index tap) { dx[at] += scratch[tap]; }, [](Index) {});
    });
  }

  void backward_weights(HostStream&, const T* x, const T* dy, T* dweights, T* scratch) const {
    for_each_part([&](Index image, Index group) {
      const auto windows = gather(x, image, group, scratch);
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

  auto gather(const T* x, Index image, Index group, T* scratch) const {
    if (is_map()) return input(x, image, group);
    for_each_tap(
        image, group, [&](Index at, Index tap) { scratch[tap] = x[at]; }, [&](Index tap) { scratch[tap] = T(0); });
    return matrix(static_cast<const T*>(scratch), pixels(), window(), window());
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

/// A convolution with a bias, and what follows it in a residual block. `packed` is the weights, then the bias.
template <class T>
class ReferenceInferenceConvolution {
 public:
  template <class Registry>
  ReferenceInferenceConvolution(const ConvolutionShape& shape, Epilogue epilogue, const Registry& registry,
                                std::string_view path)
      : shape_(shape), epilogue_(epilogue), convolution_(shape, registry, path) {}

  std::size_t packed_size() const { return static_cast<std::size_t>(shape_.weight_size() + shape_.out); }
  std::size_t scratch_size() const { return convolution_.scratch_size(); }
  std::string_view implementation() const { return convolution_.implementation(); }

  /// From floats or, so that a folded batch norm is not rounded, doubles.
  template <class Host>
  void pack(HostStream&, const Host* weights, const Host* bias, T* packed) const {
    const auto round = [](Host value) { return static_cast<T>(value); };
    packed = std::transform(weights, weights + shape_.weight_size(), packed, round);
    std::transform(bias, bias + shape_.out, packed, round);
  }

  void run(HostStream&, const T* x, const T* packed, T* y, T* scratch) const {
    convolution_.convolve(x, packed, y, scratch, epilogue_.residual);
    const T* bias = packed + shape_.weight_size();
    for (T* end = y + shape_.output_size(); y != end; y += shape_.out) {
      for (int channel = 0; channel < shape_.out; ++channel) {
        const T value = y[channel] + bias[channel];
        y[channel] = epilogue_.relu ? rectified(value) : value;
      }
    }
  }

 private:
  ConvolutionShape shape_;
  Epilogue epilogue_;
  ReferenceConvolution<T> convolution_;
};

}  // namespace resnext::detail
