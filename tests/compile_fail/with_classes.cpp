// expect: WithClasses<Net, K>: Net must be a Network<Template<...>>
#include <resnext/model/family.hpp>

#ifdef RESNEXT_TWIN
using From = resnext::ResNet18;
#else
using From = resnext::ImageNetTemplate<resnext::Basic<1, 64>, 2, 2, 2, 2>;
#endif

using Net = resnext::WithClasses<From, 10>;
