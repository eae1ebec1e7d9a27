#include "all.hpp"

const void* second_unit();

int main() { return second_unit() == &resnext::library_version ? 0 : 1; }
