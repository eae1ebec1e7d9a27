// Every operator of a backend as the gradient checker sees it, and the cases in which backends are compared.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include <resnext/testing/gradient_check.hpp>

namespace operators {

using namespace resnext;

inline std::size_t count(std::int64_t size) { return static_cast<std::size_t>(size); }

inline std::string text(const ConvolutionShape& s) {
  std::ostringstream out;
  out << s.n << "x" << s.h << "x" << s.w << "x" << s.in << " -> " << s.out << ", kernel " << s.kernel << ", stride "
      << s.stride << ", padding " << s.padding << ", groups " << s.groups;
  return out.str();
}

/// 3x3 of C paths of width d, as in a block.
constexpr ConvolutionShape grouped(int C, int d, int edge, int stride = 1, int n = 2) {
  return {n, edge, edge, C * d, C * d, 3, stride, 1, C};
}
constexpr ConvolutionShape pointwise(int in, int out, int edge, int stride = 1, int n = 2) {
  return {n, edge, edge, in, out, 1, stride, 0, 1};
}

/// The families' shapes at small maps, then odd ones.
inline constexpr std::array convolutions = {
    // ResNeXt-50/101 32x4d and ResNeXt-29 8x64d: one of each width
    grouped(32, 4, 14),
    grouped(32, 8, 14),
    grouped(32, 8, 14, 2),
    grouped(32, 16, 14),
    grouped(32, 16, 14, 2),
    grouped(32, 32, 7),
    grouped(32, 32, 14, 2, 1),
    grouped(8, 64, 8, 1, 1),
    grouped(8, 64, 8, 2, 1),
    // odd widths, channels that are no multiple of a vector, odd and tiny maps, odd batches
    grouped(5, 1, 15),
    grouped(7, 2, 7, 1, 3),
    grouped(3, 3, 15, 2, 1),
    grouped(3, 5, 7, 1, 3),
    grouped(5, 7, 7, 2),
    grouped(3, 14, 7),
    grouped(2, 22, 7, 2, 3),
    grouped(11, 4, 1),
    grouped(3, 8, 1, 2, 1),
    grouped(2, 24, 5),
    grouped(3, 4, 2, 1, 1),
    grouped(2, 40, 3, 1, 1),
    grouped(2, 4, 15, 2, 3),
    grouped(40, 1, 9, 1, 1),
    ConvolutionShape{2, 5, 9, 12, 24, 3, 1, 1, 3},
    ConvolutionShape{1, 15, 2, 12, 12, 3, 1, 1, 3},
    // dense
    pointwise(64, 128, 14),
    pointwise(256, 128, 7),
    pointwise(64, 256, 15, 2, 1),
    pointwise(13, 29, 7, 1, 3),
    pointwise(29, 13, 7, 2, 3),
    pointwise(17, 3, 1, 1, 1),
    pointwise(96, 33, 1, 2),
    ConvolutionShape{2, 33, 33, 3, 64, 7, 2, 3, 1},
    ConvolutionShape{1, 16, 17, 1, 10, 7, 2, 3, 1},
    ConvolutionShape{2, 15, 15, 3, 64, 3, 1, 1, 1},
    ConvolutionShape{1, 7, 7, 64, 64, 3, 1, 1, 1},
    ConvolutionShape{3, 7, 7, 20, 36, 3, 2, 1, 1},
    ConvolutionShape{1, 1, 1, 7, 7, 3, 1, 1, 1},
};

/// A table with a row for every convolution above, from which a backend registers its kernels.
struct Widths {
  static constexpr auto layers = [] {
    std::array<Layer, convolutions.size()> rows;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const ConvolutionShape& s = convolutions[i];
      rows[i] = {LayerOp::convolution,
                 LayerName("conv").append(static_cast<int>(i)),
                 0,
                 -1,
                 1,
                 s.in,
                 s.out,
                 s.kernel,
                 s.stride,
                 s.padding,
                 s.groups};
    }
    return rows;
  }();
};

