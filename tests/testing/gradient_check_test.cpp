// The checker must find every kind of mistake that it promises to find.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include <resnext/reference.hpp>
#include <resnext/testing/gradient_check.hpp>

using namespace resnext;

namespace {

using B = Reference<double>;
using Operator = DifferentiableOperator<B>;

/// y = x^3, without a mistake.
Operator cube() {
  return {.name = "cube",
          .inputs = {{"x", 100}},
          .outputs = {{"y", 100}},
          .work = {7 * sizeof(double)},
          .forward =
              [](auto&, const auto& m) {
                std::transform(m.in[0].get(), m.in[0].get() + 100, m.out[0].get(), [](double x) { return x * x * x; });
              },
          .backward =
              [](auto&, const auto& m) {
                for (int i = 0; i < 100; ++i) m.d_in[0][i] = 3 * m.in[0][i] * m.in[0][i] * m.d_out[0][i];
              }};
}

bool found(const GradientReport& report, const char* words) { return report.worst.find(words) != std::string::npos; }

constexpr double broken = std::numeric_limits<double>::infinity();

}  // namespace

TEST_CASE("a right gradient passes, and its error is small but measured") {
  const GradientReport report = check_gradients(cube(), 100);
  CHECK(report.error > 0);
  CHECK(report.error < 1e-8);
}

TEST_CASE("a wrong element is named") {
  Operator op = cube();
  op.backward = [right = op.backward](auto& stream, const auto& m) {
    right(stream, m);
    m.d_in[0][42] += 1e-3;
  };
  const GradientReport report = check_gradients(op, 100);
  CHECK(report.error > 1e-4);
  CHECK_MESSAGE(found(report, "cube d x[42]: expected "), report.worst);
}

TEST_CASE("a gradient that is added to, or left out, is found") {
  Operator op = cube();
  SUBCASE("added") {
    op.backward = [](auto&, const auto& m) {
      for (int i = 0; i < 100; ++i) m.d_in[0][i] += 3 * m.in[0][i] * m.in[0][i] * m.d_out[0][i];
    };
  }
  SUBCASE("left out") {
    op.backward = [](auto&, const auto&) {};
  }
  SUBCASE("scratch read before it was written") {
    op.forward = [right = op.forward](auto& stream, const auto& m) {
      right(stream, m);
      m.out[0][0] += 0 * reinterpret_cast<double*>(m.work[0])[3];
    };
  }
  const GradientReport report = check_gradients(op);
  CHECK(report.error == broken);
  CHECK_MESSAGE(found(report, "expected to be assigned"), report.worst);
}

TEST_CASE("a modified input is found") {
  Operator op = cube();
  op.backward = [right = op.backward](auto& stream, const auto& m) {
    right(stream, m);
    const_cast<double*>(m.d_out[0].get())[99] = 0;
  };
  const GradientReport report = check_gradients(op);
  CHECK(report.error == broken);
  CHECK_MESSAGE(found(report, "cube d y: an input was modified"), report.worst);
}

TEST_CASE("a write outside a tensor is found, before and behind") {
  Operator op = cube();
  int at = -1;
  SUBCASE("before") {}
  SUBCASE("behind") { at = 7; }
  op.forward = [right = op.forward, at](auto& stream, const auto& m) {
    right(stream, m);
    reinterpret_cast<double*>(m.work[0])[at] = 1;
  };
  const GradientReport report = check_gradients(op);
  CHECK(report.error == broken);
  CHECK_MESSAGE(found(report, "cube work 0: memory outside of it was written"), report.worst);
}

TEST_CASE("two backends are compared in outputs and gradients") {
  using F = Reference<float>;
  DifferentiableOperator<F> op{
      .name = "cube", .inputs = {{"x", 100}}, .outputs = {{"y", 100}}, .work = {7 * sizeof(double)}};
  op.forward = [](auto&, const auto& m) {
    for (int i = 0; i < 100; ++i) m.out[0][i] = m.in[0][i] * m.in[0][i] * m.in[0][i];
  };
  op.backward = [](auto&, const auto& m) {
    for (int i = 0; i < 100; ++i) m.d_in[0][i] = 3 * m.in[0][i] * m.in[0][i] * m.d_out[0][i];
  };
  CHECK(check_gradients(op).error < 1e-2);
  const GradientReport same = compare_gradients(op, cube());
  CHECK(same.error > 0);
  CHECK(same.error < 1e-6);
  op.forward = [right = op.forward](auto& stream, const auto& m) {
    right(stream, m);
    m.out[0][17] = std::nextafter(m.out[0][17] + 0.01f, 2.0f);
  };
  const GradientReport different = compare_gradients(op, cube());
  CHECK(different.error > 1e-3);
  CHECK_MESSAGE(found(different, "cube y[17]: expected "), different.worst);
}
