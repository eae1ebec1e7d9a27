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
#include <resnext/backend/host/update.hpp>
#include <resnext/backend/reference/batch_norm.hpp>
#include <resnext/backend/reference/convolution.hpp>
#include <resnext/backend/reference/linear.hpp>
#include <resnext/backend/reference/pool.hpp>
#include <resnext/backend/reference/rounding.hpp>
#include <resnext/backend/reference/sgd.hpp>
#include <resnext/tensor/buffer.hpp>
#include <resnext/tensor/number.hpp>
#include <resnext/tensor/number_format.hpp>
#include <resnext/tensor/typed_pointer.hpp>

namespace resnext {

namespace detail {

/// What classifies in `Reference<T>`: all of it for integers, the half that training stands on for the others.
template <class T>
struct ReferenceInference : HostMemory {
  /// See `InferenceBackend`.
  using Scalar = T;
  using Master = Calculated<T>;
  using Stream = HostStream;
  template <class U>
  using Buffer = resnext::HostBuffer<U>;

  /// Nothing is specialised here, so there is nothing to register.
  struct Registry {};
  template <class Net>
  static Registry inference_registry() {
    return {};
  }

  using InferenceConvolution = ReferenceInferenceConvolution<T>;
  using ScaleShift = ReferenceScaleShift<T>;
  using Pointwise = ReferencePointwise<T>;
  using MaxPool = ReferenceMaxPool<T>;
  using AveragePool = ReferenceAveragePool<T>;
  using InferenceLinear = ReferenceInferenceLinear<T>;

  static constexpr std::string_view name() {
    if (std::same_as<T, int8>) return "Reference<int8>";
    if (std::same_as<T, bfloat16>) return "Reference<bfloat16>";
    if (std::same_as<T, float16>) return "Reference<float16>";
    return std::same_as<T, float> ? "Reference<float>" : "Reference<double>";
  }
  static constexpr bool takes(Dtype type) { return calculates_with<Master>(type); }
};

}  // namespace detail

/// Clarity and precision first: Eigen multiplies matrices, plain loops do the rest, long sums are in double.
/// `Reference<double>` is the oracle; `Reference<float>` runs a network where only Eigen is at hand.
///
/// `Reference<bfloat16>` and `Reference<float16>` calculate in float and round where such a backend stores: maps, their
/// gradients, and weights as operators read them. They are what other backends of those types are measured by, and
/// slow. `Reference<int8>` is the same for integers of 8 bits, and classifies only: its sums are exact, and each
/// rounding is said where it is made, see `detail::ReferenceInferenceConvolution`.
///
/// A map may be of any type that is calculated in the same: those of 8, 16 and 32 bits in float.
template <class T>
struct Reference : detail::ReferenceInference<T> {
  static_assert(std::same_as<T, double> || std::same_as<T, float> || std::same_as<T, bfloat16> ||
                    std::same_as<T, float16>,
                "Reference<T>: T is double, float, bfloat16, float16 or int8");

  using typename detail::ReferenceInference<T>::Master;
  using typename detail::ReferenceInference<T>::Registry;

  /// @name The contract
  /// @{

  /// See `Backend`.
  using Gradient = Master;
  template <class Net>
  static Registry training_registry() {
    return {};
  }

  using Convolution = detail::ReferenceConvolution<T>;
  using BatchNorm = detail::ReferenceBatchNorm<T>;
  using Linear = detail::ReferenceLinear<T>;
  using CrossEntropy = detail::HostCrossEntropy<Master>;
  using Update = detail::HostUpdate<T, Master, Gradient, detail::ReferenceSgd>;

  static void accumulate(HostStream&, ConstTypedPointer x, TypedPointer y, std::int64_t size) {
    const detail::Reader<Master> from(x, {}), sum(y, {});
    const detail::Writer<Master> to(y, {});
    for (std::int64_t i = 0; i < size; ++i) to(i, sum[i] + from[i]);
  }
  /// @}
};

/// In integers of 8 bits, for inference alone.
template <>
struct Reference<int8> : detail::ReferenceInference<int8> {};

static_assert(Backend<Reference<float>>);
static_assert(Backend<Reference<double>>);
static_assert(Backend<Reference<bfloat16>>);
static_assert(Backend<Reference<float16>>);
static_assert(InferenceBackend<Reference<int8>> && !Backend<Reference<int8>>);

}  // namespace resnext
