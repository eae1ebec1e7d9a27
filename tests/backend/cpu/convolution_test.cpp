#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <new>
#include <string>
#include <string_view>

#include <resnext/backend/cpu/cpu.hpp>

#include "files.hpp"
#include "instances/grouped.hpp"

using namespace resnext;
using testing::message_of;

namespace {

bool counting = false;
std::size_t allocated = 0;

}  // namespace

[[gnu::noinline]] void* operator new(std::size_t size) {
  if (counting) allocated += size;
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace {

/// Bytes that `work` takes from the heap when it has run before.
template <class Work>
std::size_t allocations(Work work) {
  work();
  allocated = 0;
  counting = true;
  work();
  counting = false;
  return allocated;
}

struct Net {
  static constexpr std::array layers = {Layer{LayerOp::convolution, LayerName("conv"), 0, -1, 1, 32, 32, 3, 1, 1, 8}};
};
struct WideNet {
  static constexpr std::array layers = {Layer{LayerOp::convolution, LayerName("conv"), 0, -1, 1, 16, 16, 3, 1, 1, 4},
                                        Layer{LayerOp::convolution, LayerName("conv"), 0, -1, 1, 128, 128, 3, 1, 1, 4},
                                        Layer{LayerOp::convolution, LayerName("conv"), 0, -1, 1, 144, 144, 3, 1, 1, 4},
                                        Layer{LayerOp::convolution, LayerName("conv"), 0, -1, 1, 208, 208, 3, 1, 1, 4}};
};
const auto wide_registry = Cpu<float>::inference_registry<WideNet>();
const auto registry = Cpu<float>::training_registry<Net>();
constexpr ConvolutionShape grouped{2, 9, 9, 32, 32, 3, 1, 1, 8}, dense{2, 9, 9, 32, 64, 1, 1, 0, 1};

bool has(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

}  // namespace

TEST_CASE("grouped 3x3 convolutions get own kernels, the rest oneDNN's") {
  const Cpu<float>::InferenceConvolution own(grouped, {}, registry, "conv2"), library(dense, {}, registry, "conv1");
  CHECK(own.implementation() == "grouped d=4 " + std::string(isa_name(isa())));
  CHECK(has(library.implementation(), "onednn "));
  const Cpu<float>::InferenceConvolution unknown({2, 9, 9, 48, 48, 3, 1, 1, 8}, {}, registry, "conv2");
  CHECK(has(unknown.implementation(), "onednn "));
}

TEST_CASE("no grouped convolution of the registry falls to a general implementation") {
  for (const int width : {4, 32, 36, 52}) {
    const Cpu<float>::InferenceConvolution op({1, 9, 9, 4 * width, 4 * width, 3, 1, 1, 4}, {}, wide_registry, "conv2");
    for (const char* word : {"gemm", "ref"}) CHECK_FALSE(has(op.implementation(), word));
    if (isa() != Isa::avx2 || width == 4 || width == 36) CHECK(has(op.implementation(), "grouped d="));
  }
}

TEST_CASE("an impossible shape is refused by name") {
  const auto text = message_of<ShapeError>([] {
    Cpu<float>::InferenceConvolution({1, 8, 8, 30, 32, 3, 1, 1, 4}, {}, registry, "layer1.0.conv2");
  });
  CHECK(has(text, "layer1.0.conv2"));
  CHECK(has(text, "4 groups"));
  CHECK(has(text, "in 30"));
  CHECK(has(message_of<ShapeError>([] {
              Cpu<float>::Convolution({1, 2, 2, 8, 8, 7, 1, 0, 1}, registry, "conv1");
            }),
            "conv1"));
  CHECK(has(message_of<ShapeError>([] { Cpu<float>::Linear({0, 8, 8}, "fc"); }), "fc: expected n"));
  CHECK(has(message_of<ShapeError>([] {
              Cpu<float>::BatchNorm({1, 1, 1, 8}, {}, "bn1");
            }),
            "bn1: expected more than 1 value"));
}

TEST_CASE("own kernels allocate nothing when they run, and oneDNN's little more than their arguments") {
  Cpu<float>::Stream stream;
  for (const ConvolutionShape& shape : {grouped, dense}) {
    const auto size = [](std::int64_t count) { return static_cast<std::size_t>(count); };
    Cpu<float>::InferenceConvolution inference(shape, {}, registry, "conv");
    Cpu<float>::Convolution training(shape, registry, "conv");
    HostBuffer<float> x(size(shape.input_size())), y(size(shape.output_size())), weights(size(shape.weight_size()));
    HostBuffer<float> bias(size(shape.out));
    HostBuffer<std::byte> packed(inference.packed_size()),
        scratch(std::max(inference.scratch_size(), training.scratch_size()));
    inference.pack(stream, weights.data(), bias.data(), packed.data());
    const std::size_t most = shape == grouped ? 0 : 4096;
    CHECK(allocations([&] { inference.run(stream, x.data(), packed.data(), y.data(), scratch.data()); }) <= most);
    CHECK(allocations([&] { training.forward(stream, x.data(), weights.data(), y.data(), nullptr, scratch.data()); }) <=
          most);
    CHECK(allocations([&] {
            training.backward_data(stream, y.data(), weights.data(), x.data(), nullptr, scratch.data());
          }) <= most);
    CHECK(allocations([&] { training.backward_weights(stream, x.data(), y.data(), weights.data(), scratch.data()); }) <=
          most);
  }
  const MapShape map{2, 9, 9, 32};
  Cpu<float>::BatchNorm norm(map, {.add = true, .relu = true}, "bn");
  const auto size = static_cast<std::size_t>(map.size());
  HostBuffer<float> x(size), y(size), dx(size), channels(6 * 32);
  HostBuffer<std::byte> saved(norm.saved_size()), scratch(norm.scratch_size());
  const auto at = [&](int i) { return channels.data() + 32 * i; };
  CHECK(allocations([&] {
          norm.forward(stream, x.data(), x.data(), at(0), at(1), at(2), at(3), y.data(), saved.data(), scratch.data());
          norm.backward(stream, x.data(), y.data(), y.data(), nullptr, at(0), at(1), saved.data(), dx.data(), y.data(),
                        at(4), at(5), scratch.data());
        }) == 0);
}
