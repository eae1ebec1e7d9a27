/// @file
/// Checks the gradients of any operator or layer of any backend, yours included.
///
/// ```cpp
/// using B = Reference<double>;
/// auto pool = std::make_shared<B::AveragePool>(MapShape{.n = 2, .h = 3, .w = 3, .c = 5});
/// DifferentiableOperator<B> op{.name = "pool", .inputs = {{"x", 90}}, .outputs = {{"y", 10}}};
/// op.forward = [=](auto& stream, const auto& m) { pool->forward(stream, m.in[0], m.out[0]); };
/// op.backward = [=](auto& stream, const auto& m) { pool->backward(stream, m.d_out[0], m.d_in[0]); };
/// GradientReport report = check_gradients(op);     // report.error < 1e-7, or report.worst says where not
/// ```
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <sstream>
#include <string>
#include <type_traits>
#include <vector>

#include <resnext/backend/backend.hpp>
#include <resnext/random.hpp>
#include <resnext/tensor/number.hpp>
#include <resnext/tensor/typed_pointer.hpp>
#include <resnext/testing/guarded_tensor.hpp>

namespace resnext {

/// What a tensor is, which says of what types it and its gradient are.
enum class TestKind {
  map,      ///< `Scalar`, and so is its gradient
  operand,  ///< learned, as operators read it: `Scalar`, its gradient is `Gradient`
  learned,  ///< as it is learned: `Master`, its gradient is `Gradient`
  result    ///< logits, hyper-parameters: `Master`, and so is its gradient
};

/// A tensor of an operator under test, filled with random numbers in [low, high) if it is an input.
struct TestTensor {
  std::string name;               ///< for reports
  std::size_t size = 0;           ///< numbers
  bool differentiable = true;     ///< input: has a gradient; output: the loss depends on it
  double low = -1;                ///< the smallest random number
  double high = 1;                ///< where they end
  TestKind kind = TestKind::map;  ///< says of what type it is
};

namespace detail {

/// Const where it may only be read.
template <class Number, bool constant>
concept TestNumberOf = !constant || std::is_const_v<Number>;

}  // namespace detail

/// Where a tensor lies: what takes a pointer to numbers of its type, or one that says its type, takes it as it is.
template <class B, bool constant>
class TestPointer {
 public:
  /// Const for what may only be read.
  template <class Number>
  using Qualified = std::conditional_t<constant, const Number, Number>;

  /// Null where there is no tensor.
  explicit TestPointer(TypedPointer data) : data_(data) {}
  /// Of the backend's numbers, whatever type they are.
  template <detail::TestNumberOf<constant> Number>
  operator Number*() const {
    return static_cast<Number*>(data_.data());
  }
  /// With its type.
  operator ConstTypedPointer() const { return data_; }
  /// The same.
  operator TypedPointer() const requires(!constant) { return data_; }
  /// As a pointer.
  template <class Number = typename B::Scalar>
  Qualified<Number>* get() const {
    return static_cast<Qualified<Number>*>(data_.data());
  }
  /// A number of a map.
  Qualified<typename B::Scalar>& operator[](std::integral auto i) const { return get()[i]; }

 private:
  TypedPointer data_;
};

/// An operator as the checker sees it: named tensors, and two functions on backend memory.
template <class B>
struct DifferentiableOperator {
  /// Where the tensors lie. What is not differentiable has a null gradient.
  struct Memory {
    std::vector<TestPointer<B, true>> in;     ///< inputs
    std::vector<TestPointer<B, true>> d_out;  ///< gradients of the outputs
    std::vector<TestPointer<B, false>> out;   ///< outputs
    std::vector<TestPointer<B, false>> d_in;  ///< gradients of the inputs
    std::vector<std::byte*> work;             ///< scratch
  };
  /// A pass.
  using Function = std::function<void(typename B::Stream&, const Memory&)>;

  std::string name;                    ///< for reports
  std::vector<TestTensor> inputs;      ///< what it reads
  std::vector<TestTensor> outputs;     ///< what it writes
  std::vector<std::size_t> work = {};  ///< bytes of scratch and of what is kept from forward to backward
  Function forward = {};               ///< reads in; assigns out
  Function backward = {};              ///< reads in, out and d_out; assigns d_in. May be absent.
};

/// What a check found. A perfect operator has an error near the rounding of its numbers.
struct GradientReport {
  double error = 0;   ///< largest difference over the rms of its tensor (at least 0.001); infinite: a rule was broken
  std::string worst;  ///< "bn2 d gamma[3]: expected 0.25, found 0.5", or which rule was broken
};

namespace detail {

/// An operator with its memory and its random inputs.
template <class B>
class OperatorTrial {
 public:
  using Tensors = std::vector<std::vector<double>>;

