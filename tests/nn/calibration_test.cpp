// Integers of 8 bits: what is stored, what is summed, and networks of them.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <resnext/nn/calibration.hpp>
#include <resnext/reference.hpp>
#include <resnext/resnext.hpp>

#include "files.hpp"
#include "networks.hpp"

using namespace resnext;
using namespace resnext::test;
using testing::message_of;

namespace {

std::vector<float> random_floats(const char* name, std::int64_t size, float reach) {
  std::vector<float> values(static_cast<std::size_t>(size));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = reach * (2 * RandomStream(3, name).uniform(i) - 1);
  return values;
}

/// The rule of `Reference<int8>` in plain loops, for one output of a convolution.
template <class X, class Y>
class Rule {
 public:
  Rule(const ConvolutionShape& shape, Epilogue epilogue) : s_(shape), epilogue_(epilogue) {}

  Y operator()(const std::vector<X>& x, const std::vector<float>& weights, const std::vector<float>& bias, Y residual,
               int n, int row, int column, int channel) const {
    const int width = s_.in / s_.groups, first = channel / (s_.out / s_.groups) * width;
    const int taps = width * s_.kernel * s_.kernel;
    float largest = 0;
    for (int i = 0; i < taps; ++i) largest = std::max(largest, std::abs(weights[index(channel * taps + i)]));
    const float scale = largest / 127;
    std::int32_t sum = 0;
    for (int c = 0; c < width; ++c) {
      for (int ky = 0; ky < s_.kernel; ++ky) {
        for (int kx = 0; kx < s_.kernel; ++kx) {
          const int h = row * s_.stride + ky - s_.padding, w = column * s_.stride + kx - s_.padding;
          if (h < 0 || h >= s_.h || w < 0 || w >= s_.w) continue;
          const float weight = weights[index(channel * taps + (c * s_.kernel + ky) * s_.kernel + kx)];
          sum += static_cast<int>(std::nearbyint(weight / scale)) *
                 x[index(((n * s_.h + h) * s_.w + w) * s_.in + first + c)];
        }
      }
    }
    const double sx = s_.formats.x->scale, sy = s_.formats.y->scale;
    float value = std::fma(static_cast<float>(sum), static_cast<float>(sx * scale / sy),
                           static_cast<float>(bias[index(channel)] / sy));
    if (epilogue_.residual) {
      value = std::fma(static_cast<float>(residual), static_cast<float>(s_.formats.other->scale / sy), value);
    }
    if (epilogue_.relu) value = std::max(value, 0.0f);
    if (std::is_same_v<Y, float>) return static_cast<Y>(value);
    const float least = std::numeric_limits<Y>::lowest(), most = std::numeric_limits<Y>::max();
    return static_cast<Y>(std::nearbyint(std::min(std::max(value, least), most)));
  }

 private:
  static std::size_t index(int i) { return static_cast<std::size_t>(i); }

  ConvolutionShape s_;
  Epilogue epilogue_;
};

/// Returns how many outputs are at the upper end of their type.
template <class X, class Y>
std::size_t follows_the_rule(ConvolutionShape s, Epilogue epilogue) {
  const bool integers = !std::is_same_v<Y, float>;
  s.formats = {NumberFormat{dtype_of<X>, 0.02f}, NumberFormat{dtype_of<Y>, integers ? 0.03f : 1},
               NumberFormat{dtype_of<Y>, integers ? 0.015f : 1}};
  CAPTURE(s.in);
  CAPTURE(s.groups);
  CAPTURE(s.kernel);
  CAPTURE(dtype_name(dtype_of<X>));
  CAPTURE(dtype_name(dtype_of<Y>));
  const Reference<int8>::InferenceConvolution convolution(s, epilogue, Reference<int8>::Registry(), "conv");
  const auto weights = random_floats("weights", s.weight_size(), 0.3f), bias = random_floats("bias", s.out, 1);
  std::vector<X> x(static_cast<std::size_t>(s.input_size()));
  std::vector<Y> residual(static_cast<std::size_t>(s.output_size()));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<X>(RandomStream(4, "x").bits(i));
  for (std::size_t i = 0; i < residual.size(); ++i) {
    residual[i] = static_cast<Y>(static_cast<std::int8_t>(RandomStream(4, "residual").bits(i)));
  }
  std::vector<std::byte> packed(convolution.packed_size()), scratch(convolution.scratch_size() + 64);
  HostStream stream;
  convolution.pack(stream, weights.data(), bias.data(), packed.data());
  std::vector<Y> y = residual;
  convolution.run(stream, x.data(), packed.data(), y.data(), scratch.data());
  const Rule<X, Y> rule(s, epilogue);
  std::size_t wrong = 0, at = 0, ends = 0;
  for (int n = 0; n < s.n; ++n) {
    for (int row = 0; row < s.out_h(); ++row) {
      for (int column = 0; column < s.out_w(); ++column) {
        for (int channel = 0; channel < s.out; ++channel, ++at) {
          wrong += y[at] != rule(x, weights, bias, residual[at], n, row, column, channel);
          ends += y[at] == std::numeric_limits<Y>::max();
        }
      }
    }
  }
  CHECK(wrong == 0);
  return ends;
}

/// A network, pictures for it, and what they say of its values.
struct Calibrated {
  using Net = SmallImageNet;

