// expect: Net has no Classes<K>; call forward
#include <resnext/reference.hpp>
#include <resnext/resnext.hpp>

using namespace resnext;

#ifdef RESNEXT_TWIN
using Mine = Network<Template<CifarStem<>, Bottleneck<8, 64>, Stage<1>, Classes<10>>>;
#else
using Mine = Network<Template<CifarStem<>, Bottleneck<8, 64>, Stage<1>, Features<1>>>;
#endif

int main() {
  Classifier<Mine, Reference<float>> classify(initialized<Mine>(1));
  classify(Images());
}
