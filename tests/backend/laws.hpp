// Laws that hold between operators, whatever the numbers are.
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "backend/operators.hpp"

namespace laws {

using namespace resnext;
using operators::count;
using operators::weights;

template <class B>
using Tensor = std::vector<typename B::Scalar>;
using Bytes = std::vector<std::byte>;

template <class B>
Tensor<B> random(std::int64_t size, const char* name, float reach = 1) {
  const auto values = weights(count(size), name, reach);
  return {values.begin(), values.end()};
}

/// Largest difference over the rms of `expected`.
template <class T>
double difference(const std::vector<T>& expected, const std::vector<T>& found) {
  REQUIRE(expected.size() == found.size());
  double worst = 0, square = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    worst = std::max(worst, std::abs(double(expected[i]) - double(found[i])));
    square += double(expected[i]) * double(expected[i]);
  }
  return worst / std::sqrt(square / double(expected.size()));
}

template <class B>
inline constexpr double close = sizeof(typename B::Scalar) == 8 ? 1e-13 : 1e-5;

/// A convolution with all it computes.
template <class B>
struct Convolved {
  Tensor<B> y, dx, dw;

  Convolved(const ConvolutionShape& s, const Tensor<B>& x, const Tensor<B>& w, const Tensor<B>& dy)
      : y(count(s.output_size())), dx(count(s.input_size())), dw(count(s.weight_size())) {
    typename B::Stream stream;
    typename B::Convolution op(s, B::template training_registry<operators::Widths>(), "conv");
    Bytes packed(op.packed_size()), scratch(op.scratch_size());
    op.forward(stream, x.data(), w.data(), y.data(), packed.data(), scratch.data());
    op.backward_data(stream, dy.data(), w.data(), dx.data(), packed.data(), scratch.data());
    op.backward_weights(stream, x.data(), dy.data(), dw.data(), scratch.data());
  }
};

/// Channels [first, first + some) of a map of `all` channels.
template <class T>
std::vector<T> channels(const std::vector<T>& map, int all, int first, int some) {
  std::vector<T> result;
  for (std::size_t row = 0; row < map.size() / count(all); ++row) {
    const auto from = map.begin() + std::ptrdiff_t(row * count(all)) + first;
    result.insert(result.end(), from, from + some);
  }
  return result;
}

/// Fig. 3, forms b and c: a grouped convolution is C dense ones side by side, and a dense one whose weights between
/// different paths are zero.
template <class B>
void grouped_convolution_is_many_dense_ones() {
  for (const auto& [C, d, stride] : {std::array{4, 8, 1}, std::array{3, 5, 2}, std::array{8, 4, 2}}) {
    const ConvolutionShape grouped = operators::grouped(C, d, 7, stride);
    const ConvolutionShape path{2, 7, 7, d, d, 3, stride, 1, 1};
    ConvolutionShape dense = grouped;
    dense.groups = 1;
    const auto x = random<B>(grouped.input_size(), "x"), w = random<B>(grouped.weight_size(), "w", 0.3f);
    const auto dy = random<B>(grouped.output_size(), "dy");
    const Convolved<B> together(grouped, x, w, dy);

    const std::size_t window = count(d * 9), part = count(path.weight_size());
    Tensor<B> sparse(count(dense.weight_size()));
    for (std::size_t out = 0; out < count(C * d); ++out) {
      std::copy_n(w.data() + out * window, window, sparse.data() + (out * count(C) + out / count(d)) * window);
    }
    const Convolved<B> whole(dense, x, sparse, dy);
    CHECK(difference(whole.y, together.y) < close<B>);
    CHECK(difference(whole.dx, together.dx) < close<B>);

    for (int g = 0; g < C; ++g) {
      const Tensor<B> w_path(w.data() + count(g) * part, w.data() + count(g + 1) * part);
      const Tensor<B> dw_path(together.dw.data() + count(g) * part, together.dw.data() + count(g + 1) * part);
      const Convolved<B> alone(path, channels(x, C * d, g * d, d), w_path, channels(dy, C * d, g * d, d));
      CHECK(difference(alone.y, channels(together.y, C * d, g * d, d)) < close<B>);
      CHECK(difference(alone.dx, channels(together.dx, C * d, g * d, d)) < close<B>);
      CHECK(difference(alone.dw, dw_path) < close<B>);
    }
  }
}

