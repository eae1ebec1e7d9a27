// Guide: a backend of your own, made of another one by replacing operators, and proved against the oracle.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string_view>
#include <vector>

#include <resnext/reference.hpp>
#include <resnext/resnext.hpp>
#include <resnext/testing/gradient_check.hpp>

using namespace resnext;

// [convolution]
/// A convolution with bias and what follows it, as plain loops. `packed` is the weights, then the bias.
class LoopConvolution {
 public:
  template <class Registry>
  LoopConvolution(const ConvolutionShape& shape, Epilogue epilogue, const Registry&, std::string_view)
      : s_(shape), epilogue_(epilogue) {}

  std::size_t packed_size() const { return static_cast<std::size_t>(s_.weight_size() + s_.out) * sizeof(float); }
  std::size_t scratch_size() const { return 0; }
  std::string_view implementation() const { return "loops"; }

  void pack(HostStream&, const float* weights, const float* bias, std::byte* packed) const {
    std::copy_n(bias, s_.out, std::copy_n(weights, s_.weight_size(), reinterpret_cast<float*>(packed)));
  }

  void run(HostStream&, const float* x, const std::byte* packed, float* y, std::byte* /*scratch*/) const {
    const float* weights = reinterpret_cast<const float*>(packed);
    const float* bias = weights + s_.weight_size();
    for (int image = 0; image < s_.n; ++image, x += std::int64_t{s_.h} * s_.w * s_.in) {
      for (int row = 0; row < s_.out_h(); ++row) {
        for (int column = 0; column < s_.out_w(); ++column) {
          for (int channel = 0; channel < s_.out; ++channel, ++y) {
            float sum = bias[channel] + window(x, weights, row * s_.stride, column * s_.stride, channel);
            if (epilogue_.residual) sum += *y;  // the shortcut is there on entry
            *y = epilogue_.relu ? std::max(sum, 0.0f) : sum;
          }
        }
      }
    }
  }

 private:
  /// The sum over one window of one path; `top` and `left` count in the padded map.
  float window(const float* x, const float* weights, int top, int left, int channel) const {
    const int width = s_.in / s_.groups, first = channel / (s_.out / s_.groups) * width;
    float sum = 0;
    for (int c = 0; c < width; ++c) {
      for (int ky = 0; ky < s_.kernel; ++ky) {
        for (int kx = 0; kx < s_.kernel; ++kx) {
          const int h = top + ky - s_.padding, w = left + kx - s_.padding;
          if (h < 0 || h >= s_.h || w < 0 || w >= s_.w) continue;
          sum += x[(std::int64_t{h} * s_.w + w) * s_.in + first + c] *
                 weights[((std::int64_t{channel} * width + c) * s_.kernel + ky) * s_.kernel + kx];
        }
      }
    }
    return sum;
  }

  ConvolutionShape s_;
  Epilogue epilogue_;
};
// [convolution]

// [average pool]
/// The mean of every channel, [n, h, w, c] to [n, c], and its gradient.
class LoopAveragePool {
 public:
  explicit LoopAveragePool(const MapShape& shape) : s_(shape), share_(1.0f / static_cast<float>(shape.h * shape.w)) {}

  void forward(HostStream&, const float* x, float* y) const {
    std::fill_n(y, s_.n * s_.c, 0.0f);  // outputs are assigned, whatever was there
    for_each([&](std::int64_t in, std::int64_t out) { y[out] += x[in] * share_; });
  }
  void backward(HostStream&, const float* dy, float* dx) const {
    for_each([&](std::int64_t in, std::int64_t out) { dx[in] = dy[out] * share_; });
  }

 private:
  template <class Visit>
  void for_each(Visit visit) const {
    const std::int64_t map = std::int64_t{s_.h} * s_.w * s_.c;
    for (std::int64_t i = 0; i < s_.size(); ++i) visit(i, i / map * s_.c + i % s_.c);
  }

  MapShape s_;
  float share_;
};
// [average pool]

// [backend]
/// The reference backend with two operators replaced.
struct Loops : Reference<float> {
  using InferenceConvolution = LoopConvolution;
  using AveragePool = LoopAveragePool;
  static constexpr std::string_view name() { return "Loops"; }
};
static_assert(Backend<Loops>);  // what is missing or does not fit is named here
// [backend]

// [operator]
/// The operator on any backend, as the gradient checker takes it.
template <class B>
DifferentiableOperator<B> average_pool() {
  const auto pool = std::make_shared<typename B::AveragePool>(MapShape{.n = 2, .h = 3, .w = 3, .c = 5});
  DifferentiableOperator<B> op{.name = "average pool", .inputs = {{"x", 90}}, .outputs = {{"y", 10}}};
  op.forward = [pool](auto& stream, const auto& memory) { pool->forward(stream, memory.in[0], memory.out[0]); };
  op.backward = [pool](auto& stream, const auto& memory) { pool->backward(stream, memory.d_out[0], memory.d_in[0]); };
  return op;
}
// [operator]

using Net = Network<Template<CifarStem<8>, Bottleneck<4, 2>, Planes<4>, Stage<2>, Stage<1>, Classes<5>>>;

int main() {
  // [gradients]
  const GradientReport report = compare_gradients(average_pool<Loops>(), average_pool<Reference<double>>());
  std::printf("average pool: error %.1e %s\n", report.error, report.worst.c_str());
  // [gradients]

  // [logits]
  const auto parameters = initialized<Net>(1);
  std::vector<float> values(2 * 8 * 8 * 3);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = RandomStream(2, "images").uniform(i);
  const Images images(values, 2, 8, 8, 3);

  Classifier<Net, Loops> classify(parameters);
  Classifier<Net, Reference<double>> oracle(parameters);
  const auto found = classify(images);
  const auto expected = oracle(images);
  double error = 0;
  for (std::size_t i = 0; i < found.size(); ++i)
    error = std::max(error, std::abs(static_cast<double>(found[i]) - expected[i]));
  std::printf("logits: error %.1e\n", error);
  // [logits]

  // [train]
  Trainer<Net, Loops> trainer(parameters);
  trainer.set_learning_rate(0.1);
  trainer.step(images, std::vector<std::int32_t>{3, 4});
  const double loss = trainer.read_metrics().mean_loss();
  // [train]

  return report.error < 1e-5 && error < 1e-5 && std::isfinite(loss) ? 0 : 1;
}
