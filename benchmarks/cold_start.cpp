// From the start of a process to the first logits of ResNeXt-50 32x4d, weights read from disk, and the memory it took.
//
//   cold_start weights.safetensors            measures (all of the process: time it from outside too)
//   cold_start --write weights.safetensors    makes a file of random weights to measure with

#include <sys/resource.h>

#include <chrono>
#include <fstream>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include <unistd.h>

#include <resnext/cpu.hpp>
#include <resnext/resnext.hpp>

namespace {

/// Seconds since this process was started, in the clock ticks (10 ms) of /proc.
double seconds_since_start() {
  std::ifstream stat("/proc/self/stat");
  std::string word, line;
  std::getline(stat, line);
  std::size_t at = line.rfind(')') + 2;
  for (int field = 3; field < 22; ++field) at = line.find(' ', at) + 1;
  const double started = std::stod(line.substr(at)) / static_cast<double>(::sysconf(_SC_CLK_TCK));
  double up = 0;
  std::ifstream("/proc/uptime") >> up;
  return up - started;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace resnext;
  using Net = ResNeXt50<32, 4>;
  try {
    if (argc == 3 && std::string_view(argv[1]) == "--write") {
      save_safetensors(argv[2], initialized<Net>(1));
      return 0;
    }
    if (argc != 2) {
      std::cerr << "usage: cold_start weights.safetensors | cold_start --write weights.safetensors\n";
      return 2;
    }
    const auto begun = std::chrono::steady_clock::now();
    const auto since = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count(); };
    const MappedParameters<Net> weights(argv[1]);
    const double loaded = since();
    Classifier<Net> classify(weights);
    const std::vector<float> pixels(224 * 224 * 3, 0.5f);
    const auto logits = classify(Images(pixels, 1, 224, 224, 3));
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    std::cout << "load " << loaded << " s, first logits after " << since() << " s in main and " << seconds_since_start()
              << " s of process, peak memory " << static_cast<double>(usage.ru_maxrss) / 1024
              << " MiB (logit 0: " << logits[0] << ")\n";
  } catch (const Error& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