template <class B>
DifferentiableOperator<B> convolution(const ConvolutionShape& s) {
  auto op = std::make_shared<typename B::Convolution>(s, B::template training_registry<Widths>(), "conv");
  const double reach = 1 / std::sqrt(double(s.in / s.groups * s.kernel * s.kernel));
  return {.name = "conv",
          .inputs = {{"x", count(s.input_size())},
                     {"weights", count(s.weight_size()), true, -reach, reach, TestKind::operand}},
          .outputs = {{"y", count(s.output_size())}},
          .work = {op->packed_size(), op->scratch_size()},
          .forward = [op](auto& stream,
                          const auto& m) { op->forward(stream, m.in[0], m.in[1], m.out[0], m.work[0], m.work[1]); },
          .backward =
              [op](auto& stream, const auto& m) {
                op->backward_data(stream, m.d_out[0], m.in[1], m.d_in[0], m.work[0], m.work[1]);
                op->backward_weights(stream, m.in[0], m.d_out[0], m.d_in[1], m.work[1]);
              }};
}

inline std::vector<float> weights(std::size_t size, const char* name, float reach) {
  std::vector<float> values(size);
  for (std::size_t i = 0; i < size; ++i) values[i] = reach * (2 * RandomStream(1, name).uniform(i) - 1);
  return values;
}

template <class B>
DifferentiableOperator<B> inference_convolution(const ConvolutionShape& s, Epilogue epilogue) {
  auto op =
      std::make_shared<typename B::InferenceConvolution>(s, epilogue, B::template inference_registry<Widths>(), "conv");
  const float reach = 1 / std::sqrt(float(s.in / s.groups * s.kernel * s.kernel));
  const auto kernel = weights(count(s.weight_size()), "weights", reach);
  const auto bias = weights(count(s.out), "bias", 1);
  return {.name = "inference conv",
          .inputs = {{"x", count(s.input_size()), false}, {"residual", count(s.output_size()), false}},
          .outputs = {{"y", count(s.output_size())}},
          .work = {op->packed_size(), op->scratch_size()},
          .forward = [op, kernel, bias, epilogue, size = s.output_size()](auto& stream, const auto& m) {
            op->pack(stream, kernel.data(), bias.data(), m.work[0]);
            if (epilogue.residual) std::copy_n(m.in[1].get(), size, m.out[0].get());
            op->run(stream, m.in[0], m.work[0], m.out[0], m.work[1]);
          }};
}

struct NormCase {
  MapShape shape;
  NormOptions options = {};
  bool two_gradients = false, in_place = false;
};

/// Two gradients: the output has two readers. `in_place`: dx (or, with an addition, the gradient of the other map)
/// replaces dy.
template <class B>
DifferentiableOperator<B> batch_norm(const NormCase& c) {
  auto op = std::make_shared<typename B::BatchNorm>(c.shape, c.options, "bn");
  const std::size_t size = count(c.shape.size()), channels = count(c.shape.c);
  return {.name = "bn",
          .inputs = {{"x", size, true, -1, 2},
                     {"other", c.options.add ? size : 0},
                     {"gamma", channels, true, 0.5, 1.5, TestKind::learned},
                     {"beta", channels, true, -1, 1, TestKind::learned}},
          .outputs = {{"y", size},
                      {"mean", channels, false, 0, 0, TestKind::learned},
                      {"variance", channels, false, 0, 0, TestKind::learned},
                      {"y again", c.two_gradients ? size : 0}},
          .work = {op->saved_size(), op->scratch_size()},
          .forward =
              [op, c, size](auto& stream, const auto& m) {
                op->forward(stream, m.in[0], m.in[1], m.in[2], m.in[3], m.out[1], m.out[2], m.out[0], m.work[0],
                            m.work[1]);
                if (c.two_gradients) std::copy_n(m.out[0].get(), size, m.out[3].get());
              },
          .backward =
              [op, c, size](auto& stream, const auto& m) {
                const auto* dy = m.d_out[0].get();
                if (c.in_place) dy = std::copy_n(dy, size, m.d_in[c.options.add ? 1 : 0].get()) - size;
                op->backward(stream, m.in[0], m.out[0], dy, m.d_out[3], m.in[2], m.in[3], m.work[0], m.d_in[0],
                             m.d_in[1], m.d_in[2], m.d_in[3], m.work[1]);
              }};
}

template <class B>
DifferentiableOperator<B> scale_shift(const MapShape& s, bool relu, bool in_place) {
  auto op = std::make_shared<typename B::ScaleShift>(s, relu);
  return {.name = "scale and shift",
          .inputs = {{"x", count(s.size()), false},
                     {"scale", count(s.c), false, -1, 1, TestKind::learned},
                     {"shift", count(s.c), false, -1, 1, TestKind::learned}},
          .outputs = {{"y", count(s.size())}},
          .forward = [op, in_place, size = s.size()](auto& stream, const auto& m) {
            const auto* x = m.in[0].get();
            if (in_place) x = std::copy_n(x, size, m.out[0].get()) - size;
            op->run(stream, x, m.in[1], m.in[2], m.out[0]);
          }};
}

