#include "all.hpp"

const void* second_unit() { return &resnext::library_version; }
