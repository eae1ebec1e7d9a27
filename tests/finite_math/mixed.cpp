// A program of which one unit is compiled with -ffast-math: inline functions of both are one.
#include <cstdio>

#include "training.hpp"

int first_wrong_line_of_fast_unit();

int main() {
  const int fast = first_wrong_line_of_fast_unit(), line = finite_math::first_wrong_line();
  if (fast != 0 || line != 0) std::printf("training.hpp:%d, and with -ffast-math %d, is wrong\n", line, fast);
  return fast == 0 && line == 0 ? 0 : 1;
}
