// Needs the headers alone.
#include <cstdio>

#include <resnext/resnext.hpp>
#include <resnext/version.hpp>

using Net = resnext::ResNeXt50<32, 4>;
static_assert(Net::parameters == 25'028'904);

int main() { return std::puts(resnext::library_version.data()) < 0; }
