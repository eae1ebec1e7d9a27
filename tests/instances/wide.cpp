#include "grouped.hpp"

namespace resnext::detail {
RESNEXT_TEST_WIDE(RESNEXT_TEST_DEFINE)
}  // namespace resnext::detail
