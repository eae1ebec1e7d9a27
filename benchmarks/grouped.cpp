// Own grouped 3x3 convolutions against oneDNN's, layer by layer of ResNeXt-50 32x4d and of some other widths.
//
//   grouped [--n=8] [Google Benchmark's options]
//
// Every iteration runs the own kernel, oneDNN with formats of its choice (any) and oneDNN with NHWC maps in turn, three
// times each, so that a slow moment of the machine hits all and each finds its maps in the cache as far as they fit;
// the fastest run of each counts. GFLOP/s; ratio = own to the better of oneDNN's two. The last lines sum the layers of
// ResNeXt-50. RESNEXT_ISA=avx2 with DNNL_MAX_CPU_ISA=AVX2 compares the AVX2 paths. The machine must be idle.
#include <resnext/backend/cpu/grouped.hpp>

#include <benchmark/benchmark.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dnnl.hpp>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

using namespace resnext;

namespace {

enum class Direction { forward, backward_data, backward_weights };
constexpr const char* direction_names[] = {"forward", "backward_data", "backward_weights"};

struct Layer {
  int size, stride, d, groups;
  int count;  // in ResNeXt-50 32x4d
};

struct Free {
  void operator()(void* p) const { std::free(p); }
};
using Buffer = std::unique_ptr<float, Free>;

Buffer allocate(std::size_t bytes) {
  constexpr std::size_t huge = std::size_t{1} << 21;
  bytes = (bytes + huge - 1) / huge * huge;
  Buffer buffer(static_cast<float*>(std::aligned_alloc(huge, bytes)));
  if (buffer == nullptr) throw_error<Error>("no memory for ", bytes, " bytes");
  madvise(buffer.get(), bytes, MADV_HUGEPAGE);
  std::memset(buffer.get(), 0x3c, bytes);  // 0.0115 everywhere
  return buffer;
}

const dnnl::engine& engine() {
  static const dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}

#if DNNL_VERSION_MAJOR >= 3
template <class Primitive, class... Arguments>
auto describe(const Arguments&... arguments) {
  return typename Primitive::primitive_desc(engine(), arguments...);
}
#else
template <class Primitive, class... Arguments>
auto describe(const Arguments&... arguments) {
  return typename Primitive::primitive_desc(typename Primitive::desc(arguments...), engine());
}
template <class Primitive, class... Arguments>
auto describe_after(const dnnl::convolution_forward::primitive_desc& forward, const Arguments&... arguments) {
  return typename Primitive::primitive_desc(typename Primitive::desc(arguments...), engine(), forward);
}
#endif

// One oneDNN convolution, ready to run.
class Rival {
 public:
  Rival(const GroupedShape& s, int d, Direction direction, bool nhwc) : stream_(engine()) {
    using namespace dnnl;
    using Tag = memory::format_tag;
    const auto type = memory::data_type::f32;
    const Tag tag = nhwc ? Tag::nhwc : Tag::any;
    const memory::desc x({s.n, s.channels, s.h, s.w}, type, tag), y({s.n, s.channels, s.out_h(), s.out_w()}, type, tag);
    const memory::desc weights({s.channels / d, d, d, 3, 3}, type, Tag::any);
    const memory::dims strides{s.stride, s.stride}, padding{1, 1};
    const auto algorithm = dnnl::algorithm::convolution_direct;
    const auto forward = describe<convolution_forward>(
        direction == Direction::forward ? prop_kind::forward_inference : prop_kind::forward_training, algorithm, x,
        weights, y, strides, padding, padding);
    if (direction == Direction::forward) {
      primitive_ = convolution_forward(forward);
      add(DNNL_ARG_SRC, forward.src_desc());
      add(DNNL_ARG_WEIGHTS, forward.weights_desc());
      add(DNNL_ARG_DST, forward.dst_desc());
    } else if (direction == Direction::backward_data) {
#if DNNL_VERSION_MAJOR >= 3
      const auto pd = describe<convolution_backward_data>(algorithm, x, weights, y, strides, padding, padding, forward);
#else
      const auto pd =
          describe_after<convolution_backward_data>(forward, algorithm, x, weights, y, strides, padding, padding);
#endif
      primitive_ = convolution_backward_data(pd);
      add(DNNL_ARG_DIFF_SRC, pd.diff_src_desc());
      add(DNNL_ARG_WEIGHTS, pd.weights_desc());
      add(DNNL_ARG_DIFF_DST, pd.diff_dst_desc());
    } else {
#if DNNL_VERSION_MAJOR >= 3
      const auto pd =
          describe<convolution_backward_weights>(algorithm, x, weights, y, strides, padding, padding, forward);
#else
      const auto pd =
          describe_after<convolution_backward_weights>(forward, algorithm, x, weights, y, strides, padding, padding);
#endif
      primitive_ = convolution_backward_weights(pd);
      add(DNNL_ARG_SRC, pd.src_desc());
      add(DNNL_ARG_DIFF_WEIGHTS, pd.diff_weights_desc());
      add(DNNL_ARG_DIFF_DST, pd.diff_dst_desc());
    }
  }

  void operator()() {
    primitive_.execute(stream_, arguments_);
    stream_.wait();
  }

 private:
  void add(int argument, const dnnl::memory::desc& desc) {
    buffers_.push_back(allocate(desc.get_size()));
    arguments_.insert({argument, dnnl::memory(desc, engine(), buffers_.back().get())});
  }

