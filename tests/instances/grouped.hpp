/// The grouped kernels of all widths that several tests use, compiled once: a test that includes this header leaves
/// them to narrow.cpp, middle.cpp and wide.cpp.
#pragma once

#include <resnext/backend/cpu/grouped.hpp>

#define RESNEXT_TEST_NARROW(of) of(1) of(2) of(3) of(4) of(5)
#define RESNEXT_TEST_MIDDLE(of) of(7) of(8) of(14) of(16) of(22)
#define RESNEXT_TEST_WIDE(of) of(24) of(32) of(40) of(64) of(100)

#define RESNEXT_TEST_DEFINE(d)                                         \
  template GroupedRows::Choose choose_rows<d, Pass::stride1>(Isa);     \
  template GroupedRows::Choose choose_rows<d, Pass::stride2>(Isa);     \
  template GroupedRows::Choose choose_rows<d, Pass::transposed2>(Isa); \
  template SumsKernels choose_sums<d>(Isa, int);
#define RESNEXT_TEST_DECLARE(d)                                               \
  extern template GroupedRows::Choose choose_rows<d, Pass::stride1>(Isa);     \
  extern template GroupedRows::Choose choose_rows<d, Pass::stride2>(Isa);     \
  extern template GroupedRows::Choose choose_rows<d, Pass::transposed2>(Isa); \
  extern template SumsKernels choose_sums<d>(Isa, int);

namespace resnext::detail {
RESNEXT_TEST_NARROW(RESNEXT_TEST_DECLARE)
RESNEXT_TEST_MIDDLE(RESNEXT_TEST_DECLARE)
RESNEXT_TEST_WIDE(RESNEXT_TEST_DECLARE)
}  // namespace resnext::detail
