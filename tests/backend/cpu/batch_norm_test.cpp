#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>

#include <resnext/backend/cpu/cpu.hpp>
#include <resnext/random.hpp>

using namespace resnext;

TEST_CASE("statistics survive a mean that is large against the deviation") {
  const MapShape shape{4, 16, 16, 20};
  Cpu<float>::BatchNorm norm(shape, {.epsilon = 0}, "bn");
  Cpu<float>::Stream stream;
  const auto size = static_cast<std::size_t>(shape.size());
  HostBuffer<float> x(size), y(size), channels(80);
  HostBuffer<std::byte> saved_bytes(norm.saved_size()), scratch(norm.scratch_size());
  const float* const saved = reinterpret_cast<const float*>(saved_bytes.data());
  const RandomStream random(1, "values");
  for (std::size_t i = 0; i < size; ++i) x[i] = 1000.0f + random.uniform(i);
  std::fill_n(channels.data(), 20, 1.0f);
  float* const c = channels.data();
  norm.forward(stream, x.data(), nullptr, c, c + 20, c + 40, c + 60, y.data(), saved_bytes.data(), scratch.data());
  for (std::size_t channel = 0; channel < 20; ++channel) {
    double mean = 0, variance = 0;
    for (std::size_t i = channel; i < size; i += 20) mean += x[i] / 1024.0;
    for (std::size_t i = channel; i < size; i += 20) variance += (x[i] - mean) * (x[i] - mean) / 1024.0;
    CHECK(saved[channel] == doctest::Approx(mean).epsilon(1e-7));
    CHECK(saved[20 + channel] == doctest::Approx(1 / std::sqrt(variance)).epsilon(1e-5));
  }
}

TEST_CASE("maps larger than the caches give the bits of their images alone") {
  // ghost batches of one image have the statistics of that image, whether their map is stored past the caches or not
  const MapShape large{6, 64, 64, 256}, small{1, 64, 64, 256};
  Cpu<float>::Stream stream;
  Cpu<float>::BatchNorm all(large, {.relu = true, .ghost_batch = 1}, "bn"), one(small, {.relu = true}, "bn");
  const auto size = static_cast<std::size_t>(large.size()), image = static_cast<std::size_t>(small.size());
  HostBuffer<float> x(size), dy(size), y(size), dx(size), y1(image), dx1(image), c(6 * 256);
  HostBuffer<std::byte> saved(all.saved_size()), scratch(std::max(all.scratch_size(), one.scratch_size()));
  const RandomStream random(2, "values");
  for (std::size_t i = 0; i < size; ++i) x[i] = random.uniform(i);
  for (std::size_t i = 0; i < size; ++i) dy[i] = random.uniform(size + i) - 0.5f;
  std::fill_n(c.data(), 2 * 256, 0.5f);
  const auto at = [&](int i) { return c.data() + 256 * i; };
  const auto run = [&](auto& norm, const float* from, const float* gradient, float* to, float* result) {
    norm.forward(stream, from, nullptr, at(0), at(1), at(2), at(3), to, saved.data(), scratch.data());
    norm.backward(stream, from, to, gradient, nullptr, at(0), at(1), saved.data(), result, nullptr, at(4), at(5),
                  scratch.data());
  };
  run(all, x.data(), dy.data(), y.data(), dx.data());
  for (std::size_t i = 0; i < size; i += image) {
    run(one, x.data() + i, dy.data() + i, y1.data(), dx1.data());
    CHECK(std::equal(y1.begin(), y1.end(), y.begin() + i));
    CHECK(std::equal(dx1.begin(), dx1.end(), dx.begin() + i));
  }
}