  Parameters<Net> parameters = random_parameters<Net>(31);
  RandomBatch batch{"calibration", 8, 32, 32, Net::inputs, Net::classes};
  Classifier<Net, Reference<float>> exact{parameters};
  Calibration calibration{Net::layers};

  Calibrated() { calibration.observe(exact, batch.images()); }
  /// rms of the logits' difference from those of floats, over their rms
  double error(const ValueFormats& formats) {
    Classifier<Net, Reference<int8>> classify(parameters, formats);
    const auto found = classify(batch.images()), expected = exact(batch.images());
    double difference = 0, square = 0;
    for (std::size_t i = 0; i < found.size(); ++i) {
      difference += std::pow(double{found[i]} - double{expected[i]}, 2);
      square += std::pow(double{expected[i]}, 2);
    }
    return std::sqrt(difference / square);
  }
};

}  // namespace

TEST_CASE("numbers are rounded to nearest even and stay within their type") {
  using detail::saturated;
  using Pair = std::array<float, 2>;
  for (const Pair& pair : {Pair{0.5f, 0}, Pair{1.5f, 2}, Pair{2.5f, 2}, Pair{-0.5f, 0}, Pair{-1.5f, -2},
                           Pair{126.5f, 126}, Pair{127.4f, 127}, Pair{1e30f, 127}, Pair{-128.5f, -128},
                           Pair{-1e30f, -128}, Pair{std::numeric_limits<float>::infinity(), 127}}) {
    CAPTURE(pair[0]);
    CHECK(saturated<std::int8_t>(pair[0]) == pair[1]);
  }
  CHECK(saturated<std::uint8_t>(-3.0f) == 0);
  CHECK(saturated<std::uint8_t>(254.5f) == 254);
  CHECK(saturated<std::uint8_t>(256.0f) == 255);
  CHECK(saturated<std::uint8_t>(std::numeric_limits<float>::quiet_NaN()) == 0);
}

TEST_CASE("weights have a scale for each output") {
  const std::vector<float> weights = {127, -63.5f, 1.5f, 0, 0, 0, -0.254f, 0.001f, 0.127f};
  const detail::QuantizedWeights quantized(weights, 3);
  CHECK(quantized.scales == std::vector<float>{1, 1, 0.254f / 127});
  CHECK(quantized.numbers == std::vector<std::int8_t>{127, -64, 2, 0, 0, 0, -127, 0, 64});
}

TEST_CASE("a convolution of integers sums exactly and rounds as it says") {
  std::size_t saturated = 0;
  for (const Epilogue epilogue : {Epilogue{}, Epilogue{false, true}, Epilogue{true, true}, Epilogue{true, false}}) {
    for (const ConvolutionShape& shape :
         {ConvolutionShape{2, 5, 6, 12, 20, 1, 1, 0, 1}, ConvolutionShape{1, 7, 7, 12, 12, 3, 1, 1, 3},
          ConvolutionShape{1, 8, 7, 10, 15, 3, 2, 1, 5}, ConvolutionShape{1, 9, 9, 3, 8, 7, 2, 3, 1},
          ConvolutionShape{1, 2, 2, 600, 4, 3, 1, 1, 1}}) {
      saturated += follows_the_rule<std::uint8_t, std::uint8_t>(shape, epilogue);
      saturated += follows_the_rule<std::uint8_t, std::int8_t>(shape, epilogue);
      saturated += follows_the_rule<std::int8_t, std::uint8_t>(shape, epilogue);
      follows_the_rule<std::int8_t, float>(shape, epilogue);
    }
  }
  CHECK(saturated > 100);
}

