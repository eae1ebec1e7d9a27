// Compiles one header of kernels for every instruction set, without any -m option. No include guard on purpose.
//
//   #include <...>                                              // everything the kernels need, BEFORE
//   #define RESNEXT_KERNELS <resnext/backend/cpu/mine-inl.h>
//   #include <resnext/backend/cpu/for_each_target-inl.h>        // no macro of it is left afterwards
//
// defines the content of mine-inl.h in resnext::detail::portable, ::avx2 and ::avx512 (the latter two on x86 only), each
// on top of the vectors of simd-inl.h in the same namespace. mine-inl.h has no guard, no #include and no namespace of
// its own. Rules inside it, each learned from a defect:
// - pointers, integers and plain structs of them in signatures; no vector type leaves the region;
// - nothing from std that is compiled to code (one AVX-512 copy of it would be merged with the portable one), no OpenMP
//   (its outlined functions lose the target), no helper shared between targets;
// - RESNEXT_UNROLL before every loop that indexes an array of vectors: without it the accumulators live on the stack.
// The caller chooses: switch (isa()) { case Isa::avx512: return detail::avx512::f(...); ... }.

#ifndef RESNEXT_KERNELS
#error "define RESNEXT_KERNELS as the header to compile for every target"
#endif

#if defined(__x86_64__) || defined(__i386__)
#define RESNEXT_X86 1
#include <immintrin.h>
#else
#define RESNEXT_X86 0
#endif
#define RESNEXT_UNROLL _Pragma("GCC unroll 64")
#define RESNEXT_INLINE inline __attribute__((always_inline))
#define RESNEXT_INLINED __attribute__((always_inline))  // for lambdas

#ifndef RESNEXT_FOR_EACH_TARGET
#define RESNEXT_FOR_EACH_TARGET
#define RESNEXT_LANES 4
namespace resnext::detail::portable {
#include <resnext/backend/cpu/simd-inl.h>
}  // namespace resnext::detail::portable
#undef RESNEXT_LANES
#define RESNEXT_SIMD_IS_NEW 1
#else
#define RESNEXT_SIMD_IS_NEW 0
#endif

#define RESNEXT_LANES 4
namespace resnext::detail::portable {
#include RESNEXT_KERNELS
}  // namespace resnext::detail::portable
#undef RESNEXT_LANES

#if RESNEXT_X86
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"  // g++ 12's own intrinsics
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#define RESNEXT_LANES 8
namespace resnext::detail::avx2 {
#if RESNEXT_SIMD_IS_NEW
#include <resnext/backend/cpu/simd-inl.h>
#endif
#include RESNEXT_KERNELS
}  // namespace resnext::detail::avx2
#undef RESNEXT_LANES
#ifdef __clang__
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"))), \
                             apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")
#endif
#define RESNEXT_LANES 16
namespace resnext::detail::avx512 {
#if RESNEXT_SIMD_IS_NEW
#include <resnext/backend/cpu/simd-inl.h>
#endif
#include RESNEXT_KERNELS
}  // namespace resnext::detail::avx512
#undef RESNEXT_LANES
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC diagnostic pop
#pragma GCC pop_options
#endif
#endif

#undef RESNEXT_INLINED
#undef RESNEXT_INLINE
#undef RESNEXT_UNROLL
#undef RESNEXT_X86
#undef RESNEXT_SIMD_IS_NEW
#undef RESNEXT_KERNELS
