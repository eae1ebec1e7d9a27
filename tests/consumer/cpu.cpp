// Needs the CPU backend: does not link without oneDNN.
#include <resnext/cpu.hpp>
#include <resnext/resnext.hpp>

int main() {
  const resnext::Cpu<float>::AveragePool pool({.n = 1, .h = 2, .w = 2, .c = 8}, "pool");
  return 0;
}