  OperatorTrial(const DifferentiableOperator<B>& op, std::uint64_t seed) : op_(op) {
    for (const TestTensor& tensor : op.inputs) {
      values_.push_back(random(tensor, seed, tensor.name));
      add(in_, memory_.in, tensor.size, type_of(tensor.kind));
      add(d_in_, memory_.d_in, tensor.differentiable ? tensor.size : 0, type_of_gradient(tensor.kind));
      round(in_.back(), values_.back());
    }
    for (const TestTensor& tensor : op.outputs) {
      directions_.push_back(random({tensor.name, tensor.differentiable ? tensor.size : 0}, seed, "d " + tensor.name));
      add(out_, memory_.out, tensor.size, type_of(tensor.kind));
      add(d_out_, memory_.d_out, directions_.back().size(), type_of_gradient(tensor.kind));
      round(d_out_.back(), directions_.back());
    }
    for (const std::size_t bytes : op.work) {
      constexpr std::size_t each = sizeof(typename B::Master);
      work_.emplace_back((bytes + each - 1) / each, TestNumber::master);
      memory_.work.push_back(bytes == 0 ? nullptr : static_cast<std::byte*>(work_.back().pointer().data()));
    }
  }
  /// With the numbers of another backend's trial, which may have been rounded.
  template <class Other>
  OperatorTrial(const DifferentiableOperator<B>& op, std::uint64_t seed, const OperatorTrial<Other>& other)
      : OperatorTrial(op, seed) {
    for (std::size_t i = 0; i < in_.size(); ++i) round(in_[i], values_[i] = other.input(i));
    for (std::size_t i = 0; i < d_out_.size(); ++i) round(d_out_[i], directions_[i] = other.direction(i));
  }

  const std::vector<float>& direction(std::size_t tensor) const { return directions_[tensor]; }
  const std::vector<float>& input(std::size_t tensor) const { return values_[tensor]; }
  void set_input(std::size_t tensor, std::size_t element, float value) {
    values_[tensor][element] = value;
    in_[tensor].assign(stream_, values_[tensor]);
  }
  void forward(float poison) {
    for (auto* tensors : {&out_, &work_}) {
      for (auto& tensor : *tensors) tensor.poison(stream_, poison);
    }
    op_.forward(stream_, memory_);
  }
  void backward(float poison) {
    for (auto& tensor : d_in_) tensor.poison(stream_, poison);
    if (op_.backward) op_.backward(stream_, memory_);
  }
  Tensors outputs() { return read(out_); }
  Tensors gradients() { return op_.backward ? read(d_in_) : Tensors(d_in_.size()); }

  /// The loss whose gradient `backward` computes: the sum of outputs times fixed random directions.
  double loss() {
    double sum = 0;
    const Tensors results = outputs();
    for (std::size_t tensor = 0; tensor < results.size(); ++tensor) {
      for (std::size_t i = 0; i < directions_[tensor].size(); ++i) sum += results[tensor][i] * directions_[tensor][i];
    }
    return sum;
  }

  /// Runs everything once. Says which rule was broken, or nothing.
  std::string run_guarded(float poison) {
    for (auto& tensor : in_) tensor.poison(stream_, poison);
    for (auto& tensor : d_out_) tensor.poison(stream_, poison);
    for (std::size_t i = 0; i < in_.size(); ++i) in_[i].assign(stream_, values_[i]);
    for (std::size_t i = 0; i < d_out_.size(); ++i) d_out_[i].assign(stream_, directions_[i]);
    forward(poison);
    backward(poison);
    for (std::size_t i = 0; i < in_.size(); ++i) {
      if (!equal(in_[i], values_[i])) return op_.inputs[i].name + ": an input was modified";
      if (!in_[i].intact(stream_)) return op_.inputs[i].name + ": memory outside of it was written";
      if (!d_in_[i].intact(stream_)) return "d " + op_.inputs[i].name + ": memory outside of it was written";
    }
    for (std::size_t i = 0; i < out_.size(); ++i) {
      if (!equal(d_out_[i], directions_[i])) return "d " + op_.outputs[i].name + ": an input was modified";
      if (!d_out_[i].intact(stream_)) return "d " + op_.outputs[i].name + ": memory outside of it was written";
      if (!out_[i].intact(stream_)) return op_.outputs[i].name + ": memory outside of it was written";
    }
    for (std::size_t i = 0; i < work_.size(); ++i) {
      if (!work_[i].intact(stream_)) return "work " + std::to_string(i) + ": memory outside of it was written";
    }
    return {};
  }

