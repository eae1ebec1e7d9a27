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
#include <resnext/backend/reference/rounding.hpp>
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
  using C = Calculated<T>;

  template <class Registry>
  ReferenceConvolution(const ConvolutionShape& shape, const Registry&, std::string_view path) : shape_(shape) {
    check_shape(shape, path);
  }

  std::size_t packed_size() const { return 0; }
  std::size_t scratch_size() const {
    return Workspace::copy_bytes<T>(shape_.input_size()) + Workspace::copy_bytes<T>(shape_.weight_size()) +
           Workspace::copy_bytes<T>(shape_.output_size()) + windows_size();
  }
  std::string_view implementation() const { return is_map() ? "product" : "im2col"; }

  void forward(HostStream&, const T* x, const T* weights, T* y, std::byte* /*packed*/, std::byte* scratch) const {
    Workspace space(scratch);
    C* const result = space.write(y, shape_.output_size());
    convolve(space.read(x, shape_.input_size()), space.read(weights, shape_.weight_size()), result, space, false);
    store(result, y, shape_.output_size());
  }

  /// `add`: the result is added to what y holds.
  void convolve(const C* x, const C* weights, C* y, Workspace space, bool add) const {
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

  void backward_data(HostStream&, const T* dy, const T* weights, T* dx, std::byte* /*packed*/,
                     std::byte* scratch) const {
    Workspace space(scratch);
    C* const result = space.write(dx, shape_.input_size());
    const C* const from = space.read(dy, shape_.output_size());
    const C* const kernels = space.read(weights, shape_.weight_size());
    C* const rows = windows(space);
    if (!is_map()) std::fill_n(result, shape_.input_size(), C(0));
    for_each_part([&](Index image, Index group) {
      const auto kernel = matrix(kernels + group * outputs() * window(), outputs(), window());
      if (is_map()) {
        input(result, image, group).noalias() = output(from, image, group) * kernel;
        return;
      }
      matrix(rows, pixels(), window()).noalias() = output(from, image, group) * kernel;
      for_each_tap(
          image, group, [&](Index at, Index tap) { result[at] += rows[tap]; }, [](Index) {});
    });
    store(result, dx, shape_.input_size());
  }

  void backward_weights(HostStream&, const T* x, const T* dy, C* dweights, std::byte* scratch) const {
    Workspace space(scratch);
    const C* const from = space.read(x, shape_.input_size());
    const C* const gradient = space.read(dy, shape_.output_size());
    C* const rows = windows(space);
    for_each_part([&](Index image, Index group) {
      const auto windows = gather(from, image, group, rows);
      auto kernel = matrix(dweights + group * outputs() * window(), outputs(), window());
      if (image == 0) kernel.setZero();
      kernel.noalias() += output(gradient, image, group).transpose() * windows;
    });
  }

 private:
  bool is_map() const { return shape_.kernel == 1 && shape_.stride == 1; }
  Index inputs() const { return shape_.in / shape_.groups; }    // channels a group reads
  Index outputs() const { return shape_.out / shape_.groups; }  // channels a group writes
  Index window() const { return inputs() * shape_.kernel * shape_.kernel; }
  Index pixels() const { return Index{shape_.out_h()} * shape_.out_w(); }
  std::size_t windows_size() const { return is_map() ? 0 : Workspace::bytes<C>(pixels() * window()); }
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

/// A convolution with a bias, and what follows it in a residual block. `packed` is the weights, rounded to the type of
/// maps, then the bias, which is not.
template <class T>
class ReferenceInferenceConvolution {
 public:
  using C = Calculated<T>;

  template <class Registry>
  ReferenceInferenceConvolution(const ConvolutionShape& shape, Epilogue epilogue, const Registry& registry,
                                std::string_view path)
      : shape_(shape), epilogue_(epilogue), convolution_(shape, registry, path) {}

  std::size_t packed_size() const { return static_cast<std::size_t>(shape_.weight_size() + shape_.out) * sizeof(C); }
  std::size_t scratch_size() const { return convolution_.scratch_size(); }
  std::string_view implementation() const { return convolution_.implementation(); }

  /// From floats or, so that a folded batch norm is not rounded, doubles.
  template <class Host>
  void pack(HostStream&, const Host* weights, const Host* bias, std::byte* packed) const {
    C* const first = reinterpret_cast<C*>(packed);
    C* const last = std::transform(weights, weights + shape_.weight_size(), first,
                                   [](Host value) { return static_cast<C>(static_cast<T>(value)); });
    std::transform(bias, bias + shape_.out, last, [](Host value) { return static_cast<C>(value); });
  }

  void run(HostStream&, const T* x, const std::byte* packed, T* y, std::byte* scratch) const {
    const C* const weights = reinterpret_cast<const C*>(packed);
    const C* const bias = weights + shape_.weight_size();
    Workspace space(scratch);
    C* sum = space.write(y, shape_.output_size());
    if (sizeof(T) != sizeof(C) && epilogue_.residual) std::copy_n(y, shape_.output_size(), sum);
    convolution_.convolve(space.read(x, shape_.input_size()), weights, sum, space, epilogue_.residual);
    for (const C* const end = sum + shape_.output_size(); sum != end; sum += shape_.out, y += shape_.out) {
      for (int channel = 0; channel < shape_.out; ++channel) {
        const C value = sum[channel] + bias[channel];
        y[channel] = static_cast<T>(epilogue_.relu ? rectified(value) : value);
      }
    }
  }

 private:
  ConvolutionShape shape_;
  Epilogue epilogue_;
  ReferenceConvolution<T> convolution_;
};

}  // namespace resnext::detail
