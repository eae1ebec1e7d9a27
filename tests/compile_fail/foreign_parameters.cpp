// expect: these Parameters belong to another network than the executor
#include <resnext/model/family.hpp>
#include <resnext/nn/classifier.hpp>
#include <resnext/reference.hpp>

using namespace resnext;
using Mine = ResNeXt29<4, 8>;
#ifdef RESNEXT_TWIN
using Theirs = Mine;
#else
using Theirs = ResNeXt29<8, 4>;
#endif

void classify(const Parameters<Theirs>& parameters) { Classifier<Mine, Reference<float>> classifier(parameters); }