/// A convolution followed by a batch norm of fixed statistics is one convolution with other weights and a bias.
template <class B>
void folded_batch_norm_is_batch_norm() {
  for (const ConvolutionShape& s : {operators::grouped(4, 8, 7), operators::pointwise(24, 40, 7, 2)}) {
    const auto x = random<B>(s.input_size(), "x"), dy = random<B>(s.output_size(), "dy");
    const auto w = weights(count(s.weight_size()), "w", 0.25f);
    const auto scale = random<B>(s.out, "scale", 2), shift = random<B>(s.out, "shift");
    auto expected = Convolved<B>(s, x, Tensor<B>(w.begin(), w.end()), dy).y;
    typename B::Stream stream;
    typename B::ScaleShift norm({s.n, s.out_h(), s.out_w(), s.out}, true);
    norm.run(stream, expected.data(), scale.data(), shift.data(), expected.data());

    auto folded = w;
    std::vector<float> bias(shift.begin(), shift.end());
    for (std::size_t i = 0; i < w.size(); ++i) folded[i] *= static_cast<float>(scale[i / (w.size() / count(s.out))]);
    typename B::InferenceConvolution op(s, {false, true}, B::template inference_registry<operators::Widths>(), "conv");
    Bytes packed(op.packed_size()), scratch(op.scratch_size());
    Tensor<B> y(expected.size());
    op.pack(stream, folded.data(), bias.data(), packed.data());
    op.run(stream, x.data(), packed.data(), y.data(), scratch.data());
    CHECK(difference(expected, y) < 1e-5);  // folded weights are floats
  }
}

/// Ghost batches are separate batches, in all but their common sums; the last one may be short.
template <class B>
void ghost_batches_are_batches() {
  const int c = 21, images = 7, most = 3;
  const MapShape whole{images, 5, 4, c};
  const std::size_t image = count(whole.size() / images), width = count(c);
  const auto x = random<B>(whole.size(), "x"), dy = random<B>(whole.size(), "dy");
  const auto gamma = random<B>(c, "gamma"), beta = random<B>(c, "beta");
  typename B::Stream stream;
  const auto run = [&](int first, int n, const NormOptions& options) {
    const std::size_t from = count(first) * image, some = count(n) * image;
    struct {
      Tensor<B> mean, variance, y, dx, dgamma, dbeta;
    } r{Tensor<B>(width), Tensor<B>(width), Tensor<B>(some), Tensor<B>(some), Tensor<B>(width), Tensor<B>(width)};
    typename B::BatchNorm norm({n, 5, 4, c}, options, "bn");
    Bytes saved(norm.saved_size()), scratch(norm.scratch_size());
    norm.forward(stream, x.data() + from, nullptr, gamma.data(), beta.data(), r.mean.data(), r.variance.data(),
                 r.y.data(), saved.data(), scratch.data());
    norm.backward(stream, x.data() + from, r.y.data(), dy.data() + from, nullptr, gamma.data(), beta.data(),
                  saved.data(), r.dx.data(), nullptr, r.dgamma.data(), r.dbeta.data(), scratch.data());
    return r;
  };
  const auto ghost = run(0, images, {.relu = true, .ghost_batch = most});
  Tensor<B> y, dx, mean(width), variance(width), dgamma(width), dbeta(width);
  for (int first = 0; first < images; first += most) {
    const int n = std::min(most, images - first);
    const auto alone = run(first, n, {.relu = true});
    y.insert(y.end(), alone.y.begin(), alone.y.end());
    dx.insert(dx.end(), alone.dx.begin(), alone.dx.end());
    for (std::size_t i = 0; i < width; ++i) {
      mean[i] += alone.mean[i] * typename B::Scalar(n) / images;
      variance[i] += alone.variance[i] * typename B::Scalar(n) / images;
      dgamma[i] += alone.dgamma[i];
      dbeta[i] += alone.dbeta[i];
    }
  }
  CHECK(difference(y, ghost.y) < close<B>);
  CHECK(difference(dx, ghost.dx) < close<B>);
  CHECK(difference(mean, ghost.mean) < close<B>);
  CHECK(difference(variance, ghost.variance) < close<B>);
  CHECK(difference(dgamma, ghost.dgamma) < close<B>);
  CHECK(difference(dbeta, ghost.dbeta) < close<B>);
}

