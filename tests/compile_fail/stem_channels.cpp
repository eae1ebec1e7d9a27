// expect: Stem<Channels, Inputs>: both must be at least 1
#include <resnext/model/family.hpp>

using namespace resnext;

#ifdef RESNEXT_TWIN
using Mine = Network<Template<ImageNetStem<64, 1>, Basic<1, 64>, Stage<2>, Classes<10>>>;
#else
using Mine = Network<Template<ImageNetStem<64, 0>, Basic<1, 64>, Stage<2>, Classes<10>>>;
#endif
static_assert(Mine::parameters > 0);
