#include <resnext/backend/cpu/grouped.hpp>
#include <resnext/random.hpp>

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "instances/grouped.hpp"

using namespace resnext;

namespace {

constexpr float nan = std::numeric_limits<float>::quiet_NaN();

// Floats that end where an unreadable page begins, with a margin in front: a step outside crashes or shows.
class Guarded {
 public:
  explicit Guarded(std::size_t size) : size_(size) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    bytes_ = (((size + margin) * sizeof(float) + page - 1) / page + 1) * page;
    base_ = static_cast<char*>(mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    REQUIRE(base_ != MAP_FAILED);
    REQUIRE(mprotect(base_ + bytes_ - page, page, PROT_NONE) == 0);
    data_ = reinterpret_cast<float*>(base_ + bytes_ - page) - size;
    std::fill(data_ - margin, data_ + size, nan);
  }
  Guarded(std::size_t size, std::string_view stream) : Guarded(size) {
    const RandomStream random(7, stream);
    for (std::size_t i = 0; i < size; ++i) data_[i] = 2.0f * random.uniform(i) - 1.0f;
  }
  Guarded(const Guarded&) = delete;
  ~Guarded() { munmap(base_, bytes_); }

  float* data() const { return data_; }
  std::size_t size() const { return size_; }
  float& operator[](std::size_t i) const { return data_[i]; }
  bool margin_untouched() const {
    return std::all_of(data_ - margin, data_, [](float value) { return std::isnan(value); });
  }

 private:
  static constexpr std::size_t margin = 64;
  std::size_t size_, bytes_;
  char* base_;
  float* data_;
};

struct Truth {
  std::vector<double> y, dx, dw;
};

// The definition, in double: every product of the convolution once.
Truth convolve(const GroupedShape& s, int d, const Guarded& x, const Guarded& weights, const Guarded& dy) {
  Truth t{std::vector<double>(dy.size()), std::vector<double>(x.size()), std::vector<double>(weights.size())};
  for (int n = 0; n < s.n; ++n)
    for (int oy = 0; oy < s.out_h(); ++oy)
      for (int ox = 0; ox < s.out_w(); ++ox)
        for (int kh = 0; kh < 3; ++kh)
          for (int kw = 0; kw < 3; ++kw) {
            const int iy = oy * s.stride - 1 + kh, ix = ox * s.stride - 1 + kw;
            if (iy < 0 || iy >= s.h || ix < 0 || ix >= s.w) continue;
            for (int c = 0; c < s.channels; ++c)
              for (int j = 0; j < d; ++j) {
                const auto o = static_cast<std::size_t>(((n * s.out_h() + oy) * s.out_w() + ox) * s.channels + c);
                const auto i = static_cast<std::size_t>(((n * s.h + iy) * s.w + ix) * s.channels + c / d * d + j);
                const auto w = static_cast<std::size_t>(((c * d + j) * 3 + kh) * 3 + kw);
                t.y[o] += double{x[i]} * weights[w];
                t.dx[i] += double{dy[o]} * weights[w];
                t.dw[w] += double{dy[o]} * x[i];
              }
          }
  return t;
}

// Empty if the values agree (two non-finite values do), else where they do not.
std::string difference(const Guarded& found, const std::vector<double>& expected, int terms) {
  const double tolerance = 1e-6 * std::sqrt(terms);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (!std::isfinite(found[i]) && !std::isfinite(expected[i])) continue;
    if (std::abs(found[i] - expected[i]) <= tolerance * std::max(1.0, std::abs(expected[i]))) continue;
    return "[" + std::to_string(i) + "] = " + std::to_string(found[i]) + ", expected " + std::to_string(expected[i]);
  }
  return found.margin_untouched() ? "" : "written before the beginning";
}

std::size_t elements(int n, int h, int w, int channels) { return static_cast<std::size_t>(n * h * w * channels); }

template <int d, bool backward = true>
void check(const GroupedShape& s, int broken = 0) {
  using Convolution = GroupedConvolution<d>;
  const Guarded x(elements(s.n, s.h, s.w, s.channels), "x");
  const Guarded weights(elements(s.channels, d, 3, 3), "weights");
  const Guarded dy(elements(s.n, s.out_h(), s.out_w(), s.channels), "dy");
  const Guarded bias(static_cast<std::size_t>(s.channels), "bias");
  for (int i = 0; i < broken; ++i) {
    const auto values = {&x, &dy};
    for (const Guarded* v : values) (*v)[(v->size() - 1) / static_cast<unsigned>(i + 1)] = i % 2 == 0 ? nan : INFINITY;
  }
  const Truth truth = convolve(s, d, x, weights, dy);
  for (const Isa isa : available_isas()) {
    CAPTURE(d);
    CAPTURE(s.n);
    CAPTURE(s.h);
    CAPTURE(s.w);
    CAPTURE(s.channels);
    CAPTURE(s.stride);
    CAPTURE(std::string(isa_name(isa)));
    const Guarded packed(Convolution::packed_size(s.channels, isa));
    Convolution::pack_forward(weights.data(), s.channels, packed.data(), isa);
    {
      const Guarded y(dy.size());
      Convolution::forward(s, x.data(), packed.data(), nullptr, false, y.data(), isa);
      CHECK(difference(y, truth.y, 9 * d) == "");
    }
    {
      const Guarded y(dy.size());
      Convolution::forward(s, x.data(), packed.data(), bias.data(), true, y.data(), isa);
      std::vector<double> expected = truth.y;
      for (std::size_t i = 0; i < expected.size(); ++i) {
        expected[i] += bias[i % bias.size()];
        if (expected[i] < 0) expected[i] = 0;
      }
      CHECK(difference(y, expected, 9 * d) == "");
    }
    if constexpr (backward) {
      Convolution::pack_backward_data(weights.data(), s.channels, s.stride, packed.data(), isa);
      const Guarded dx(x.size());
      Convolution::backward_data(s, dy.data(), packed.data(), dx.data(), isa);
      CHECK(difference(dx, truth.dx, 9 * d) == "");
      const Guarded dw(weights.size()), scratch(Convolution::scratch_size(s, isa));
      Convolution::backward_weights(s, x.data(), dy.data(), dw.data(), scratch.data(), isa);
      std::vector<double> expected = truth.dw;
      for (std::size_t i = 0; i < expected.size(); ++i) {
        // Padding enters a sum as a zero, so what is not finite may fill a kernel of nine, but never another one.
        const auto kernel = truth.dw.begin() + static_cast<std::ptrdiff_t>(i / 9 * 9);
        const bool poisoned = std::any_of(kernel, kernel + 9, [](double v) { return !std::isfinite(v); });
        if (poisoned && !std::isfinite(dw[i])) expected[i] = dw[i];
      }
      CHECK(difference(dw, expected, s.n * s.out_h() * s.out_w()) == "");
    }
  }
}

