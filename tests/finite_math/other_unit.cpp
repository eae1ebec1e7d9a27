// Compiled with -ffast-math and linked first, so that the program's inline functions are this unit's.
#include "training.hpp"

int other_unit() { return finite_math::first_wrong_line(); }
