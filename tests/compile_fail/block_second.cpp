// expect: the second argument must be a block
#include <resnext/model/family.hpp>

using namespace resnext;

#ifdef RESNEXT_TWIN
using Mine = Network<Template<ImageNetStem<>, Bottleneck<32, 4>, Stage<3>, Classes<1000>>>;
#else
using Mine = Network<Template<ImageNetStem<>, Stage<3>, Bottleneck<32, 4>, Classes<1000>>>;
#endif
static_assert(Mine::parameters > 0);
