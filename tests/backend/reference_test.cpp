// The reference backend: its gradients against finite differences, its precision in float, and the laws it must obey.
#include <doctest/doctest.h>

#include <resnext/reference.hpp>

#include "backend/compare.hpp"

TEST_CASE("gradients of Reference<double> are the slopes of its forward passes") {
  using B = resnext::Reference<double>;
  const auto check = [](auto make) {
    const auto report = check_gradients(make.template operator()<B>(), 16);
    CHECK_MESSAGE(report.error < 1e-7, report.worst);
  };
  for (const auto& shape : operators::convolutions) {
    CAPTURE(operators::text(shape));
    if (shape.output_size() > 20'000) continue;  // quick: the large ones take the same loops
    check([&]<class Backend>() { return operators::convolution<Backend>(shape); });
  }
  operators::for_each_small_operator(check);
}

TEST_CASE("Reference<float> agrees with Reference<double>") {
  operators::compare_all<resnext::Reference<float>>();
}