 private:
  using Guarded = std::vector<GuardedTensor<B>>;

  /// Multiples of 2^-16: they, and their sums with a step, are exact in float.
  static std::vector<float> random(const TestTensor& tensor, std::uint64_t seed, const std::string& name) {
    const RandomStream stream(seed, name);
    std::vector<float> values(tensor.size);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double value = tensor.low + (tensor.high - tensor.low) * stream.uniform(i);
      values[i] = static_cast<float>(std::floor(value * 0x1p16) * 0x1p-16);
    }
    return values;
  }
  template <class Pointers>
  void add(Guarded& tensors, Pointers& pointers, std::size_t size, TestNumber type) {
    tensors.emplace_back(size, type);
    pointers.emplace_back(size == 0 ? TypedPointer(nullptr) : tensors.back().pointer());
  }
  /// Puts values into a tensor, and takes for values what it then holds.
  void round(GuardedTensor<B>& tensor, std::vector<float>& values) {
    tensor.assign(stream_, values);
    const auto held = tensor.values(stream_);
    std::transform(held.begin(), held.end(), values.begin(), [](double value) { return static_cast<float>(value); });
  }
  static TestNumber type_of(TestKind kind) {
    return kind == TestKind::map || kind == TestKind::operand ? TestNumber::scalar : TestNumber::master;
  }
  static TestNumber type_of_gradient(TestKind kind) {
    if (kind == TestKind::map) return TestNumber::scalar;
    return kind == TestKind::result ? TestNumber::master : TestNumber::gradient;
  }
  Tensors read(const Guarded& tensors) {
    Tensors result;
    for (const auto& tensor : tensors) result.push_back(tensor.values(stream_));
    return result;
  }
  bool equal(const GuardedTensor<B>& tensor, const std::vector<float>& expected) {
    const auto found = tensor.values(stream_);
    return std::equal(found.begin(), found.end(), expected.begin(), expected.end(),
                      [](double a, float b) { return a == static_cast<double>(b); });
  }

  const DifferentiableOperator<B>& op_;
  typename B::Stream stream_;
  Guarded in_, out_, d_in_, d_out_, work_;
  std::vector<std::vector<float>> values_, directions_;
  typename DifferentiableOperator<B>::Memory memory_;
};

inline void report_difference(GradientReport& report, const std::string& tensor, std::size_t element, double expected,
                              double found, double scale) {
  double error = std::abs(found - expected) / scale;
  if (!is_finite(error)) error = std::numeric_limits<double>::infinity();
  if (error <= report.error) return;
  std::ostringstream text;
  text.precision(9);
  text << tensor << '[' << element << "]: expected " << expected << ", found " << found;
  report = {error, text.str()};
}

inline double test_scale(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value * value;
  return std::max(1e-3, std::sqrt(sum / static_cast<double>(std::max<std::size_t>(1, values.size()))));
}

inline void report_differences(GradientReport& report, const std::string& tensor, const std::vector<double>& expected,
                               const std::vector<double>& found) {
  const double scale = test_scale(expected);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    report_difference(report, tensor, i, expected[i], found[i], scale);
  }
}

