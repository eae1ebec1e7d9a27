// expect: Network<T>: T must be a Template
#include <resnext/model/family.hpp>

using namespace resnext;

#ifdef RESNEXT_TWIN
using Mine = Network<Template<CifarStem<>, Basic<1, 8>, Stage<1>, Classes<2>>>;
#else
using Mine = Network<int>;
#endif
static_assert(Mine::parameters > 0);