template <class B>
DifferentiableOperator<B> elementwise(const MapShape& s, bool add, bool relu, bool in_place) {
  auto op = std::make_shared<typename B::Pointwise>(s, add, relu);
  const std::size_t size = count(s.size());
  return {.name = "pointwise",
          .inputs = {{"x", size}, {"other", add ? size : 0}},
          .outputs = {{"y", size}},
          .forward =
              [op, in_place, size](auto& stream, const auto& m) {
                const auto* x = m.in[0].get();
                if (in_place) x = std::copy_n(x, size, m.out[0].get()) - size;
                op->forward(stream, x, m.in[1], m.out[0]);
              },
          .backward =
              [op, add, in_place, size](auto& stream, const auto& m) {
                const auto* dy = m.d_out[0].get();
                if (in_place) dy = std::copy_n(dy, size, m.d_in[0].get()) - size;
                op->backward(stream, m.out[0], dy, m.d_in[0]);
                if (add) std::copy_n(m.d_in[0].get(), size, m.d_in[1].get());
              }};
}

template <class B>
DifferentiableOperator<B> max_pool(const PoolShape& s) {
  auto op = std::make_shared<typename B::MaxPool>(s, "pool");
  auto indices = std::make_shared<typename B::template Buffer<std::uint8_t>>(count(s.output_size()));
  return {.name = "max pool",
          .inputs = {{"x", count(s.input_size())}},
          .outputs = {{"y", count(s.output_size())}, {"inference", count(s.output_size())}},
          .forward =
              [op, indices](auto& stream, const auto& m) {
                op->forward(stream, m.in[0], m.out[1], nullptr);
                op->forward(stream, m.in[0], m.out[0], indices->data());
              },
          .backward =
              [op, indices, out = s.output_size()](auto& stream, const auto& m) {
                using Scalar = typename B::Scalar;
                std::vector<Scalar> dy(m.d_out[0].get(), m.d_out[0].get() + out);
                std::transform(dy.begin(), dy.end(), m.d_out[1].get(), dy.begin(),
                               [](Scalar a, Scalar b) { return static_cast<Scalar>(a + b); });
                op->backward(stream, dy.data(), indices->data(), m.d_in[0]);
              }};
}

template <class B>
DifferentiableOperator<B> average_pool(const MapShape& s) {
  auto op = std::make_shared<typename B::AveragePool>(s);
  return {.name = "average pool",
          .inputs = {{"x", count(s.size())}},
          .outputs = {{"y", count(s.n * s.c)}},
          .forward = [op](auto& stream, const auto& m) { op->forward(stream, m.in[0], m.out[0]); },
          .backward = [op](auto& stream, const auto& m) { op->backward(stream, m.d_out[0], m.d_in[0]); }};
}

template <class B>
DifferentiableOperator<B> linear(const LinearShape& s) {
  auto op = std::make_shared<typename B::Linear>(s, "fc");
  const double reach = 1 / std::sqrt(double(s.in));
  return {.name = "fc",
          .inputs = {{"x", count(s.n * s.in)},
                     {"weights", count(s.out * s.in), true, -reach, reach, TestKind::operand},
                     {"bias", count(s.out), true, -1, 1, TestKind::learned}},
          .outputs = {{"y", count(s.n * s.out), true, 0, 0, TestKind::result}},
          .work = {op->scratch_size()},
          .forward = [op](auto& stream,
                          const auto& m) { op->forward(stream, m.in[0], m.in[1], m.in[2], m.out[0], m.work[0]); },
          .backward =
              [op](auto& stream, const auto& m) {
                op->backward(stream, m.in[0], m.in[1], m.d_out[0], m.d_in[0], m.d_in[1], m.d_in[2], m.work[0]);
              }};
}

