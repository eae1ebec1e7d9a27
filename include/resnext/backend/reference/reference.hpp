/// @file
/// The plainest backend: it defines what every operator means, and every other backend is tested against it.
#pragma once

#include <concepts>
#include <cstdint>
#include <string_view>

#include <resnext/backend/backend.hpp>
#include <resnext/backend/host/loss.hpp>
#include <resnext/backend/host/memory.hpp>
#include <resnext/backend/host/stream.hpp>
#include <resnext/backend/reference/batch_norm.hpp>
#include <resnext/backend/reference/convolution.hpp>
#include <resnext/backend/reference/linear.hpp>
#include <resnext/backend/reference/pool.hpp>
#include <resnext/backend/reference/sgd.hpp>
#include <resnext/tensor/buffer.hpp>

namespace resnext {

/// Clarity and precision first: Eigen multiplies matrices, plain loops do the rest, long sums are in double.
/// `Reference<double>` is the oracle; `Reference<float>` runs a network where only Eigen is at hand.
template <std::floating_point T>
struct Reference : detail::HostMemory<T> {
  /// @name The contract
  /// @{

  /// See `Backend`.
  using Scalar = T;
  using Stream = HostStream;
  template <class U>
  using Buffer = resnext::HostBuffer<U>;

  /// Nothing is specialised here, so there is nothing to register.
  struct Registry {};
  template <class Net>
  static Registry inference_registry() {
    return {};
  }
  template <class Net>
  static Registry training_registry() {
    return {};
  }

  using InferenceConvolution = detail::ReferenceInferenceConvolution<T>;
  using Convolution = detail::ReferenceConvolution<T>;
  using BatchNorm = detail::ReferenceBatchNorm<T>;
  using ScaleShift = detail::ReferenceScaleShift<T>;
  using Pointwise = detail::ReferencePointwise<T>;
  using MaxPool = detail::ReferenceMaxPool<T>;
  using AveragePool = detail::ReferenceAveragePool<T>;
  using Linear = detail::ReferenceLinear<T>;
  using CrossEntropy = detail::HostCrossEntropy<T>;

  static constexpr std::string_view name() { return std::same_as<T, float> ? "Reference<float>" : "Reference<double>"; }
  static void accumulate(HostStream&, const T* x, T* y, std::int64_t size) {
    for (std::int64_t i = 0; i < size; ++i) y[i] += x[i];
  }
  static void sgd(HostStream&, const SgdOptions& options, const T* hyper, const double* metrics, std::int64_t size,
                  T* weights, const T* gradient, T* velocity) {
    detail::reference_sgd(options, hyper, metrics, size, weights, gradient, velocity);
  }
  /// @}
};

static_assert(Backend<Reference<float>>);
static_assert(Backend<Reference<double>>);

}  // namespace resnext
