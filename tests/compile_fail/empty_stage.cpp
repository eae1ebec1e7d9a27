// expect: a stage must have at least 1 block
#include <resnext/model/family.hpp>

using namespace resnext;

#ifdef RESNEXT_TWIN
using Mine = Network<ImageNetTemplate<Bottleneck<32, 4>, 3, 4, 6, 3>>;
#else
using Mine = Network<ImageNetTemplate<Bottleneck<32, 4>, 3, 4, 0, 3>>;
#endif
static_assert(Mine::parameters > 0);
