#include <resnext/backend/cpu/isa.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <string>

using namespace resnext;

TEST_CASE("without a wish the best available instruction set is chosen") {
  CHECK(detail::choose_isa(nullptr) == available_isas().back());
  CHECK(detail::choose_isa("") == available_isas().back());
}

TEST_CASE("portable is always available, and the sets ascend") {
  CHECK(available_isas().front() == Isa::portable);
  CHECK(std::ranges::is_sorted(available_isas()));
}

TEST_CASE("every available instruction set can be asked for by its name") {
  for (const Isa wanted : available_isas()) CHECK(detail::choose_isa(std::string(isa_name(wanted)).c_str()) == wanted);
}

TEST_CASE("an unknown or missing instruction set is an error that says what is possible") {
  CHECK_THROWS_WITH_AS(detail::choose_isa("avx3"), "RESNEXT_ISA=avx3: expected portable, avx2 or avx512", OptionError);
  CHECK_THROWS_AS(detail::choose_isa("AVX2"), OptionError);
  for (const Isa wanted : {Isa::avx2, Isa::avx512}) {
    if (std::ranges::find(available_isas(), wanted) != available_isas().end()) continue;
    const std::string text(isa_name(wanted));
    CHECK_THROWS_WITH_AS(detail::choose_isa(text.c_str()),
                         doctest::Contains("this machine has no " + doctest::String(text.c_str())), OptionError);
  }
}
