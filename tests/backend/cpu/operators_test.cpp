// Every operator of the CPU backend against Reference<double>, and the laws it must obey.
#include <doctest/doctest.h>

#include <resnext/cpu.hpp>
#include <resnext/reference.hpp>

#include "backend/compare.hpp"
#include "backend/laws.hpp"
#include "instances/grouped.hpp"

using namespace resnext;

// Not in the header, whose users would pay for it in every file.
static_assert(Backend<Cpu<float>>);

TEST_CASE("Cpu<float> agrees with Reference<double>") { operators::compare_all<Cpu<float>>(); }

TEST_CASE("laws of Cpu<float>") { laws::check_all<Cpu<float>>(); }
