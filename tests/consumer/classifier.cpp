// A whole classifier: what the optimiser sees of the headers reaches its warnings too.
#include <cstdio>
#include <vector>

#include <resnext/cpu.hpp>
#include <resnext/resnext.hpp>

using namespace resnext;
using Net = Network<Template<CifarStem<8>, Bottleneck<2, 4>, Planes<8>, Stage<1>, Stage<1>, Classes<5>>>;

int main() {
  const auto parameters = initialized<Net>(1);
  Classifier<Net> classify(parameters);
  const std::vector<float> pixels(3 * 8 * 8);
  return classify(Images(pixels, 1, 8, 8, 3)).size() != 5;
}
