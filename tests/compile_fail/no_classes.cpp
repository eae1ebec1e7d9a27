// expect: the last argument must be a head, Classes<K> or Features<stages...>
#include <resnext/model/family.hpp>

using namespace resnext;

#ifdef RESNEXT_TWIN
using Mine = Network<Template<CifarStem<>, Bottleneck<8, 64>, Stage<3>, Stage<3>, Classes<10>>>;
#else
using Mine = Network<Template<CifarStem<>, Bottleneck<8, 64>, Stage<3>, Stage<3>>>;
#endif
static_assert(Mine::parameters > 0);
