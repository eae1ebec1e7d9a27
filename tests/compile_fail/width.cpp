// expect: the width d of a path must be at least 1
#include <resnext/model/family.hpp>

using namespace resnext;

#ifdef RESNEXT_TWIN
using Mine = ResNeXt50<32, 4>;
#else
using Mine = ResNeXt50<32, -4>;
#endif
static_assert(Mine::parameters > 0);
