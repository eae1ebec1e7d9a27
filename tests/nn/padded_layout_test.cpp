// A backend whose memory looks otherwise than a file: weights [out, k, k, in / groups], channels of maps and weights in
// multiples of 8 with NaN between. It calculates as the reference does, so whole networks pass what that passes.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <resnext/reference.hpp>
#include <resnext/resnext.hpp>

#include "networks.hpp"
#include "support/golden.hpp"
#include "support/golden_networks.hpp"

using namespace resnext;

namespace {

using Plain = Reference<double>;
using Numbers = std::vector<double>;

constexpr double poison = std::numeric_limits<double>::quiet_NaN();
constexpr std::size_t pitch(int channels) { return static_cast<std::size_t>((channels + 7) / 8 * 8); }
constexpr std::size_t count(std::int64_t size) { return static_cast<std::size_t>(size); }

/// Rows of channels without what is between them.
Numbers dense_rows(const double* padded, std::size_t rows, int channels) {
  Numbers result;
  for (std::size_t row = 0; row < rows; ++row) {
    result.insert(result.end(), padded + row * pitch(channels), padded + row * pitch(channels) + channels);
  }
  return result;
}
void pad_rows(const Numbers& from, double* to, int channels, double between) {
  for (std::size_t row = 0; row < from.size() / count(channels); ++row) {
    double* const rest = std::copy_n(from.data() + row * count(channels), channels, to + row * pitch(channels));
    std::fill(rest, to + (row + 1) * pitch(channels), between);
  }
}

Numbers dense(const double* map, const MapShape& s) { return dense_rows(map, count(s.size() / s.c), s.c); }
Numbers dense_if(bool there, const double* map, const MapShape& s) { return there ? dense(map, s) : Numbers(); }
void pad(const Numbers& from, double* map, const MapShape& s) { pad_rows(from, map, s.c, poison); }

/// Exchanges the last two dimensions of `[..., rows, columns]`: from [out, in, k k] to [out, k k, in] and back.
Numbers exchanged(const Numbers& from, std::size_t rows, std::size_t columns) {
  Numbers to(from.size());
  for (std::size_t i = 0; i < from.size(); ++i) {
    const std::size_t matrix = i / (rows * columns), row = i / columns % rows, column = i % columns;
    to[(matrix * columns + column) * rows + row] = from[i];
  }
  return to;
}

std::size_t window(const TensorShape& s) { return count(s.extents[2]) * count(s.extents[3]); }
std::size_t rows(const TensorShape& s) { return count(s.extents[0]) * window(s); }
Numbers dense(const double* tensor, const TensorShape& s) {
  if (s.rank == 1) return {tensor, tensor + s.size()};
  return exchanged(dense_rows(tensor, rows(s), s.extents[1]), window(s), count(s.extents[1]));
}
void pad(const Numbers& from, double* tensor, const TensorShape& s, double between) {
  if (s.rank == 1) {
    std::copy(from.begin(), from.end(), tensor);
  } else {
    pad_rows(exchanged(from, count(s.extents[1]), window(s)), tensor, s.extents[1], between);
  }
}

MapShape in_map(const ConvolutionShape& s) { return {s.n, s.h, s.w, s.in}; }
MapShape out_map(const ConvolutionShape& s) { return {s.n, s.out_h(), s.out_w(), s.out}; }
MapShape in_map(const PoolShape& s) { return {s.n, s.h, s.w, s.c}; }
MapShape out_map(const PoolShape& s) { return {s.n, s.out_h(), s.out_w(), s.c}; }
TensorShape weights(const ConvolutionShape& s) { return {4, {s.out, s.in / s.groups, s.kernel, s.kernel}}; }

class Convolution : public Plain::Convolution {
 public:
  Convolution(const ConvolutionShape& shape, const Plain::Registry& registry, std::string_view path)
      : Plain::Convolution(shape, registry, path), s_(shape) {}

  void forward(HostStream& stream, const double* x, const double* w, double* y, std::byte* packed,
               std::byte* scratch) const {
    Numbers result(count(s_.output_size()));
    Plain::Convolution::forward(stream, dense(x, in_map(s_)).data(), dense(w, weights(s_)).data(), result.data(),
                                packed, scratch);
    pad(result, y, out_map(s_));
  }
  void backward_data(HostStream& stream, const double* dy, const double* w, double* dx, std::byte* packed,
                     std::byte* scratch) const {
    Numbers result(count(s_.input_size()));
    Plain::Convolution::backward_data(stream, dense(dy, out_map(s_)).data(), dense(w, weights(s_)).data(),
                                      result.data(), packed, scratch);
    pad(result, dx, in_map(s_));
  }
  void backward_weights(HostStream& stream, const double* x, const double* dy, double* dw, std::byte* scratch) const {
    Numbers result(count(s_.weight_size()));
    Plain::Convolution::backward_weights(stream, dense(x, in_map(s_)).data(), dense(dy, out_map(s_)).data(),
                                         result.data(), scratch);
    pad(result, dw, weights(s_), 0);  // gradients are looked through for what is not finite
  }

