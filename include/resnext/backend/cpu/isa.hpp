/// @file
/// The instruction sets that the own CPU kernels are compiled for, and the one that this process uses.
#pragma once

#include <resnext/error.hpp>

#include <array>
#include <cstdlib>
#include <span>
#include <string_view>

namespace resnext {

/// Instruction sets of the own kernels, each one a superset of those before it.
enum class Isa {
  portable,  ///< plain vectors of four floats, whatever the compiler makes of them
  avx2,      ///< AVX2 and FMA
  avx512     ///< AVX-512 F, BW, DQ and VL
};

/// The name that `RESNEXT_ISA` takes and reports print.
constexpr std::string_view isa_name(Isa isa) {
  return isa == Isa::avx512 ? "avx512" : isa == Isa::avx2 ? "avx2" : "portable";
}

/// Everything this machine (processor and operating system) can run, ascending: `portable` is always the first.
inline std::span<const Isa> available_isas() {
  static constexpr std::array all{Isa::portable, Isa::avx2, Isa::avx512};
#if defined(__x86_64__) || defined(__i386__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  return std::span(all).first(avx512 ? 3 : avx2 ? 2 : 1);
#else
  return std::span(all).first(1);
#endif
}

namespace detail {

/// The instruction set asked for: the best one when `wanted` is null or empty.
/// @throws OptionError for an unknown name, and for one that this machine lacks.
inline Isa choose_isa(const char* wanted) {
  const auto available = available_isas();
  if (wanted == nullptr || *wanted == '\0') return available.back();
  for (const Isa isa : available) {
    if (isa_name(isa) == wanted) return isa;
  }
  for (const Isa isa : {Isa::avx2, Isa::avx512}) {
    if (isa_name(isa) == wanted) {
      throw_error<OptionError>("RESNEXT_ISA=", wanted, ": this machine has no ", wanted, "; the best it can run is ",
                               isa_name(available.back()));
    }
  }
  throw_error<OptionError>("RESNEXT_ISA=", wanted, ": expected portable, avx2 or avx512");
}

}  // namespace detail

/// The instruction set of the own kernels in this process: the best available one, or what the environment variable
/// `RESNEXT_ISA` (`portable`, `avx2`, `avx512`) lowers it to. Decided at the first call.
/// @throws OptionError if the variable holds an unknown name, or one that this machine lacks.
inline Isa isa() {
  static const Isa chosen = detail::choose_isa(std::getenv("RESNEXT_ISA"));
  return chosen;
}

}  // namespace resnext