/// The gradient of the mean loss comes scaled by `loss_scale`, which here is the gradient of the output. `metrics`
/// start at 1, for they are added to.
template <class B>
DifferentiableOperator<B> cross_entropy(const LossShape& s) {
  using Master = typename B::Master;
  auto op = std::make_shared<typename B::CrossEntropy>(s);
  auto labels = std::make_shared<typename B::template Buffer<std::int32_t>>(count(s.n));
  for (int i = 0; i < s.n; ++i) {
    (*labels)[count(i)] = static_cast<std::int32_t>(RandomStream(2, "labels").below(count(i), unsigned(s.classes)));
  }
  const auto run = [op, labels, n = s.n](auto& stream, const auto& m, Master scale, Master* dlogits,
                                         std::array<double, 3>& sums) {
    std::array<double, int(StepControl::count)> control = {};
    control[int(StepControl::loss_scale)] = scale;
    control[int(StepControl::images)] = n;
    op->run(stream, m.in[0], labels->data(), control.data(), dlogits, sums.data());
  };
  return {.name = "loss",
          .inputs = {{"logits", count(s.n * s.classes), true, -4, 4, TestKind::result}},
          .outputs = {{"mean", 1, true, 0, 0, TestKind::result}, {"metrics", 3, false, 0, 0, TestKind::result}},
          .work = {count(s.n * s.classes) * sizeof(Master)},
          .forward =
              [run, n = s.n](auto& stream, const auto& m) {
                std::array<double, 3> sums = {1, 1, 1};
                run(stream, m, 1, reinterpret_cast<Master*>(m.work[0]), sums);
                *m.out[0].template get<Master>() = static_cast<Master>((sums[0] - 1) / n);
                std::transform(sums.begin(), sums.end(), m.out[1].template get<Master>(),
                               [](double sum) { return static_cast<Master>(sum); });
              },
          .backward =
              [run](auto& stream, const auto& m) {
                std::array<double, 3> sums = {};
                run(stream, m, *m.d_out[0].template get<Master>(), m.d_in[0], sums);
              }};
}

/// In two segments, decayed and at another rate, behind which something is frozen. The new weights come twice: as they
/// are learned, and as operators read them.
template <class B>
DifferentiableOperator<B> update(std::size_t size, const UpdateOptions& options) {
  const std::size_t third = size / 3;
  const std::array<UpdateSegment, 2> segments{{{0, third, 1, 1e-2}, {third, third, 0.25, 0}}};
  auto op = std::make_shared<typename B::Update>(options, segments, 5);
  return {.name = "update",
          .inputs = {{"weights", size, false, -1, 1, TestKind::learned},
                     {"gradient", size, false, -1, 1, TestKind::learned},
                     {"velocity", size, false, -1, 1, TestKind::learned},
                     {"statistics", 5, false, -1, 1, TestKind::learned},
                     {"batch statistics", 5, false, -1, 1, TestKind::learned},
                     {"rate", 1, false, 0.01, 0.5, TestKind::result},
                     {"average", size, false, -1, 1, TestKind::learned},
                     {"average statistics", 5, false, -1, 1, TestKind::learned}},
          .outputs = {{"new weights", size, false, 0, 0, TestKind::learned},
                      {"new velocity", size, false, 0, 0, TestKind::learned},
                      {"operands", size, false, 0, 0, TestKind::map},
                      {"new statistics", 5, false, 0, 0, TestKind::learned},
                      {"new average", size, false, 0, 0, TestKind::learned},
                      {"new average statistics", 5, false, 0, 0, TestKind::learned}},
          .forward = [op, size, averaged = options.ema_decay > 0](auto& stream, const auto& m) {
            using Scalar = typename B::Scalar;
            using Master = typename B::Master;
            using Gradient = typename B::Gradient;
            const auto copy = [&](std::size_t from, std::size_t to, std::size_t count) {
              return std::copy_n(m.in[from].template get<Master>(), count, m.out[to].template get<Master>()) - count;
            };
            Master* const weights = copy(0, 0, size);
            Master* const velocities = copy(2, 1, size);
            Master* const statistics = copy(3, 3, 5);
            Master* const average = copy(6, 4, size);
            Master* const average_statistics = copy(7, 5, 5);
            const std::vector<Gradient> gradients(m.in[1].template get<Master>(),
                                                  m.in[1].template get<Master>() + size);
            std::array<double, int(StepControl::count)> control = {};
            control[int(StepControl::learning_rate)] = double{*m.in[5].template get<Master>()};
            control[int(StepControl::ranks)] = 2;
            control[int(StepControl::loss_scale)] = 4;
            Scalar* operands = m.out[2];
            std::transform(weights, weights + size, operands, [](Master x) { return static_cast<Scalar>(x); });
            if constexpr (std::is_same_v<Scalar, Master>) operands = weights;
            op->run(stream, control.data(),
                    {weights, gradients.data(), velocities, operands, statistics, m.in[4].template get<Master>(),
                     averaged ? average : nullptr, averaged ? average_statistics : nullptr});
            if (operands == m.out[2].get()) return;
            std::transform(weights, weights + size, m.out[2].get(), [](Master x) { return static_cast<Scalar>(x); });
          }};
}

