// What a program may call its own, who says `using namespace resnext` all the same.
struct Entry {};
struct Slot {};
struct Part {};
struct Place {};
struct Interval {};
struct Buffer {};
struct Random {};
int mix(int x) { return x; }
int threads(int x) { return x; }
int fail(int x) { return x; }

#include "all.hpp"

using namespace resnext;

const void* second_unit() {
  static const auto own = [](Entry, Slot, Part, Place, Interval, Buffer, Random) { return fail(mix(threads(1))); };
  static const int one = own({}, {}, {}, {}, {}, {}, {});
  return one == 1 ? static_cast<const void*>(&library_version) : nullptr;
}
