// expect: there must be at least 1 class
#include <resnext/model/family.hpp>

using namespace resnext;

#ifdef RESNEXT_TWIN
using Mine = ResNeXt29<8, 64, 1>;
#else
using Mine = ResNeXt29<8, 64, 0>;
#endif
static_assert(Mine::parameters > 0);