/// A normalised channel has mean 0 and variance 1; a constant added to the input changes neither it nor, at the mean,
/// its gradient: the gradient of the input sums to zero.
template <class B>
void batch_norm_normalises() {
  const MapShape s{3, 7, 5, 11};
  const std::size_t width = 11;
  auto x = random<B>(s.size(), "x");
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = x[i] * 3 + 100;  // one-pass variances lose half their digits here
  const auto dy = random<B>(s.size(), "dy");
  Tensor<B> one(width, 1), zero(width), mean(width), variance(width), y(x.size()), dx(x.size());
  typename B::Stream stream;
  typename B::BatchNorm norm(s, {.epsilon = 0}, "bn");
  Bytes saved(norm.saved_size()), scratch(norm.scratch_size());
  Tensor<B> dgamma(width), dbeta(width);
  norm.forward(stream, x.data(), nullptr, one.data(), zero.data(), mean.data(), variance.data(), y.data(), saved.data(),
               scratch.data());
  norm.backward(stream, x.data(), y.data(), dy.data(), nullptr, one.data(), zero.data(), saved.data(), dx.data(),
                nullptr, dgamma.data(), dbeta.data(), scratch.data());
  const double n = double(x.size()) / double(width), tolerance = sizeof(x[0]) == 8 ? 1e-12 : 2e-5;
  for (std::size_t c = 0; c < width; ++c) {
    double sum = 0, square = 0, x_sum = 0, x_square = 0, gradient = 0;
    for (std::size_t i = c; i < x.size(); i += width) {
      sum += y[i];
      square += double(y[i]) * y[i];
      x_sum += x[i];
      gradient += dx[i];
    }
    for (std::size_t i = c; i < x.size(); i += width) x_square += (x[i] - x_sum / n) * (x[i] - x_sum / n);
    CHECK(std::abs(sum / n) < tolerance);
    CHECK(std::abs(square / n - 1) < tolerance);
    CHECK(std::abs(gradient) < n * tolerance);
    CHECK(std::abs(mean[c] / (x_sum / n) - 1) < tolerance);
    CHECK(std::abs(variance[c] / (x_square / (n - 1)) - 1) < tolerance);  // unbiased
  }
}

/// Adding a constant to a map adds it to its maxima, and its border is below every number.
template <class B>
void max_pool_shifts() {
  const PoolShape s{2, 9, 8, 13};
  auto x = random<B>(s.input_size(), "x");
  typename B::Stream stream;
  typename B::MaxPool pool(s, "maxpool");
  Tensor<B> y(count(s.output_size())), shifted(y.size()), dy(y.size(), 1), dx(x.size());
  std::vector<std::uint8_t> indices(y.size());
  pool.forward(stream, x.data(), y.data(), indices.data());
  for (auto& value : x) value -= 1024;
  pool.forward(stream, x.data(), shifted.data(), nullptr);
  for (auto& value : shifted) value += 1024;
  CHECK(difference(y, shifted) < 1e-3);  // float: 1024 takes ten bits
  CHECK(*std::max_element(shifted.begin(), shifted.end()) <= 1);
  pool.backward(stream, dy.data(), indices.data(), dx.data());
  CHECK(std::accumulate(dx.begin(), dx.end(), 0.0) == double(dy.size()));

  std::fill(x.begin(), x.end(), typename B::Scalar(2));  // a tie: the first of the window takes all
  pool.forward(stream, x.data(), y.data(), indices.data());
  pool.backward(stream, dy.data(), indices.data(), dx.data());
  for (const auto& [row, column, expected] :
       {std::array{0, 0, 1}, {0, 1, 1}, {0, 2, 0}, {1, 1, 1}, {2, 2, 0}, {7, 7, 0}}) {
    CHECK(dx[count((row * s.w + column) * s.c)] == expected);
  }
}

