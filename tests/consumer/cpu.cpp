// Needs the CPU backend: does not link without oneDNN.
#include <cstdio>

#include <resnext/cpu.hpp>
#include <resnext/resnext.hpp>

int main() {
  const resnext::Cpu<float>::Linear linear({.n = 2, .in = 8, .out = 3}, "fc");
  return std::printf("%zu\n", linear.scratch_size()) < 0;
}
