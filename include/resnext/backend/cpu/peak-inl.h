// The loop behind peak_gflops(), compiled for every target by for_each_target-inl.h.

inline constexpr int peak_chains = 12;  ///< vectors in flight: latency times units, within the registers of any target

/// `rounds` multiply-adds of each chain, in registers; returns their sum, lest the compiler leave them out.
inline float multiply_add(std::ptrdiff_t rounds) {
  const Vec factor = set1(0.999f), term = set1(0.001f);
  Vec chains[peak_chains];
  RESNEXT_UNROLL
  for (int i = 0; i < peak_chains; ++i) chains[i] = set1(static_cast<float>(i));
  for (; rounds > 0; --rounds) {
    RESNEXT_UNROLL
    for (int i = 0; i < peak_chains; ++i) chains[i] = fma(chains[i], factor, term);
  }
  Vec all = zero();
  RESNEXT_UNROLL
  for (int i = 0; i < peak_chains; ++i) all = all + chains[i];
  return sum(all);
}

inline std::ptrdiff_t flops_of_round() { return 2 * peak_chains * lanes; }