TEST_CASE("a calibrated network of integers classifies nearly as that of floats, and excluded layers help") {
  Calibrated net;
  const ValueFormats all = net.calibration.quantization();
  const std::array<std::string_view, 2> ends = {"conv1", "fc"};
  const double error = net.error(all), error_of_rest = net.error(net.calibration.quantization(ends));
  CHECK(error > 1e-4);
  CHECK(error < 0.05);
  CHECK(error_of_rest < error);
  std::vector<std::string_view> every;
  for (const Layer& layer : Calibrated::Net::layers) every.push_back(layer.name.view());
  CHECK(net.error(net.calibration.quantization(every)) == 0);
  CHECK(net.error(net.calibration.quantization(every, Dtype::BF16)) < 0.01);
}

TEST_CASE("what is stored between the layers of a quantized network are integers times their scale") {
  Calibrated net;
  const std::array<std::string_view, 1> last = {"fc"};
  const ValueFormats formats = net.calibration.quantization(last);
  Classifier<Calibrated::Net, Reference<int8>> classify(net.parameters, formats);
  int seen = 0;
  classify.observe(net.batch.images(), [&](std::string_view name, Extent, std::span<const double> values) {
    CAPTURE(name);
    const auto format = formats[Calibrated::Net::find(name)->output];
    if (name == "fc" || name == "avgpool") return;
    ++seen;
    REQUIRE(format);
    CHECK(is_quantized(format->type));
    const double low = format->type == Dtype::U8 ? 0 : -128, scale = format->scale;
    CHECK(std::all_of(values.begin(), values.end(), [=](double x) {
      return x == std::nearbyint(x / scale) * scale && x / scale > low - 0.5 && x / scale < low + 255.5;
    }));
    if (name.ends_with("relu1") || name.ends_with("relu2") || name.ends_with("relu") || name == "maxpool") {
      CHECK(format->type == Dtype::U8);
    }
  });
  CHECK(seen > 8);
}

TEST_CASE("the same pictures and formats give the same bits, for a batch and for each picture of it") {
  Calibrated net;
  Classifier<Calibrated::Net, Reference<int8>> classify(net.parameters, net.calibration.quantization());
  const auto logits = classify(net.batch.images());
  const std::vector<float> together(logits.begin(), logits.end());
  const auto each = static_cast<std::size_t>(Calibrated::Net::classes);
  for (int i = 0; i < net.batch.n; ++i) {
    const auto alone = classify(net.batch.slice(i, 1));
    CHECK(std::ranges::equal(alone, std::span(together).subspan(static_cast<std::size_t>(i) * each, each)));
  }
}

TEST_CASE("a network of integers needs formats, and a calibration needs pictures") {
  using Net = Calibrated::Net;
  Calibrated net;
  CHECK(message_of<Error>([&] { Classifier<Net, Reference<int8>>(net.parameters)(net.batch.images()); }) ==
        "the images: Reference<int8> expected a format of every value, found none; make them of a Calibration");
  Calibration fresh(Net::layers);
  CHECK(message_of<Error>([&] { static_cast<void>(fresh.quantization()); }) ==
        "calibration: expected images to have been observed, found none");
  Classifier<SmallCifar, Reference<float>> other(random_parameters<SmallCifar>(1));
  CHECK(message_of<OptionError>([&] { fresh.observe(other, net.batch.images()); }) ==
        "calibration: expected a classifier of the network that it was made for, with " +
            std::to_string(Net::layers.size()) + " layers, found one of another with " +
            std::to_string(SmallCifar::layers.size()));
  const std::array<std::string_view, 1> unknown = {"layer7.0.conv1"};
  CHECK(message_of<Error>([&] { static_cast<void>(net.calibration.quantization(unknown)); }) ==
        "the network has no layer \"layer7.0.conv1\", whose input was to be of type F32");
  net.batch.values[5] = std::numeric_limits<float>::quiet_NaN();
  CHECK(message_of<Error>([&] {
          net.calibration.observe(net.exact, net.batch.images());
        }).starts_with("calibration: the images: expected finite numbers, found "));
}