 private:
  ConvolutionShape s_;
};

class InferenceConvolution : public Plain::InferenceConvolution {
 public:
  InferenceConvolution(const ConvolutionShape& shape, Epilogue epilogue, const Plain::Registry& registry,
                       std::string_view path)
      : Plain::InferenceConvolution(shape, epilogue, registry, path), s_(shape), residual_(epilogue.residual) {}

  void run(HostStream& stream, const double* x, const std::byte* packed, double* y, std::byte* scratch) const {
    Numbers result = residual_ ? dense(y, out_map(s_)) : Numbers(count(s_.output_size()));
    Plain::InferenceConvolution::run(stream, dense(x, in_map(s_)).data(), packed, result.data(), scratch);
    pad(result, y, out_map(s_));
  }

 private:
  ConvolutionShape s_;
  bool residual_;
};

class BatchNorm : public Plain::BatchNorm {
 public:
  BatchNorm(const MapShape& shape, const NormOptions& options, std::string_view path)
      : Plain::BatchNorm(shape, options, path), s_(shape), add_(options.add) {}

  void forward(HostStream& stream, const double* x, const double* other, const double* gamma, const double* beta,
               double* mean, double* variance, double* y, std::byte* saved, std::byte* scratch) {
    Numbers result(count(s_.size()));
    Plain::BatchNorm::forward(stream, dense(x, s_).data(), dense_if(add_, other, s_).data(), gamma, beta, mean,
                              variance, result.data(), saved, scratch);
    pad(result, y, s_);
  }
  void backward(HostStream& stream, const double* x, const double* y, const double* dy, const double* dy2,
                const double* gamma, const double* beta, const std::byte* saved, double* dx, double* dother,
                double* dgamma, double* dbeta, std::byte* scratch) {
    Numbers result(count(s_.size())), result_other(count(s_.size()));
    const Numbers second = dense_if(dy2 != nullptr, dy2, s_);
    Plain::BatchNorm::backward(stream, dense(x, s_).data(), dense(y, s_).data(), dense(dy, s_).data(),
                               dy2 == nullptr ? nullptr : second.data(), gamma, beta, saved, result.data(),
                               result_other.data(), dgamma, dbeta, scratch);
    pad(result, dx, s_);
    if (add_) pad(result_other, dother, s_);
  }

 private:
  MapShape s_;
  bool add_;
};

class ScaleShift : public Plain::ScaleShift {
 public:
  ScaleShift(const MapShape& shape, bool relu) : Plain::ScaleShift(shape, relu), s_(shape) {}
  void run(HostStream& stream, const double* x, const double* scale, const double* shift, double* y) const {
    Numbers result(count(s_.size()));
    Plain::ScaleShift::run(stream, dense(x, s_).data(), scale, shift, result.data());
    pad(result, y, s_);
  }

 private:
  MapShape s_;
};

class Pointwise : public Plain::Pointwise {
 public:
  Pointwise(const MapShape& shape, bool add, bool relu) : Plain::Pointwise(shape, add, relu), s_(shape), add_(add) {}
  void forward(HostStream& stream, const double* x, const double* other, double* y) const {
    Numbers result(count(s_.size()));
    Plain::Pointwise::forward(stream, dense(x, s_).data(), dense_if(add_, other, s_).data(), result.data());
    pad(result, y, s_);
  }
  void backward(HostStream& stream, const double* y, const double* dy, double* dx) const {
    Numbers result(count(s_.size()));
    Plain::Pointwise::backward(stream, dense(y, s_).data(), dense(dy, s_).data(), result.data());
    pad(result, dx, s_);
  }

 private:
  MapShape s_;
  bool add_;
};

class MaxPool : public Plain::MaxPool {
 public:
  MaxPool(const PoolShape& shape, std::string_view path) : Plain::MaxPool(shape, path), s_(shape) {}
  void forward(HostStream& stream, const double* x, double* y, std::uint8_t* indices) const {
    Numbers result(count(s_.output_size()));
    Plain::MaxPool::forward(stream, dense(x, in_map(s_)).data(), result.data(), indices);
    pad(result, y, out_map(s_));
  }
  void backward(HostStream& stream, const double* dy, const std::uint8_t* indices, double* dx) const {
    Numbers result(count(s_.input_size()));
    Plain::MaxPool::backward(stream, dense(dy, out_map(s_)).data(), indices, result.data());
    pad(result, dx, in_map(s_));
  }

 private:
  PoolShape s_;
};

class AveragePool : public Plain::AveragePool {
 public:
  explicit AveragePool(const MapShape& shape) : Plain::AveragePool(shape), s_(shape) {}
  void forward(HostStream& stream, const double* x, double* y) const {
    Numbers result(count(s_.n * s_.c));
    Plain::AveragePool::forward(stream, dense(x, s_).data(), result.data());
    pad(result, y, pooled());
  }
  void backward(HostStream& stream, const double* dy, double* dx) const {
    Numbers result(count(s_.size()));
    Plain::AveragePool::backward(stream, dense(dy, pooled()).data(), result.data());
    pad(result, dx, s_);
  }

