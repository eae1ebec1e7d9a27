// Guide: a kernel of your own for a GPU, run on the CPU by the emulator, and proof that each of its barriers is needed.

#include <cstddef>
#include <cstdio>
#include <vector>

#include <resnext/error.hpp>
#include <resnext/testing/emulated.hpp>

using namespace resnext;

constexpr int channels = 32, tile = 64;  // a block has a thread for each channel

// [kernel]
/// means[c] = the mean of x[rows, channels] over the rows, of which a block has `tile` in shared memory at once. P is the
/// platform: all that a GPU offers beyond C++.
template <class P>
void channel_means(const float* x, int rows, float* means) {
  auto* const shared = reinterpret_cast<float*>(P::shared_memory());  // [tile][channels]
  float sum = 0;
  for (int first = 0; first < rows; first += tile) {
    for (int i = P::thread() * 4; i < tile * channels; i += P::threads() * 4) {
      const bool inside = first + i / channels < rows;
      P::copy_16_async(shared + i, inside ? x + first * channels + i : x, inside);  // zeros beyond the end
    }
    P::commit_copies();
    P::template wait_for_copies<0>();  // the thread's own copies are there,
    P::barrier();                      // and those of the others
    for (int row = 0; row < tile; ++row) sum += shared[row * channels + P::thread()];
    P::barrier();  // all have read the tile before it is written again
  }
  means[P::thread()] = sum / static_cast<float>(rows);
}
// [kernel]

// [run]
/// False where the kernel is wrong under these options.
bool is_right(const EmulatorOptions& options) {
  const int rows = 100;
  std::vector<float> x(static_cast<std::size_t>(rows * channels)), means(channels);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % channels + i / channels % 2);
  Emulated::options() = options;
  Emulated::launch<channel_means<Emulated>>({}, channels, sizeof(float) * tile * channels, x.data(), rows, means.data());
  for (std::size_t c = 0; c < means.size(); ++c) {
    if (!(means[c] == static_cast<float>(c) + 0.5f)) return false;
  }
  return true;
}
// [run]

int main() {
  try {
    // [modes]
    std::vector<EmulatorOptions> modes;
    for (const auto order : {ThreadOrder::ascending, ThreadOrder::descending, ThreadOrder::random}) {
      for (const auto copies : {CopyArrival::late, CopyArrival::early, CopyArrival::random}) {
        modes.push_back({.order = order, .copies = copies});
      }
    }
    for (const EmulatorOptions& mode : modes) {
      if (!is_right(mode)) throw_error<Error>("channel_means is wrong");
    }
    // [modes]

    // [needed]
    const std::vector<KernelPlace> places = Emulated::synchronizations();  // two barriers and a wait
    for (const KernelPlace& place : places) {
      bool noticed = false;
      for (EmulatorOptions mode : modes) {
        mode.skip = place;
        try {
          noticed = noticed || !is_right(mode);
        } catch (const KernelError&) {  // a deadlock, or copies that nobody waited for
          noticed = true;
        }
      }
      std::printf("line %d: %s\n", place.line, noticed ? "needed" : "not needed");
      if (!noticed) throw_error<Error>("a barrier too many");
    }
    // [needed]
    return places.size() == 3 ? 0 : 1;
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
