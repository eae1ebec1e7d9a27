#include <cstdio>
#include <string_view>
#include <vector>

#include <resnext/cpu.hpp>
#include <resnext/eval/top_k.hpp>
#include <resnext/resnext.hpp>

using namespace resnext;
using Net = ResNeXt50<32, 4>;  // 32 paths of width 4: the compiler knows every layer
static_assert(Net::parameters == 25'028'904);

int main(int argc, char** argv) {
  const auto weights = initialized<Net>(1);  // or load_safetensors<Net>("resnext50_32x4d.safetensors")
  Classifier<Net> classify(weights);
  const std::vector<float> pixels(2 * 224 * 224 * 3, 0.5f);
  const auto logits = classify(Images(pixels, 2, 224, 224, 3));  // [N, H, W, 3] in, [N, 1000] out
  std::printf("%zu logits, %.2f GMAC an image\n", logits.size(), double(Net::macs(224, 224)) * 1e-9);
  std::printf("best class of image 0: %d\n", most_probable(logits.first(Net::classes), 1)[0].label);
  if (argc > 1 && std::string_view(argv[1]) == "--profile") {  // where the time goes, layer by layer
    Profile profile;
    for (int i = 0; i < 5; ++i) classify.profile(Images(pixels, 2, 224, 224, 3), profile);
    std::fputs(profile.table(Cpu<float>::peak_gflops()).c_str(), stdout);
  }
}
