// expect: Planes<n>: n must be at least 1
#include <resnext/model/family.hpp>

using namespace resnext;

#ifdef RESNEXT_TWIN
using Mine = Network<Template<CifarStem<>, Bottleneck<4, 4>, Planes<8>, Stage<1>, Classes<10>>>;
#else
using Mine = Network<Template<CifarStem<>, Bottleneck<4, 4>, Planes<0>, Stage<1>, Classes<10>>>;
#endif
static_assert(Mine::parameters > 0);