/// Softmax less target: every row of the gradient sums to zero; equal logits cost log(classes).
template <class B>
void loss_gradients_balance() {
  const LossShape s{4, 50, 0.1};
  auto logits = random<B>(s.n * s.classes, "logits", 5);
  const std::vector<std::int32_t> labels = {0, 49, 7, 7};
  std::array<double, int(StepControl::count)> control = {};
  control[int(StepControl::loss_scale)] = 128;
  control[int(StepControl::images)] = s.n;
  std::array<double, 3> metrics = {};
  Tensor<B> dlogits(logits.size());
  typename B::Stream stream;
  typename B::CrossEntropy loss(s);
  loss.run(stream, logits.data(), labels.data(), control.data(), dlogits.data(), metrics.data());
  for (std::size_t row = 0; row < 4; ++row) {
    const auto* values = dlogits.data() + row * 50;
    CHECK(std::abs(std::accumulate(values, values + 50, 0.0)) < 1e-5 * 128);
    CHECK(values[labels[row]] < 0);
  }
  CHECK(metrics[int(Metric::images)] == 4);

  std::fill(logits.begin(), logits.end(), typename B::Scalar(300));  // exp(300) is no float
  metrics = {};
  loss.run(stream, logits.data(), labels.data(), control.data(), dlogits.data(), metrics.data());
  CHECK(std::abs(metrics[int(Metric::loss)] / 4 - std::log(50.0)) < 1e-6);
  CHECK(metrics[int(Metric::correct)] == 1);  // the first of equal logits is the answer
}

/// What is not a number stays visible.
template <class B>
void nan_is_not_hidden() {
  using Scalar = typename B::Scalar;
  const Scalar nan = std::numeric_limits<Scalar>::quiet_NaN();
  typename B::Stream stream;
  Tensor<B> x(64, 1), y(64);
  x[37] = nan;
  typename B::Pointwise({1, 1, 4, 16}, false, true).forward(stream, x.data(), nullptr, y.data());
  CHECK(std::isnan(y[37]));
  CHECK(y[36] == 1);
  Tensor<B> pooled(16);
  typename B::MaxPool({1, 1, 4, 16, 3, 4, 1}, "maxpool").forward(stream, x.data(), pooled.data(), nullptr);
  CHECK(pooled[0] == 1);
  x[5] = nan;
  typename B::MaxPool({1, 1, 4, 16, 3, 4, 1}, "maxpool").forward(stream, x.data(), pooled.data(), nullptr);
  CHECK(std::isnan(pooled[5]));

  // Not in backward either: it lets the gradient pass, as torch.nn.ReLU does, with the sign bit or without.
  for (const Scalar bad : {nan, -nan}) {
    Tensor<B> out(64, 1), dy(64, 3), dx(64);
    out[37] = bad;
    out[38] = 0;
    out[39] = -1;
    typename B::Pointwise({1, 1, 4, 16}, false, true).backward(stream, out.data(), dy.data(), dx.data());
    CHECK(dx[36] == 3);
    CHECK(dx[37] == 3);
    CHECK(dx[38] == 0);
    CHECK(dx[39] == 0);
    std::fill(x.begin(), x.end(), Scalar(1));
    x[37] = bad;
    typename B::Pointwise({1, 1, 4, 16}, false, true).forward(stream, x.data(), nullptr, y.data());
    CHECK(is_nan(y[37]));
    typename B::MaxPool({1, 1, 4, 16, 3, 4, 1}, "maxpool").forward(stream, x.data(), pooled.data(), nullptr);
    CHECK(pooled[5] == 1);

    // A channel of batch norm: every output is NaN, and so is its gradient, whose sum is the gradient of beta.
    for (const bool add : {false, true}) {
      const MapShape s{1, 1, 4, 16};
      typename B::BatchNorm norm(s, {.add = add, .relu = true}, "bn");
      Tensor<B> one(16, 1), zero(16), mean(16), variance(16, 1), dother(64), dgamma(16), dbeta(16);
      Bytes saved(norm.saved_size()), scratch(norm.scratch_size());
      norm.forward(stream, x.data(), x.data(), one.data(), zero.data(), mean.data(), variance.data(), y.data(),
                   saved.data(), scratch.data());
      norm.backward(stream, x.data(), y.data(), dy.data(), nullptr, one.data(), zero.data(), saved.data(), dx.data(),
                    add ? dother.data() : nullptr, dgamma.data(), dbeta.data(), scratch.data());
      for (std::size_t i = 5; i < 64; i += 16) {
        CHECK(is_nan(y[i]));
        CHECK(is_nan(dx[i]));
        if (add) CHECK(dother[i] == 3);
      }
      CHECK(dbeta[5] == 12);
      CHECK(is_nan(dgamma[5]));
      CHECK(!is_nan(dx[6]));
    }
  }
  x[5] = nan;

  // A bad batch ends the count of the images and all updates.
  const std::array<std::int32_t, 2> labels = {0, 1};
  std::array<double, int(StepControl::count)> control = {1, 2, 1, 0, 1};
  std::array<double, 3> metrics = {1, 1, 2};
  Tensor<B> logits(8, 1), dlogits(8), weights(8, 2), velocities(8, 3);
  const UpdateSegment all{0, 8, 1, 1e-4};
  typename B::Update update({}, std::span(&all, 1), 0);
  const auto step = [&] {
    typename B::CrossEntropy({2, 4, 0}).run(stream, logits.data(), labels.data(), control.data(), dlogits.data(),
                                            metrics.data());
    B::guard(stream, dlogits.data(), std::int64_t{8}, std::int64_t{2}, control.data(), metrics.data());
    update.run(stream, control.data(),
               {weights.data(), logits.data(), velocities.data(), weights.data(), nullptr, nullptr});
  };
  step();
  CHECK(metrics[int(Metric::images)] == 4);
  CHECK(weights[7] < 2);
  const auto before = weights[7];
  for (const Scalar bad : {nan, std::numeric_limits<Scalar>::infinity(), -std::numeric_limits<Scalar>::infinity()}) {
    metrics = {1, 1, 4};
    logits[5] = bad;
    for (int i = 0; i < 2; ++i) {
      step();
      CHECK(is_nan(metrics[int(Metric::loss)]));
      CHECK(metrics[int(Metric::images)] == 4);
      CHECK(weights[7] == before);
      for (const Scalar gradient : dlogits) CHECK(is_nan(gradient));  // so that every rank sees it in the sums
      logits[5] = 1;
    }
  }
}

