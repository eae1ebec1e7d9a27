#include <cstdio>

#include "training.hpp"

int other_unit();

int main() {
  const int other = other_unit(), line = finite_math::first_wrong_line();
  if (other != 0 || line != 0) std::printf("training.hpp:%d, and with -ffast-math %d, is wrong\n", line, other);
  return other == 0 && line == 0 ? 0 : 1;
}
