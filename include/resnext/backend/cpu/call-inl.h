// For headers that call kernels, after they have compiled theirs; who includes it ends by #undef RESNEXT_CALL.

// Calls a kernel of the instruction set of this process: RESNEXT_CALL(pointwise, x, other, y, size, relu).
#if defined(__x86_64__) || defined(__i386__)
#define RESNEXT_CALL(kernel, ...)                                                              \
  (::resnext::isa() == ::resnext::Isa::avx512 ? ::resnext::detail::avx512::kernel(__VA_ARGS__) \
   : ::resnext::isa() == ::resnext::Isa::avx2 ? ::resnext::detail::avx2::kernel(__VA_ARGS__)   \
                                              : ::resnext::detail::portable::kernel(__VA_ARGS__))
#else
#define RESNEXT_CALL(kernel, ...) ::resnext::detail::portable::kernel(__VA_ARGS__)
#endif
