/// @file
/// The CPU backend: oneDNN, and own kernels where they are faster.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>

#include <resnext/backend/backend.hpp>
#include <resnext/backend/cpu/batch_norm.hpp>
#include <resnext/backend/cpu/buffer.hpp>
#include <resnext/backend/cpu/convolution.hpp>
#include <resnext/backend/cpu/linear.hpp>
#include <resnext/backend/cpu/peak.hpp>
#include <resnext/backend/cpu/pointwise.hpp>
#include <resnext/backend/cpu/pool.hpp>
#include <resnext/backend/cpu/registry.hpp>
#include <resnext/backend/host/loss.hpp>
#include <resnext/backend/host/memory.hpp>
#include <resnext/backend/host/stream.hpp>
#include <resnext/backend/host/update.hpp>

namespace resnext {

/// What people run: x86 with AVX-512 or AVX2 and FMA, anything else slower. The instruction set is chosen at run time,
/// and `RESNEXT_ISA=avx2` or `portable` lowers it for own kernels and oneDNN alike; `OMP_NUM_THREADS` sets the threads.
/// The same threads and instruction set give the same bits.
template <class T>
struct Cpu;

/// In fp32.
template <>
struct Cpu<float> : detail::HostMemory {
  /// @name The contract
  /// @{

  /// See `Backend`.
  using Scalar = float;
  using Master = float;
  using Gradient = float;
  using Stream = CpuStream;
  template <class U>
  using Buffer = CpuBuffer<U>;

  using Registry = KernelRegistry;
  /// Kernels for the distinct widths of the grouped 3x3 convolutions of `Net::layers`; the inference registry has no
  /// backward kernels.
  template <class Net>
  static Registry inference_registry() {
    return detail::make_registry<false, Net>();
  }
  template <class Net>
  static Registry training_registry() {
    return detail::make_registry<true, Net>();
  }

  using InferenceConvolution = detail::CpuInferenceConvolution;
  using Convolution = detail::CpuConvolution;
  using BatchNorm = detail::CpuBatchNorm;
  using ScaleShift = detail::CpuScaleShift;
  using Pointwise = detail::CpuPointwise;
  using MaxPool = detail::CpuMaxPool;
  using AveragePool = detail::CpuAveragePool;
  using Linear = detail::CpuLinear;
  using CrossEntropy = detail::HostCrossEntropy<float>;  // a few thousand numbers a step, best in double
  using Update = detail::HostUpdate<float, float, float, detail::CpuSgd>;

  static constexpr std::string_view name() { return "Cpu<float>"; }
  /// y += x.
  static void accumulate(HostStream&, const float* x, float* y, std::int64_t size) {
    detail::pointwise(y, x, y, size, false);
  }
  static void guard(HostStream&, const float* gradients, std::int64_t size, std::int64_t images, double* control,
                    double* metrics) {
    detail::judge_step(detail::all_finite(gradients, size), images, control, metrics);
  }
  /// @}

  /// What computes, and its version.
  static std::string libraries() {
    const dnnl_version_t* v = dnnl_version();
    return "oneDNN " + std::to_string(v->major) + "." + std::to_string(v->minor) + "." + std::to_string(v->patch);
  }
  /// Measures what all threads could do at most, for Profile::table(): 10^9 fp32 operations a second, two a
  /// multiply-add. Takes some tens of milliseconds.
  static double peak_gflops() { return detail::measured_peak_gflops(); }
};

}  // namespace resnext
