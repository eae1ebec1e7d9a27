// expect: at least one Stage<N> must stand before the head
#include <resnext/model/family.hpp>

using namespace resnext;

#ifdef RESNEXT_TWIN
using Mine = Network<Template<CifarStem<>, Bottleneck<8, 64>, Planes<64>, Stage<3>, Classes<10>>>;
#else
using Mine = Network<Template<CifarStem<>, Bottleneck<8, 64>, Planes<64>, Classes<10>>>;
#endif
static_assert(Mine::parameters > 0);