// Widths that need one tile, several, an overlapping one and the narrowest; maps of one pixel; odd maps with stride 2.
template <int d, bool backward = true>
void sweep() {
  for (const int stride : {1, 2}) {
    for (const int C : {1, 3, 11}) {
      if (C * d > 200 && C > 1) continue;
      check<d, backward>({1, 1, 1, C * d, stride});
      check<d, backward>({1, 2, 3, C * d, stride});
      check<d, backward>({3, 7, 7, C * d, stride});
      check<d, backward>({1, 15, 15, C * d, stride});
    }
    check<d, backward>({1, 3, 29, 5 * d, stride});
    check<d, backward>({2, 4, 16, 2 * d, stride});
    check<d, backward>({1, 1, 40, 1 * d, stride});
  }
}

}  // namespace

TEST_CASE("grouped convolution is its definition: several groups in a vector") {
  sweep<1>();
  sweep<2>();
  sweep<3>();
  sweep<4>();
  sweep<5>();
  sweep<7>();
  sweep<8>();
}

TEST_CASE("grouped convolution is its definition: a group in one or more vectors") {
  sweep<14>();
  sweep<16>();
  sweep<22>();
  sweep<32>();
  sweep<40, false>();
  sweep<100, false>();
}

TEST_CASE("grouped convolution is its definition on maps and channels that are divided over threads") {
  check<4>({2, 18, 16, 128, 1});
  check<4>({1, 17, 15, 128, 2});
  check<32>({2, 7, 7, 256, 1});
}

TEST_CASE("a value that is not finite reaches exactly the outputs that depend on it") {
  for (const int stride : {1, 2}) {
    check<3>({1, 9, 9, 33, stride}, 3);
    check<4>({1, 9, 9, 20, stride}, 3);
    check<8>({1, 9, 9, 24, stride}, 3);
    check<14>({1, 9, 9, 42, stride}, 3);
    check<32>({1, 9, 9, 64, stride}, 3);
  }
}

TEST_CASE("rounding does not depend on how the work is divided") {
  const GroupedShape s{2, 9, 14, 64, 1};
  const Guarded x(elements(s.n, s.h, s.w, s.channels), "x"), weights(elements(s.channels, 4, 3, 3), "weights");
  const Guarded packed(GroupedConvolution<4>::packed_size(s.channels)), whole(x.size()), parts(x.size());
  GroupedConvolution<4>::pack_forward(weights.data(), s.channels, packed.data());
  GroupedConvolution<4>::forward(s, x.data(), packed.data(), nullptr, false, whole.data());
  const auto work = GroupedConvolution<4>::forward_work(s, x.data(), packed.data(), nullptr, false, parts.data());
  for (int unit = 0; unit < work.units(); ++unit) work.run(unit, unit + 1);
  CHECK(std::memcmp(whole.data(), parts.data(), whole.size() * sizeof(float)) == 0);
}

TEST_CASE("work in as many parts as the scratch memory is for, whatever the number of threads is by then") {
  const GroupedShape s{2, 7, 7, 256, 1};
  const Guarded x(elements(s.n, s.h, s.w, s.channels), "x"), dy(x.size(), "dy");
  for (const Isa isa : available_isas()) {
    const Guarded dw(elements(s.channels, 32, 3, 3)), expected(dw.size());
    const Guarded scratch(GroupedConvolution<32>::scratch_size(s, isa));
    GroupedConvolution<32>::backward_weights(s, x.data(), dy.data(), expected.data(), scratch.data(), isa);
    for (const int parts : {1, 3}) {
      const Guarded guarded(GroupedConvolution<32>::scratch_size(s, isa, parts));
      std::thread([&] {
        GroupedConvolution<32>::backward_weights(s, x.data(), dy.data(), dw.data(), guarded.data(), isa, parts);
      }).join();
      CHECK(guarded.margin_untouched());
      CHECK(std::memcmp(dw.data(), expected.data(), dw.size() * sizeof(float)) == 0);
    }
  }
}

TEST_CASE("impossible extents are an error") {
  float dummy[1];
  const auto forward = [&](const GroupedShape& s) {
    GroupedConvolution<4>::forward(s, dummy, dummy, nullptr, false, dummy);
  };
  CHECK_THROWS_AS(forward({1, 8, 8, 6, 1}), ShapeError);
  CHECK_THROWS_AS(forward({0, 8, 8, 8, 1}), ShapeError);
  CHECK_THROWS_AS(forward({1, 0, 8, 8, 1}), ShapeError);
  CHECK_THROWS_AS(forward({1, 8, 8, 8, 3}), ShapeError);
}
