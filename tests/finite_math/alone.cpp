// A program that is compiled with -ffast-math as a whole.
#include <cstdio>

int first_wrong_line_of_fast_unit();

int main() {
  const int line = first_wrong_line_of_fast_unit();
  if (line != 0) std::printf("training.hpp:%d is wrong\n", line);
  return line == 0 ? 0 : 1;
}
