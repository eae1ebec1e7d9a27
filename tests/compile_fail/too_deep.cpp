// expect: at most 400 blocks
#include <resnext/model/family.hpp>

using namespace resnext;

#ifdef RESNEXT_TWIN
using Mine = Network<CifarTemplate<Bottleneck<4, 4>, 3>>;
#else
using Mine = Network<CifarTemplate<Bottleneck<4, 4>, 134>>;
#endif
static_assert(Mine::parameters > 0);