/// A gradient that is not finite anywhere stops a step at a loss scale of 1, and above has it skipped at half of that;
/// what an update changes is changed together, or not at all.
template <class B>
void a_step_is_kept_or_not() {
  using Scalar = typename B::Scalar;
  constexpr Scalar infinity = std::numeric_limits<Scalar>::infinity();
  constexpr std::size_t size = 40'003;  // more than one thread's share
  typename B::Stream stream;
  std::array<double, 3> metrics = {1, 2, 8};
  std::array<double, int(StepControl::count)> control = {0.5, 8, 1, 3, 1};
  const auto at = [&](StepControl which) -> double& { return control[count(int(which))]; };
  auto gradients = random<B>(size, "gradients");
  gradients[17] = std::numeric_limits<Scalar>::max();
  gradients[18] = std::numeric_limits<Scalar>::denorm_min();
  const auto guard = [&] {
    B::guard(stream, gradients.data(), std::int64_t{size}, std::int64_t{8}, control.data(), metrics.data());
  };
  guard();
  CHECK(metrics == std::array<double, 3>{1, 2, 8});
  CHECK(at(StepControl::verdict) == double(StepVerdict::update));
  for (const std::size_t place : {std::size_t{0}, size / 2, size - 1}) {
    for (const Scalar bad : {infinity, -infinity, std::numeric_limits<Scalar>::quiet_NaN()}) {
      const Scalar good = std::exchange(gradients[place], bad);
      metrics = {1, 2, 8};
      at(StepControl::loss_scale) = 2;
      guard();
      CHECK(metrics == std::array<double, 3>{1, 2, 8});
      CHECK(at(StepControl::verdict) == double(StepVerdict::skip));
      at(StepControl::loss_scale) = 1;
      for (int i = 0; i < 2; ++i) {  // the images are taken off once
        guard();
        CHECK(is_nan(metrics[int(Metric::loss)]));
        CHECK(metrics[int(Metric::images)] == 0);
        CHECK(at(StepControl::verdict) == double(StepVerdict::stop));
      }
      at(StepControl::loss_scale) = 8;  // a loss that is not finite stops at any scale
      guard();
      CHECK(at(StepControl::verdict) == double(StepVerdict::stop));
      gradients[place] = good;
    }
  }

  Tensor<B> weights(4, 8), velocities(4, 4), statistics(2, 1), batch(2, 3);
  const Tensor<B> slopes(4, 16);
  const UpdateSegment all{0, 4, 1, 0};
  typename B::Update update({.momentum = 0.5, .statistics_momentum = 0.25}, std::span(&all, 1), 2);
  const auto run = [&](StepVerdict verdict) {
    at(StepControl::verdict) = double(verdict);
    update.run(stream, control.data(),
               {weights.data(), slopes.data(), velocities.data(), weights.data(), statistics.data(), batch.data()});
  };
  const auto nothing_changed = [&] {
    return weights == Tensor<B>(4, 8) && velocities == Tensor<B>(4, 4) && statistics == Tensor<B>(2, 1);
  };
  at(StepControl::loss_scale) = 1;
  const auto before = control;
  run(StepVerdict::stop);
  CHECK(control == [&] {
    auto c = before;
    c[int(StepControl::verdict)] = double(StepVerdict::stop);
    return c;
  }());
  CHECK(nothing_changed());
  at(StepControl::loss_scale) = 8;  // whatever the verdict, so that no rank's scale differs from the others'
  int steps = 0;
  for (const StepVerdict verdict : {StepVerdict::skip, StepVerdict::stop}) {
    ++steps;
    run(verdict);
    CHECK(at(StepControl::loss_scale) == (steps == 1 ? 4 : 2));
    CHECK(at(StepControl::step) == steps);
    CHECK(at(StepControl::skipped) == steps);
    CHECK(nothing_changed());
  }
  at(StepControl::loss_scale) = 4;
  run(StepVerdict::update);  // g = 16 / 4, v = 2 + 4, w = 8 - 0.5 * 6
  CHECK((weights == Tensor<B>(4, 5) && velocities == Tensor<B>(4, 6) && statistics == Tensor<B>(2, 1.5)));
  CHECK(at(StepControl::good_steps) == 1);
  run(StepVerdict::update);
  run(StepVerdict::update);  // the third of three
  CHECK(at(StepControl::loss_scale) == 8);
  CHECK(at(StepControl::good_steps) == 0);
  CHECK(at(StepControl::step) == 5);
  CHECK(at(StepControl::skipped) == 2);
  for (int i = 0; i < 9; ++i) run(StepVerdict::skip);
  CHECK(at(StepControl::loss_scale) == 1);
  for (const auto& [scale, grown] :
       {std::array{0x1p23, 0x1p24}, {0x1p24, 0x1p24}, {0x1p25, 0x1p25}, {0x1.8p23, 0x1.8p23}}) {
    at(StepControl::loss_scale) = scale;
    at(StepControl::good_steps) = 2;
    run(StepVerdict::update);
    CHECK(at(StepControl::loss_scale) == grown);
  }
}

