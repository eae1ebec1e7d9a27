// expect: between the block and the head stand an optional Planes<n>, then only Stage<N>
#include <resnext/model/family.hpp>

using namespace resnext;

#ifdef RESNEXT_TWIN
using Mine = Network<Template<CifarStem<>, Bottleneck<8, 64>, Stage<3>, Stage<3>, Classes<10>>>;
#else
using Mine = Network<Template<CifarStem<>, Bottleneck<8, 64>, Stage<3>, std::array<int, 3>, Classes<10>>>;
#endif
static_assert(Mine::parameters > 0);