/// Runs a trial on memory that held NaN and on memory that held infinity: outputs are to be assigned, not added to,
/// and nothing that was not written may be read.
template <class B>
GradientReport check_rules(const DifferentiableOperator<B>& op, OperatorTrial<B>& trial) {
  constexpr double broken = std::numeric_limits<double>::infinity();
  std::string fault = trial.run_guarded(std::numeric_limits<float>::infinity());
  const auto outputs = trial.outputs(), gradients = trial.gradients();
  if (fault.empty()) fault = trial.run_guarded(std::numeric_limits<float>::quiet_NaN());
  if (!fault.empty()) return {broken, op.name + " " + fault};
  const auto compare = [&](const std::string& prefix, const TestTensor& tensor, const std::vector<double>& first,
                           const std::vector<double>& second) {
    for (std::size_t i = 0; i < first.size() && fault.empty(); ++i) {
      if (first[i] == second[i] && is_finite(first[i])) continue;
      std::ostringstream text;
      text << op.name << ' ' << prefix << tensor.name << '[' << i << "]: expected to be assigned, found " << first[i]
           << " on memory that held infinity and " << second[i] << " on memory that held NaN";
      fault = text.str();
    }
  };
  const auto outputs_again = trial.outputs(), gradients_again = trial.gradients();
  for (std::size_t i = 0; i < outputs.size(); ++i) compare("", op.outputs[i], outputs[i], outputs_again[i]);
  for (std::size_t i = 0; i < gradients.size(); ++i) compare("d ", op.inputs[i], gradients[i], gradients_again[i]);
  if (!fault.empty()) return {broken, fault};
  return {};
}

}  // namespace detail

/// Compares the gradients of an operator with central differences of its forward pass, at up to `probes` elements of
/// every differentiable input. Inputs and the direction of the gradient are random, made from `seed`.
///
/// Also checked: outputs and gradients are assigned, whatever their memory held; inputs are not modified; nothing is
/// written outside the tensors; a second run gives the same bits.
///
/// Expect an error below 1e-7 for numbers of 64 bits and below 1e-2 for 32 bits: there the differences are the coarse
/// side, and `compare_gradients` sees more; for 16 bits they say nothing. A kink (ReLU, max pool) within a step of an
/// input shows as an error.
template <class B>
GradientReport check_gradients(const DifferentiableOperator<B>& op, std::size_t probes = 32, std::uint64_t seed = 0) {
  constexpr float step = sizeof(typename B::Scalar) == 8 ? 0x1p-16f : 0x1p-7f;
  detail::OperatorTrial<B> trial(op, seed);
  GradientReport report = detail::check_rules(op, trial);
  if (report.error > 0) return report;
  const auto gradients = trial.gradients();
  for (std::size_t tensor = 0; tensor < gradients.size(); ++tensor) {
    const auto& gradient = gradients[tensor];
    const double scale = detail::test_scale(gradient);
    for (std::size_t probe = 0; probe < std::min(probes, gradient.size()); ++probe) {
      const std::size_t i =
          gradient.size() <= probes ? probe : RandomStream(seed, "probe").bits(probe) % gradient.size();
      const float value = trial.input(tensor)[i];
      double loss[2];
      for (const int side : {0, 1}) {
        trial.set_input(tensor, i, side == 0 ? value - step : value + step);
        trial.forward(0);
        loss[side] = trial.loss();
      }
      trial.set_input(tensor, i, value);
      detail::report_difference(report, op.name + " d " + op.inputs[tensor].name, i, (loss[1] - loss[0]) / (2 * step),
                                gradient[i], scale);
    }
  }
  return report;
}

/// Compares every output and gradient of an operator with those of the same operator on another backend, whose word
/// counts, usually `Reference<double>`. Checks the rules that `check_gradients` checks. Expect about 1e-6 for floats,
/// 4e-2 for bfloat16 and 5e-3 for float16, whose inputs both backends get as they are after rounding.
template <class B, class Oracle>
GradientReport compare_gradients(const DifferentiableOperator<B>& op, const DifferentiableOperator<Oracle>& oracle,
                                 std::uint64_t seed = 0) {
  detail::OperatorTrial<B> trial(op, seed);
  GradientReport report = detail::check_rules(op, trial);
  if (report.error > 0) return report;
  detail::OperatorTrial<Oracle> truth(oracle, seed, trial);
  truth.forward(0);
  truth.backward(0);
  const auto outputs = trial.outputs(), expected_outputs = truth.outputs();
  const auto gradients = trial.gradients(), expected_gradients = truth.gradients();
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    detail::report_differences(report, op.name + " " + op.outputs[i].name, expected_outputs[i], outputs[i]);
  }
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    detail::report_differences(report, op.name + " d " + op.inputs[i].name, expected_gradients[i], gradients[i]);
  }
  return report;
}

}  // namespace resnext