  dnnl::stream stream_;
  dnnl::primitive primitive_;
  std::vector<Buffer> buffers_;
  std::unordered_map<int, dnnl::memory> arguments_;
};

// Milliseconds an image of the grouped layers of ResNeXt-50: own, any, nhwc, by direction and layer.
std::map<int, std::array<double, 3>> totals[3];

template <int d>
void compare(benchmark::State& state, const Layer& layer, Direction direction, int n) {
  using Own = GroupedConvolution<d>;
  const GroupedShape s{n, layer.size, layer.size, layer.groups * d, layer.stride};
  const auto floats = [&](int h, int w) { return sizeof(float) * static_cast<unsigned>(n * h * w * s.channels); };
  const Buffer x = allocate(floats(s.h, s.w)), y = allocate(floats(s.out_h(), s.out_w()));
  const Buffer weights = allocate(sizeof(float) * static_cast<unsigned>(s.channels * d * 9));
  const Buffer packed = allocate(sizeof(float) * std::max(Own::packed_size(s.channels), Own::scratch_size(s)));
  if (direction == Direction::forward) Own::pack_forward(weights.get(), s.channels, packed.get());
  if (direction == Direction::backward_data) Own::pack_backward_data(weights.get(), s.channels, s.stride, packed.get());
  Rival any(s, d, direction, false), nhwc(s, d, direction, true);
  const std::function<void()> runs[3] = {[&] {
                                           if (direction == Direction::forward) {
                                             Own::forward(s, x.get(), packed.get(), nullptr, false, y.get());
                                           } else if (direction == Direction::backward_data) {
                                             Own::backward_data(s, y.get(), packed.get(), x.get());
                                           } else {
                                             Own::backward_weights(s, x.get(), y.get(), weights.get(), packed.get());
                                           }
                                         },
                                         [&] { any(); }, [&] { nhwc(); }};
  double best[3] = {1e9, 1e9, 1e9};
  for (auto _ : state) {
    for (int i = 0; i < 9; ++i) {
      const auto start = std::chrono::steady_clock::now();
      runs[i / 3]();
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      best[i / 3] = std::min(best[i / 3], seconds.count());
    }
    state.SetIterationTime(best[0]);
  }
  const double gflop = 2e-9 * 9 * d * s.channels * s.out_h() * s.out_w() * n;
  state.counters["own"] = gflop / best[0];
  state.counters["any"] = gflop / best[1];
  state.counters["nhwc"] = gflop / best[2];
  state.counters["ratio"] = std::min(best[1], best[2]) / best[0];
  auto& total = totals[static_cast<int>(direction)][layer.d * 2 + layer.stride];
  for (int i = 0; i < 3; ++i) total[static_cast<unsigned>(i)] = layer.count * best[i] * 1e3 / n;
}

template <int d>
void add(int size, int stride, int C, int count, int n) {
  for (const Direction direction : {Direction::forward, Direction::backward_data, Direction::backward_weights}) {
    const Layer layer{size, stride, d, C, count};
    const std::string name = std::string(direction_names[static_cast<int>(direction)]) + "/" + std::to_string(C) + "x" +
                             std::to_string(d) + "d/" + std::to_string(size) + "/s" + std::to_string(stride);
    benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) { compare<d>(state, layer, direction, n); })
        ->UseManualTime()
        ->Unit(benchmark::kMillisecond);
  }
}

}  // namespace

int main(int argc, char** argv) {
  int n = 8;
  if (argc > 1 && std::strncmp(argv[1], "--n=", 4) == 0) {
    n = std::atoi(argv[1] + 4);
    if (n < 1) {
      std::fprintf(stderr, "grouped: --n: expected a number of images, found '%s'\n", argv[1] + 4);
      return 2;
    }
    argv[1] = argv[0];
    --argc;
    ++argv;
  }
  add<4>(56, 1, 32, 3, n);
  add<8>(56, 2, 32, 1, n);
  add<8>(28, 1, 32, 3, n);
  add<16>(28, 2, 32, 1, n);
  add<16>(14, 1, 32, 5, n);
  add<32>(14, 2, 32, 1, n);
  add<32>(7, 1, 32, 2, n);
  add<14>(56, 1, 8, 0, n);
  add<28>(28, 1, 8, 0, n);
  add<24>(56, 1, 4, 0, n);
  add<40>(28, 1, 4, 0, n);
  add<48>(28, 1, 4, 0, n);
  add<56>(14, 1, 8, 0, n);
  add<64>(14, 1, 8, 0, n);
  add<96>(14, 1, 4, 0, n);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  std::printf("N = %d, %d threads, own kernels on %s, oneDNN %d.%d\n", n, thread_count(), isa_name(isa()).data(),
              DNNL_VERSION_MAJOR, DNNL_VERSION_MINOR);
  benchmark::RunSpecifiedBenchmarks();
  for (int i = 0; i < 3; ++i) {
    std::array<double, 3> sum{};
    for (const auto& [layer, total] : totals[i]) {
      for (unsigned k = 0; k < 3; ++k) sum[k] += total[k];
    }
    if (sum[0] == 0) continue;
    std::printf("ResNeXt-50, ms/image, %s: own %.2f, any %.2f, nhwc %.2f\n", direction_names[i], sum[0], sum[1],
                sum[2]);
  }
}
