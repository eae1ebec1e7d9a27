// Compiled with -ffast-math and linked first.
#include "training.hpp"

int first_wrong_line_of_fast_unit() { return finite_math::first_wrong_line(); }
