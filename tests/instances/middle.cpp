#include "grouped.hpp"

namespace resnext::detail {
RESNEXT_TEST_MIDDLE(RESNEXT_TEST_DEFINE)
}  // namespace resnext::detail
