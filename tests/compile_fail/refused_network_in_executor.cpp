// expect: the cardinality C must be at least 1
#include <resnext/reference.hpp>
#include <resnext/resnext.hpp>

using namespace resnext;

#ifdef RESNEXT_TWIN
using Mine = ResNeXt50<1, 4>;
#else
using Mine = ResNeXt50<0, 4>;
#endif

int main() {
  const auto weights = load_safetensors<Mine>("mine.safetensors");
  Classifier<Mine, Reference<float>> classify(weights);
  const Images images{};
  classify(images);
  Trainer<Mine, Reference<float>> trainer(weights);
}
