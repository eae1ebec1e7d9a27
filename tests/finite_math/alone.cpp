#include <cstdio>

#include "training.hpp"

int main() {
  const int line = finite_math::first_wrong_line();
  if (line != 0) std::printf("training.hpp:%d is wrong\n", line);
  return line == 0 ? 0 : 1;
}
