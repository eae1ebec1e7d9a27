// The reference backend: its gradients against finite differences, its precision in float, and the laws it must obey.
#include <doctest/doctest.h>

#include <resnext/reference.hpp>

#include "backend/compare.hpp"
#include "backend/laws.hpp"

using namespace resnext;

TEST_CASE("gradients of Reference<double> are the slopes of its forward passes") {
  const auto check = [](auto make) {
    const auto report = check_gradients(make.template operator()<Reference<double>>(), 16);
    CHECK_MESSAGE(report.error < 1e-7, report.worst);
  };
  for (const auto& shape : operators::convolutions) {
    CAPTURE(operators::text(shape));
    if (shape.output_size() > 20'000) continue;  // quick: the large ones take the same loops
    check([&]<class B>() { return operators::convolution<B>(shape); });
  }
  operators::for_each_small_operator(check);
}

TEST_CASE("Reference<float> agrees with Reference<double>") { operators::compare_all<Reference<float>>(); }

TEST_CASE("references of 16 bits are as far from it as rounding explains, and no farther") {
  constexpr std::int64_t most = 10'000;  // the large ones take the same loops
  operators::compare_all<Reference<bfloat16>>(most);
  operators::compare_all<Reference<float16>>(most);
}

TEST_CASE("laws of Reference<double>") { laws::check_all<Reference<double>>(); }

TEST_CASE("SGD is that of torch.optim.SGD, by hand") {
  using B = Reference<double>;
  HostStream stream;
  std::array<double, int(StepControl::count)> control = {0.5, 1, 2, 0, 2};  // rate, images, ranks, growth, loss scale
  const double gradient[] = {8};
  for (const auto& [nesterov, first, second] :
       {std::tuple{false, 2.95, 1.388125}, std::tuple{true, 2.425, 0.61703125}}) {
    double weight[] = {4}, velocity[] = {0};
    const UpdateSegment all{0, 1, 1, 0.025};
    const B::Update update({.momentum = 0.5, .nesterov = nesterov}, std::span(&all, 1), 0);
    const auto step = [&] {
      update.run(stream, control.data(), {weight, gradient, velocity, weight, nullptr, nullptr});
    };
    // step 1: g = 8 / 4 + 0.025 * 4 = 2.1, v = 2.1, w = 4 - 0.5 * (nesterov ? 2.1 + 1.05 : 2.1)
    step();
    CHECK(velocity[0] == doctest::Approx(2.1).epsilon(1e-15));
    CHECK(weight[0] == doctest::Approx(first).epsilon(1e-15));
    step();
    CHECK(weight[0] == doctest::Approx(second).epsilon(1e-15));
  }
}

namespace {

struct WithoutInference : Reference<float> {
  template <class Net>
  static Registry inference_registry() = delete;
};
struct WithoutTraining : Reference<float> {
  template <class Net>
  static void training_registry() {}
};
struct WithoutBuffer : Reference<float> {
  template <class>
  struct Buffer {};
};
struct OtherLinear : Reference<float> {
  struct Linear : Reference<float>::Linear {
    explicit Linear(const LinearShape& shape) : Reference<float>::Linear(shape, "fc") {}
  };
};

}  // namespace

TEST_CASE("what a plan would miss is missed by the concept") {
  static_assert(Backend<Reference<float>>);
  static_assert(!Backend<WithoutInference> && !Backend<WithoutTraining> && !Backend<WithoutBuffer>);
  static_assert(!Backend<OtherLinear>);
}

TEST_CASE("a label outside of the classes is refused") {
  using B = Reference<double>;
  HostStream stream;
  const double logits[] = {1, 2, 3, 4}, control[int(StepControl::count)] = {0, 2, 1, 0, 1};
  double dlogits[4], metrics[3] = {};
  const std::int32_t labels[] = {0, 2};
  B::CrossEntropy loss({2, 2});
  CHECK_THROWS_WITH_AS(loss.run(stream, logits, labels, control, dlogits, metrics),
                       "label 1 of the batch: expected 0 to 1, found 2", ShapeError);
}
