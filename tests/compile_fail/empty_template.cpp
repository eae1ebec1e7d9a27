// expect: the first argument must be a stem
#include <resnext/model/family.hpp>

using namespace resnext;

#ifdef RESNEXT_TWIN
using Mine = Network<Template<CifarStem<>, Basic<1, 8>, Stage<1>, Classes<2>>>;
#else
using Mine = Network<Template<>>;
#endif
static_assert(Mine::parameters > 0);