template <class B>
DifferentiableOperator<B> accumulate(std::size_t size) {
  return {.name = "accumulate",
          .inputs = {{"x", size, false}, {"y", size, false}},
          .outputs = {{"sum", size}},
          .forward = [size](auto& stream, const auto& m) {
            std::copy_n(m.in[1].get(), size, m.out[0].get());
            B::accumulate(stream, m.in[0], m.out[0], std::int64_t(size));
          }};
}

template <class B>
DifferentiableOperator<B> blend(std::size_t size) {
  return {.name = "blend",
          .inputs = {{"x", size, false, -1, 1, TestKind::learned}, {"y", size, false, -1, 1, TestKind::learned}},
          .outputs = {{"mean", size, false, 0, 0, TestKind::learned}},
          .forward = [size](auto& stream, const auto& m) {
            using Master = typename B::Master;
            Master* const mean = m.out[0].template get<Master>();
            std::copy_n(m.in[1].template get<Master>(), size, mean);
            B::blend(stream, m.in[0].template get<Master>(), mean, std::int64_t(size), 0.625, 0.375);
          }};
}

/// Every case of every operator but the convolutions: calls `visit(make)`, where `make.operator()<B>()` is the
/// operator.
template <class Visit>
void for_each_small_operator(Visit visit) {
  for (const bool add : {false, true}) {
    for (const bool relu : {false, true}) {
      for (const bool in_place : {false, true}) {
        for (const MapShape& s : {MapShape{2, 7, 7, 64}, MapShape{3, 1, 15, 13}, MapShape{1, 3, 1, 1}}) {
          visit([=]<class B>() { return elementwise<B>(s, add, relu, in_place); });
          if (!add) visit([=]<class B>() { return scale_shift<B>(s, relu, in_place); });
        }
        for (const MapShape& s : {MapShape{4, 5, 5, 19}, MapShape{2, 14, 14, 64}, MapShape{1, 1, 7, 3},
                                  MapShape{3, 1, 1, 24}, MapShape{1, 15, 15, 130}}) {
          visit([=]<class B>() { return batch_norm<B>({s, {.add = add, .relu = relu}, in_place, in_place}); });
        }
        visit([=]<class B>() {
          return batch_norm<B>({{6, 3, 5, 20}, {.add = add, .relu = relu, .ghost_batch = 2}, !in_place, in_place});
        });
        visit([=]<class B>() {
          return batch_norm<B>({{5, 3, 5, 20}, {.add = add, .relu = relu, .ghost_batch = 3}, !in_place, in_place});
        });
      }
    }
  }
  for (const PoolShape& s : {PoolShape{2, 15, 15, 64}, PoolShape{1, 16, 7, 5}, PoolShape{3, 1, 1, 9},
                             PoolShape{1, 8, 8, 24, 2, 2, 0}, PoolShape{2, 7, 9, 16, 3, 1, 1}}) {
    visit([=]<class B>() { return max_pool<B>(s); });
  }
  for (const MapShape& s : {MapShape{2, 7, 7, 128}, MapShape{3, 1, 1, 5}, MapShape{1, 8, 3, 33}}) {
    visit([=]<class B>() { return average_pool<B>(s); });
  }
  for (const LinearShape& s :
       {LinearShape{3, 256, 10}, LinearShape{1, 33, 100}, LinearShape{2, 1, 1}, LinearShape{4, 130, 37}}) {
    visit([=]<class B>() { return linear<B>(s); });
  }
  for (const double smoothing : {0.0, 0.1}) {
    for (const LossShape& s :
         {LossShape{5, 10, smoothing}, LossShape{1, 1000, smoothing}, LossShape{3, 2, smoothing}}) {
      visit([=]<class B>() { return cross_entropy<B>(s); });
    }
  }
  for (const UpdateOptions& options :
       {UpdateOptions{}, UpdateOptions{0.9, true, 0, 0.2}, UpdateOptions{0, false, 0.5, 1},
        UpdateOptions{0.5, true, 1e6, 0.1}, UpdateOptions{0.9, false, 0, 0.1, 0.875}}) {
    for (const std::size_t size : {3u, 67u, 4096u}) visit([=]<class B>() { return update<B>(size, options); });
  }
  visit([]<class B>() { return accumulate<B>(1003); });
  visit([]<class B>() { return blend<B>(57); });
}

}  // namespace operators