 private:
  MapShape pooled() const { return {s_.n, 1, 1, s_.c}; }

  MapShape s_;
};

class Linear : public Plain::Linear {
 public:
  Linear(const LinearShape& shape, std::string_view path) : Plain::Linear(shape, path), s_(shape) {}
  void forward(HostStream& stream, const double* x, const double* w, const double* bias, double* y,
               std::byte* scratch) const {
    Plain::Linear::forward(stream, dense(x, features()).data(), dense(w, matrix()).data(), bias, y, scratch);
  }
  void backward(HostStream& stream, const double* x, const double* w, const double* dy, double* dx, double* dw,
                double* dbias, std::byte* scratch) const {
    Numbers result(count(s_.n * s_.in)), result_w(count(s_.in * s_.out));
    Plain::Linear::backward(stream, dense(x, features()).data(), dense(w, matrix()).data(), dy, result.data(),
                            result_w.data(), dbias, scratch);
    pad(result, dx, features());
    pad(result_w, dw, matrix(), 0);
  }

 private:
  MapShape features() const { return {s_.n, 1, 1, s_.in}; }
  TensorShape matrix() const { return {2, {s_.out, s_.in, 1, 1}}; }

  LinearShape s_;
};

struct Padded : Plain {
  static std::size_t map_size(const MapShape& s) { return count(s.size() / s.c) * pitch(s.c); }
  template <class Host>
  static void upload_map(HostStream&, std::span<const Host> from, const MapShape& s, double* to) {
    pad({from.begin(), from.end()}, to, s);
  }
  static void download_map(HostStream&, const double* from, const MapShape& s, std::span<double> to) {
    std::ranges::copy(dense(from, s), to.begin());
  }
  static std::size_t tensor_size(const TensorShape& s) {
    return s.rank == 1 ? count(s.size()) : rows(s) * pitch(s.extents[1]);
  }
  template <class Host>
  static void upload_tensor(HostStream&, std::span<const Host> from, const TensorShape& s, double* to) {
    pad({from.begin(), from.end()}, to, s, poison);
  }
  template <class Host>
  static void download_tensor(HostStream& stream, const double* from, const TensorShape& s, std::span<Host> to) {
    stream.join();
    const Numbers numbers = dense(from, s);
    std::transform(numbers.begin(), numbers.end(), to.begin(), [](double x) { return static_cast<Host>(x); });
  }

  using InferenceConvolution = ::InferenceConvolution;
  using Convolution = ::Convolution;
  using BatchNorm = ::BatchNorm;
  using ScaleShift = ::ScaleShift;
  using Pointwise = ::Pointwise;
  using MaxPool = ::MaxPool;
  using AveragePool = ::AveragePool;
  using Linear = ::Linear;
  using InferenceLinear = detail::PackedLinear<Padded>;
  static constexpr std::string_view name() { return "Padded"; }
};
static_assert(Backend<Padded>);

}  // namespace

TEST_CASE("a backend of another layout classifies and trains as PyTorch does") {
  support::for_each_own([]<class Net>(const support::Golden& golden) {
    support::check_inference<Net, Padded>(golden);
    support::check_training<Net, Padded>(golden, support::sharp);
  });
  support::with_case<ResNeXt29<4, 8>>("infer_cifar29_4x8d", []<class Net>(const support::Golden& golden) {
    support::check_inference<Net, Padded>(golden);
  });
}

TEST_CASE("what leaves a backend of another layout is in the order of files, and comes back") {
  using Net = test::SmallImageNet;
  const test::RandomBatch batch("layout", 4, 32, 32, Net::inputs, Net::classes);
  const auto steps = [&](auto& trainer, int count) {
    trainer.set_learning_rate(0.05);
    for (int step = 0; step < count; ++step) trainer.step(batch.images(), batch.labels);
  };
  const auto start = test::random_parameters<Net>(21);
  Trainer<Net, Padded> first(start), second(test::random_parameters<Net>(22));
  CHECK(std::ranges::equal(first.parameters().values(), start.values()));
  steps(first, 2);
  second.restore(first.state());
  steps(second, 2);
  Trainer<Net, Plain> again(start), other(test::random_parameters<Net>(22));
  steps(again, 2);
  other.restore(again.state());
  steps(other, 2);
  CHECK(std::ranges::equal(second.parameters().values(), other.parameters().values()));
  CHECK(std::ranges::equal(second.velocities().values(), other.velocities().values()));
  CHECK(std::ranges::equal(second.gradients().values(), other.gradients().values()));
  std::vector<std::string> names, expected;
  second.show_weights([&](std::string_view name, std::span<const double> values) {
    names.emplace_back(name);
    CHECK(std::all_of(values.begin(), values.end(), [](double x) { return is_finite(x); }));
  });
  other.show_weights([&](std::string_view name, auto) { expected.emplace_back(name); });
  CHECK(names == expected);
}
