// A network on the CPU backend: every distinct operator alone, the whole of it in inference and in a training step, and
// a batch of CIFAR pictures as the loader prepares it.
//
//   layers [--n=8] [Google Benchmark's options, for instance --benchmark_filter=backward]
//
// It is compiled for ResNeXt-50 32x4d, or for whatever type cmake -DRESNEXT_BENCHMARK_NETWORK="ResNeXt29<16, 6>" names.
// Convolutions report GFLOP/s, the rest GB/s of the maps they must read and write. An operator alone finds its maps in
// the cache as far as they fit; `network --profile` shows the same operators in their place. The machine must be idle.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <resnext/cpu.hpp>
#include <resnext/data/cifar.hpp>
#include <resnext/data/loader.hpp>
#include <resnext/resnext.hpp>

using namespace resnext;

namespace {

using B = Cpu<float>;
using Net = RESNEXT_BENCHMARK_NETWORK;
constexpr int image = Net::layers[0].kernel == 7 ? 224 : 32;  // of ImageNet's pictures, or CIFAR's

/// An operator and its memory, named by what it is.
struct Work {
  std::string name;
  double flops = 0, bytes = 0;  ///< of one run; flops decide if there are any
  std::function<std::function<void()>()> prepare;
};

std::shared_ptr<HostBuffer<std::byte>> bytes(std::size_t size) {
  return std::make_shared<HostBuffer<std::byte>>(std::max<std::size_t>(size, 1));
}

std::shared_ptr<HostBuffer<float>> memory(std::int64_t size) {
  auto buffer = std::make_shared<HostBuffer<float>>(static_cast<std::size_t>(std::max<std::int64_t>(size, 1)));
  std::fill(buffer->begin(), buffer->end(), 0.01f);
  return buffer;
}

void add_convolution(std::vector<Work>& all, const ConvolutionShape& s) {
  std::ostringstream shape;
  shape << s.in << "-" << s.out << "/k" << s.kernel << "s" << s.stride << "/" << s.h
        << (s.groups > 1 ? "/grouped" : "");
  const double flops = 2.0 * static_cast<double>(s.weight_size()) * s.n * s.out_h() * s.out_w();
  all.push_back({"inference/" + shape.str(), flops, 0, [=] {
                   auto stream = std::make_shared<B::Stream>();
                   auto op = std::make_shared<B::InferenceConvolution>(s, Epilogue{false, true},
                                                                       B::inference_registry<Net>(), "conv");
                   auto x = memory(s.input_size()), y = memory(s.output_size()), w = memory(s.weight_size());
                   auto packed = bytes(op->packed_size()), scratch = bytes(op->scratch_size());
                   op->pack(*stream, w->data(), memory(s.out)->data(), packed->data());
                   return [=] { op->run(*stream, x->data(), packed->data(), y->data(), scratch->data()); };
                 }});
  for (const int pass : {0, 1, 2}) {
    constexpr const char* names[] = {"forward/", "backward_data/", "backward_weights/"};
    all.push_back({names[pass] + shape.str(), flops, 0, [=] {
                     auto stream = std::make_shared<B::Stream>();
                     auto op = std::make_shared<B::Convolution>(s, B::training_registry<Net>(), "conv");
                     auto x = memory(s.input_size()), y = memory(s.output_size()), w = memory(s.weight_size());
                     auto packed = bytes(op->packed_size()), scratch = bytes(op->scratch_size());
                     return std::function<void()>([=] {
                       float *px = x->data(), *py = y->data(), *pw = w->data();
                       if (pass == 0) op->forward(*stream, px, pw, py, packed->data(), scratch->data());
                       if (pass == 1) op->backward_data(*stream, py, pw, px, packed->data(), scratch->data());
                       if (pass == 2) op->backward_weights(*stream, px, py, pw, scratch->data());
                     });
                   }});
  }
}

void add_norm(std::vector<Work>& all, const MapShape& s, bool add) {
  std::ostringstream shape;
  shape << s.c << "/" << s.h << (add ? "/add" : "");
  const double map = 4.0 * static_cast<double>(s.size());
  for (const bool backward : {false, true}) {
    // forward: x twice, y, other; backward: x and dy twice, dx, and with an addition y and dother
    const double moved = map * ((backward ? 5 : 3) + (add ? backward ? 2 : 1 : 0));
    all.push_back({(backward ? "norm_backward/" : "norm_forward/") + shape.str(), 0, moved, [=] {
                     auto stream = std::make_shared<B::Stream>();
                     auto op = std::make_shared<B::BatchNorm>(s, NormOptions{.add = add, .relu = true}, "bn");
                     auto x = memory(s.size()), y = memory(s.size()), dx = memory(s.size()), other = memory(s.size());
                     auto c = memory(6 * s.c);
                     auto saved = bytes(op->saved_size()), scratch = bytes(op->scratch_size());
                     const int n = s.c;
                     op->forward(*stream, x->data(), other->data(), c->data(), c->data() + n, c->data() + 2 * n,
                                 c->data() + 3 * n, y->data(), saved->data(), scratch->data());
                     return std::function<void()>([=] {
                       float* k = c->data();
                       if (backward) {
                         op->backward(*stream, x->data(), y->data(), other->data(), nullptr, k, k + n, saved->data(),
                                      dx->data(), other->data(), k + 4 * n, k + 5 * n, scratch->data());
                       } else {
                         op->forward(*stream, x->data(), other->data(), k, k + n, k + 2 * n, k + 3 * n, y->data(),
                                     saved->data(), scratch->data());
                       }
                     });
                   }});
  }
}

void add_pool(std::vector<Work>& all, const PoolShape& s) {
  for (const bool backward : {false, true}) {
    const double moved = 4.0 * static_cast<double>(s.input_size() + s.output_size());
    all.push_back({backward ? "max_pool_backward" : "max_pool_forward", 0, moved, [=] {
                     auto stream = std::make_shared<B::Stream>();
                     auto op = std::make_shared<B::MaxPool>(s, "pool");
                     auto x = memory(s.input_size()), y = memory(s.output_size());
                     auto indices =
                         std::make_shared<HostBuffer<std::uint8_t>>(static_cast<std::size_t>(s.output_size()));
                     op->forward(*stream, x->data(), y->data(), indices->data());
                     return std::function<void()>([=] {
                       backward ? op->backward(*stream, y->data(), indices->data(), x->data())
                                : op->forward(*stream, x->data(), y->data(), indices->data());
                     });
                   }});
  }
}

void add_linear(std::vector<Work>& all, const LinearShape& s) {
  for (const bool backward : {false, true}) {
    const double flops = (backward ? 4.0 : 2.0) * s.n * s.in * s.out;
    all.push_back({backward ? "linear_backward" : "linear_forward", flops, 0, [=] {
                     auto stream = std::make_shared<B::Stream>();
                     auto op = std::make_shared<B::Linear>(s, "fc");
                     auto x = memory(std::int64_t{s.n} * s.in), y = memory(std::int64_t{s.n} * s.out);
                     auto w = memory(std::int64_t{s.in} * s.out), bias = memory(s.out);
                     auto scratch = bytes(op->scratch_size());
                     auto dx = memory(std::int64_t{s.n} * s.in), dw = memory(std::int64_t{s.in} * s.out);
                     return std::function<void()>([=] {
                       if (backward) {
                         op->backward(*stream, x->data(), w->data(), y->data(), dx->data(), dw->data(), bias->data(),
                                      scratch->data());
                       } else {
                         op->forward(*stream, x->data(), w->data(), bias->data(), y->data(), scratch->data());
                       }
                     });
                   }});
  }
}

void add_sgd(std::vector<Work>& all) {
  constexpr std::int64_t count = Net::parameters;
  all.push_back({"sgd", 0, 4.0 * 5 * static_cast<double>(count), [=] {
                   auto stream = std::make_shared<B::Stream>();
                   auto w = memory(count), g = memory(count), v = memory(count);
                   auto control = std::make_shared<std::array<double, static_cast<std::size_t>(StepControl::count)>>();
                   (*control)[static_cast<std::size_t>(StepControl::ranks)] = 1;
                   (*control)[static_cast<std::size_t>(StepControl::loss_scale)] = 1;
                   const UpdateSegment whole{0, static_cast<std::size_t>(count), 1, 1e-4};
                   auto op = std::make_shared<B::Update>(UpdateOptions{}, std::span(&whole, 1), 0);
                   return [=] {
                     op->run(*stream, control->data(), {w->data(), g->data(), v->data(), w->data(), nullptr, nullptr});
                   };
                 }});
}

/// All of it: a multiply-add of the forward pass comes twice more in the backward pass.
void add_network(std::vector<Work>& all, int n) {
  const double flops = 2.0 * static_cast<double>(Net::macs(image, image)) * n;
  const auto images = [n](const HostBuffer<float>& pixels) {
    return Images(std::span(pixels.data(), pixels.size()), n, image, image, Net::inputs);
  };
  const std::int64_t pixels = std::int64_t{n} * image * image * Net::inputs;
  all.push_back({"network/inference", flops, 0, [=] {
                   auto parameters = std::make_shared<Parameters<Net>>(initialized<Net>(1));
                   auto classifier = std::make_shared<Classifier<Net, B>>(*parameters);
                   auto x = memory(pixels);
                   return [=, keep = parameters] { (*classifier)(images(*x)); };
                 }});
  all.push_back({"network/training", 3 * flops, 0, [=] {
                   auto trainer = std::make_shared<Trainer<Net, B>>(initialized<Net>(1));
                   trainer->set_learning_rate(1e-3);
                   auto x = memory(pixels);
                   const std::vector<std::int32_t> labels(static_cast<std::size_t>(n));
                   return [=] { trainer->step(images(*x), labels); };
                 }});
}

/// Shuffling, crops, flips and normalisation on the calling thread.
void add_loader(std::vector<Work>& all) {
  struct Data {
    Dataset pictures;
    std::optional<Loader> loader;
  };
  constexpr int batch = 128;
  all.push_back({"loader/cifar/128", 0, batch * 3072 * 5.0, [=] {
                   auto data = std::make_shared<Data>();
                   data->pictures = {"random", 32, 32, 3, 10, {}, {}, std::vector<std::int32_t>(10'000)};
                   for (std::size_t i = 0; i < 10'000 * 3072; ++i) {
                     data->pictures.images.push_back(static_cast<std::uint8_t>(i * 2'654'435'761U >> 13));
                   }
                   data->loader.emplace(data->pictures, cifar10_recipe(), LoaderOptions{.batch = batch, .workers = 0});
                   return [data] { benchmark::DoNotOptimize(data->loader->next().images.values.data()); };
                 }});
}

std::vector<Work> operators(int n) {
  std::vector<Extent> extents(Net::layers.size() + 1);
  compute_extents(Net::layers, {image, image, Net::inputs}, extents);
  std::vector<Work> all;
  for (const Layer& layer : Net::layers) {
    const Extent in = extents[static_cast<std::size_t>(layer.input)];
    if (layer.op == LayerOp::convolution) {
      add_convolution(all,
                      {n, in.h, in.w, layer.in, layer.out, layer.kernel, layer.stride, layer.padding, layer.groups});
    } else if (layer.op == LayerOp::batch_norm) {
      add_norm(all, {n, in.h, in.w, in.c}, false);
    } else if (layer.op == LayerOp::add) {
      add_norm(all, {n, in.h, in.w, in.c}, true);
    } else if (layer.op == LayerOp::max_pool) {
      add_pool(all, {n, in.h, in.w, in.c, layer.kernel, layer.stride, layer.padding});
    } else if (layer.op == LayerOp::linear) {
      add_linear(all, {n, layer.in, layer.out});
    }
  }
  add_sgd(all);
  add_network(all, n);
  add_loader(all);
  std::set<std::string> names;
  std::erase_if(all, [&](const Work& work) { return !names.insert(work.name).second; });
  return all;
}

void run(benchmark::State& state, const Work& work) {
  const auto step = work.prepare();
  step();  // plans, packed weights, pages
  for (auto _ : state) step();
  using benchmark::Counter;
  const double amount = work.flops > 0 ? work.flops : work.bytes;
  state.counters[work.flops > 0 ? "GFLOP/s" : "GB/s"] = Counter(amount * 1e-9, Counter::kIsIterationInvariantRate);
}

}  // namespace

int main(int argc, char** argv) {
  int n = 8;
  if (argc > 1 && std::strncmp(argv[1], "--n=", 4) == 0) {
    n = std::atoi(argv[1] + 4);
    if (n < 1) {
      std::fprintf(stderr, "layers: --n: expected a number of images, found '%s'\n", argv[1] + 4);
      return 2;
    }
    argv[1] = argv[0];
    ++argv, --argc;
  }
  const auto all = operators(n);
  for (const Work& work : all) {
    benchmark::RegisterBenchmark(work.name.c_str(), run, work)->UseRealTime()->Unit(benchmark::kMillisecond);
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
