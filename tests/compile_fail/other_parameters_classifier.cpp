// expect: these Parameters belong to another network than the executor
#include <resnext/reference.hpp>
#include <resnext/resnext.hpp>

using namespace resnext;

#ifdef RESNEXT_TWIN
using Trained = ResNeXt50<32, 4>;
#else
using Trained = ResNeXt50<64, 4>;
#endif

int main() {
  const Parameters<Trained> weights;
  Classifier<ResNeXt50<32, 4>, Reference<float>> classify(weights);
}
