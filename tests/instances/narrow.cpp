#include "grouped.hpp"

namespace resnext::detail {
RESNEXT_TEST_NARROW(RESNEXT_TEST_DEFINE)
}  // namespace resnext::detail
