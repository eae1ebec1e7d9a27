// expect: these Parameters belong to another network than the executor
#include <resnext/reference.hpp>
#include <resnext/resnext.hpp>

using namespace resnext;

#ifdef RESNEXT_TWIN
using Start = ResNeXt29<8, 64, 10>;
#else
using Start = ResNeXt29<8, 64, 100>;
#endif

int main() {
  const auto weights = initialized<Start>(1);
  Trainer<ResNeXt29<8, 64, 10>, Reference<float>> trainer(weights);
}
