// expect: may reach at most 2.20 channels
#include <resnext/model/family.hpp>

using namespace resnext;

#ifdef RESNEXT_TWIN
using Mine = ResNeXt50<64, 64>;
#else
using Mine = ResNeXt50<65536, 65536>;
#endif
static_assert(Mine::parameters > 0);
