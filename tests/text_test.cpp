#include <doctest/doctest.h>

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include <resnext/text.hpp>

using namespace resnext;

TEST_CASE("parts are joined as a stream would write them") {
  const std::string text = "text";
  CHECK(detail::joined() == "");
  CHECK(detail::joined("a ", text, ' ', std::string_view("view"), '!') == "a text view!");
  CHECK(detail::joined(-1, ' ', 2u, ' ', std::int64_t{3}, ' ', std::uint8_t{65}, ' ', true) == "-1 2 3 65 1");
  CHECK(detail::joined(std::numeric_limits<std::int64_t>::min(), ' ', std::numeric_limits<std::uint64_t>::max()) ==
        "-9223372036854775808 18446744073709551615");
  CHECK(detail::joined(0.5f, ' ', 1e300, ' ', 1.0 / 3, ' ', -0.0) == "0.5 1e+300 0.333333 -0");
}
