#include <cstdio>

#include <resnext/cpu.hpp>
#include <resnext/eval/predictor.hpp>
#include <resnext/io/image.hpp>
#include <resnext/resnext.hpp>

using namespace resnext;
using Net = ResNeXt50<32, 4>;

int main(int argc, char** argv) {
  if (argc != 4) return std::fprintf(stderr, "usage: predict weights.safetensors classes.txt picture\n"), 2;
  const auto names = read_class_names(argv[2], Net::classes);
  Predictor<Net> predict(load_safetensors<Net>(argv[1]), imagenet_v1(), names);
  for (const auto& [name, probability] : predict(read_image(argv[3]), 5)) {
    std::printf("%5.1f %%  %s\n", 100 * probability, name.c_str());
  }
}