template <class B>
bool refuses(auto make, const char* words) {
  try {
    make();
  } catch (const ShapeError& error) {
    const std::string said = error.what();
    if (said.find(words) == std::string::npos) MESSAGE(said);
    return said.find(words) != std::string::npos;
  }
  return false;
}

/// Impossible shapes are refused when the operator is built, with its name, what was expected and what was found.
template <class B>
void impossible_shapes_are_refused() {
  const auto convolution = [](ConvolutionShape s) {
    return [s] { typename B::Convolution(s, B::template training_registry<operators::Widths>(), "layer3.2.conv2"); };
  };
  const auto norm = [](MapShape s, NormOptions o) { return [s, o] { typename B::BatchNorm(s, o, "bn1"); }; };
  CHECK(refuses<B>(convolution({1, 7, 7, 33, 64, 3, 1, 1, 32}),
                   "layer3.2.conv2: expected in and out to be multiples of 32 groups, found in 33 and out 64"));
  CHECK(refuses<B>(convolution({1, 0, 7, 32, 32, 3, 1, 1, 1}), "layer3.2.conv2: expected h to be at least 1, found 0"));
  CHECK(refuses<B>(convolution({1, 4, 4, 3, 8, 7, 2, 1, 1}), "expected a map of at least 5 x 5, found 4 x 4"));
  CHECK(refuses<B>(norm({1, 1, 1, 8}, {}), "bn1: expected more than 1 value per channel when training"));
  CHECK(refuses<B>(norm({4, 1, 1, 8}, {.ghost_batch = 1}), "expected more than 1 value per channel when training"));
  CHECK(refuses<B>(norm({4, 1, 1, 8}, {.ghost_batch = 3}), "a map of 1 x 1 and 1 image in a ghost batch"));
  CHECK(refuses<B>(norm({4, 2, 2, 8}, {.ghost_batch = -1}),
                   "bn1: expected ghost batches of at least 1 image, or 0 for the whole batch, found -1"));
  CHECK(refuses<B>(
      [] {
        typename B::MaxPool({1, 8, 8, 4, 3, 2, 3}, "maxpool");
      },
      "maxpool: expected a padding of 0 to 2"));
  CHECK(refuses<B>([] { typename B::Linear({1, 0, 4}, "fc"); }, "fc: expected in to be at least 1, found 0"));
  // what int or 63 bits cannot count
  constexpr int most = std::numeric_limits<int>::max();
  constexpr const char* uncounted = "expected a map of fewer than 2^31 pixels and at most 2^40 values, found [";
  CHECK(refuses<B>(convolution({1, most, 1, 1, 1, 3, 1, 1, 1}), "layer3.2.conv2: expected h to be at most 2^24"));
  CHECK(refuses<B>(convolution({1 << 22, 1 << 21, 1 << 21, 3, 3, 1, 1, 0, 1}), uncounted));
  CHECK(refuses<B>(convolution({1 << 16, 1 << 16, 1 << 16, 1 << 16, 1, 1, 1, 0, 1}), uncounted));  // 2^64 is 0
  CHECK(refuses<B>(convolution({1, 1, 1, 1 << 23, 1 << 23, 1, 1, 0, 1}), "expected at most 2^40 weights"));
  CHECK(refuses<B>(norm({1 << 16, 1 << 16, 1, 8}, {}), uncounted));
  CHECK(refuses<B>([] { typename B::Pointwise({1 << 20, 1 << 10, 1 << 10, 1}, true, true); }, uncounted));
  CHECK(refuses<B>([] { typename B::ScaleShift({1 << 20, 1 << 10, 1 << 10, 1}, true); }, uncounted));
  CHECK(refuses<B>([] { typename B::MaxPool({1 << 20, 1 << 11, 1, 4}, "maxpool"); }, uncounted));
  CHECK(refuses<B>([] { typename B::AveragePool({1 << 20, 1 << 11, 1, 4}); }, uncounted));
  CHECK(refuses<B>([] { typename B::Linear({1, 1 << 21, 1 << 21}, "fc"); }, "fc: expected at most 2^40 weights"));
  CHECK(refuses<B>([] { typename B::CrossEntropy({1 << 21, 1 << 21}); }, uncounted));
}

/// All of them.
template <class B>
void check_all() {
  SUBCASE("a grouped convolution is many dense ones") { grouped_convolution_is_many_dense_ones<B>(); }
  SUBCASE("a folded batch norm is a batch norm") { folded_batch_norm_is_batch_norm<B>(); }
  SUBCASE("ghost batches are batches") { ghost_batches_are_batches<B>(); }
  SUBCASE("batch norm normalises") { batch_norm_normalises<B>(); }
  SUBCASE("max pool shifts") { max_pool_shifts<B>(); }
  SUBCASE("loss gradients balance") { loss_gradients_balance<B>(); }
  SUBCASE("NaN is not hidden") { nan_is_not_hidden<B>(); }
  SUBCASE("a step is kept or not") { a_step_is_kept_or_not<B>(); }
  SUBCASE("impossible shapes are refused") { impossible_shapes_are_refused<B>(); }
}

}  // namespace laws
