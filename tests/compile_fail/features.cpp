// expect: the last one is the network's last
#include <resnext/model/family.hpp>

using namespace resnext;

#ifdef RESNEXT_TWIN
using Mine = Network<Template<ImageNetStem<>, Bottleneck<32, 4>, Stage<3>, Stage<4>, Stage<6>, Features<2, 3>>>;
#else
using Mine = Network<Template<ImageNetStem<>, Bottleneck<32, 4>, Stage<3>, Stage<4>, Stage<6>, Features<1, 2>>>;
#endif
static_assert(Mine::parameters > 0);
