// Guide: parts of a network. A backbone and a head with a loss of its own, run and trained one after the other.

#include <cstddef>
#include <cstdio>
#include <span>
#include <vector>

#include <resnext/reference.hpp>
#include <resnext/resnext.hpp>

using namespace resnext;
using B = Reference<float>;

// [types]
// In a real program ImageNetStem<>, Bottleneck<32, 4> and Stage<3>, Stage<4>, Stage<6>.
using Whole = Network<Template<CifarStem<8>, Bottleneck<4, 2>, Planes<4>, Stage<1>, Stage<1>, Stage<1>, Classes<5>>>;
using Backbone = Network<Template<CifarStem<8>, Bottleneck<4, 2>, Planes<4>, Stage<1>, Stage<1>, Features<1, 2>>>;
using LastStage = Network<Template<Input<32>, Bottleneck<4, 2>, Planes<4>, Stage<0>, Stage<0>, Stage<1>, Features<3>>>;
static_assert(LastStage::find("layer3.0.conv2")->stride == 2);  // as in the whole network
// [types]

int main() {
  // [weights]
  const auto whole = initialized<Whole>(1);  // in place of a file
  const auto [lower, no_new, upper_and_head] = transfer<Backbone>(whole, 0);
  const auto [upper, none_new, lower_and_head] = transfer<LastStage>(whole, 0);
  // [weights]

  std::vector<float> values(2 * 16 * 16 * 3);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = RandomStream(2, "images").uniform(i);
  const Images images(values, 2, 16, 16, 3);

  // [forward]
  Classifier<Backbone, B> extract(lower);
  Classifier<LastStage, B> refine(upper);
  for (const OutputMap<float>& map : extract.forward(images)) {
    std::printf("%d maps of %d x %d x %d\n", map.n, map.extent.h, map.extent.w, map.extent.c);
  }
  const auto last = refine.forward(extract.forward(images)[1])[0];
  std::printf("%d x %d x %d\n", last.extent.h, last.extent.w, last.extent.c);
  // [forward]

  // [training]
  Trainer<Backbone, B> backbone(lower);
  Trainer<LastStage, B> stage(upper);
  backbone.set_learning_rate(0.1);
  stage.set_learning_rate(0.1);
  double loss = 0, first = 0;
  for (int step = 0; step < 10; ++step) {
    const auto maps = backbone.forward(images);
    const auto out = stage.forward(maps[1])[0];
    // a loss of one's own: the mean square of the last map
    std::vector<float> gradient(out.values.begin(), out.values.end());
    const auto count = static_cast<float>(gradient.size());
    loss = 0;
    for (float& x : gradient) {
      loss += x * x / count;
      x *= 2 / count;
    }
    if (step == 0) first = loss;
    const std::vector<float> nothing(maps[0].values.size());  // the first map is not in the loss
    stage.backward(std::vector<std::span<const float>>{gradient});
    backbone.backward(std::vector<std::span<const float>>{nothing, stage.input_gradient()});
    stage.update();
    backbone.update();
  }
  // [training]
  std::printf("loss: %.3f, then %.3f\n", first, loss);
  return no_new.empty() && none_new.empty() && loss < first ? 0 : 1;
}
