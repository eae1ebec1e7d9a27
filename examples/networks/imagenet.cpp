#include <resnext/cpu.hpp>
#include <resnext/nn/make_executors.hpp>
#include <resnext/resnext.hpp>

#include "../networks.hpp"

namespace examples {

namespace {

constexpr BackendList<Cpu<float>> backends;
constexpr NetworkList<ResNet50, ResNeXt50<32, 4>, ResNeXt101<32, 4>, ResNeXt101<64, 4>> networks{
    {"resnet50", "resnext50_32x4d", "resnext101_32x4d", "resnext101_64x4d"}};

}  // namespace

std::vector<std::string> imagenet_networks() { return {networks.names.begin(), networks.names.end()}; }

std::unique_ptr<AnyClassifier> imagenet_classifier(std::string_view network, const std::filesystem::path& weights) {
  return make_classifier(networks, backends, network, "", weights.string());
}

std::unique_ptr<AnyClassifier> imagenet_classifier(std::string_view network, std::uint64_t seed) {
  return make_classifier(networks, backends, network, "", seed);
}

}  // namespace examples
