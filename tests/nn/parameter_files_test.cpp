#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include <resnext/nn/parameter_files.hpp>
#include <resnext/nn/pth_files.hpp>

#include "files.hpp"
#include "io/torch_file.hpp"
#include "nn/networks.hpp"

using namespace resnext;
using test::SmallImageNet;
using testing::message_of;
using testing::TemporaryFolder;

namespace {

using Net = SmallImageNet;
using Other = WithClasses<Net, 3>;

bool same(std::span<const float> a, std::span<const float> b) { return std::ranges::equal(a, b); }

/// The tensors of `state` whose names do not start with `left_out`.
std::vector<TensorView> views_without(const StateDict& state, const std::string& left_out) {
  std::vector<TensorView> views = tensor_views(state);
  std::erase_if(views, [&](const TensorView& view) { return view.name.starts_with(left_out); });
  return views;
}

/// Everything as in `from`, but the classifier as `seed` makes it.
template <class To>
void check_fresh_head(const Parameters<To>& found, const StateDict& from, std::uint64_t seed) {
  const auto initial = initialized<To>(seed);
  for (const auto& slot : found.tensors()) {
    const LayerName name = slot.entry.name();
    CAPTURE(std::string(name));
    CHECK(same(found[slot], slot.entry.prefix.view() == "fc" ? initial[slot] : from[name.view()]));
  }
  CHECK(found.batches_tracked() == from.batches_tracked());
}

}  // namespace

TEST_CASE("a fresh classifier takes the place of the file's, of whatever size, or of none") {
  const TemporaryFolder folder;
  auto parameters = test::random_parameters<Net>(1);
  parameters.set_batches_tracked(5);
  save_safetensors(folder / "whole.safetensors", parameters);
  write_safetensors(folder / "headless.safetensors", views_without(parameters, "fc."));
  for (const char* name : {"whole.safetensors", "headless.safetensors"}) {
    check_fresh_head(load_safetensors<Net>(folder / name, Head::fresh, 8), parameters, 8);
    check_fresh_head(load_safetensors<Other>(folder / name, Head::fresh, 8), parameters, 8);
  }
  CHECK(same(load_safetensors<Net>(folder / "whole.safetensors", Head::from_file).values(), parameters.values()));
}

TEST_CASE("with a fresh classifier everything else still has to fit") {
  const TemporaryFolder folder;
  const auto parameters = test::random_parameters<Net>(1);
  const auto path = folder / "weights.safetensors";
  write_safetensors(path, views_without(parameters, "layer1.0.bn2.bias"));
  const std::string missing = message_of<FileError>([&] { load_safetensors<Other>(path, Head::fresh); });
  CHECK(missing == path.string() + " does not hold the parameters of this network\n  missing: layer1.0.bn2.bias");

  save_safetensors(path, test::random_parameters<test::SmallCifar>(1));
  const std::string another = message_of<FileError>([&] { load_safetensors<Net>(path, Head::fresh); });
  CHECK(another.find("conv1.weight: expected [8, 3, 7, 7], found [8, 3, 3, 3]") != std::string::npos);
  CHECK(another.find("fc.") == std::string::npos);
}

TEST_CASE("without saying so, another classifier is refused") {
  const TemporaryFolder folder;
  const auto path = folder / "weights.safetensors";
  save_safetensors(path, test::random_parameters<Net>(1));
  const std::string refused = message_of<FileError>([&] { load_safetensors<Other>(path); });
  CHECK(refused.find("fc.bias: expected [3], found [7]") != std::string::npos);
  CHECK(refused.find("fc.weight: expected [3, 64], found [7, 64]") != std::string::npos);
}

TEST_CASE("weights of torch.save, whatever they are wrapped in, are those of the network") {
  const auto parameters = test::random_parameters<Net>(1);
  const auto file_of = [&](const std::string& module, const std::string& wrapper) {
    const testing::Pickle p;
    std::vector<std::pair<std::string, std::string>> items;
    testing::Members storages;
    for (const auto& slot : parameters.tensors()) {
      if (slot.size == 0) continue;
      std::vector<std::int64_t> shape = detail::shape_of(slot.entry), strides(shape.size(), 1);
      for (std::size_t i = shape.size() - 1; i > 0; --i) strides[i - 1] = strides[i] * shape[i];
      const std::string key = std::to_string(storages.size());
      const auto values = std::as_bytes(parameters[slot]);
      storages.emplace_back(key, std::string(reinterpret_cast<const char*>(values.data()), values.size()));
      items.emplace_back(
          module + std::string(slot.entry.name().view()),
          p.tensor(p.storage("FloatStorage", key, static_cast<std::int64_t>(slot.size)), 0, shape, strides));
    }
    const std::string state = p.dictionary(items);
    return testing::torch_file(p.begin() + (wrapper.empty() ? state : p.dictionary({{wrapper, state}})) + ".",
                               storages);
  };
  const TemporaryFolder folder;
  const auto path = (folder / "weights.pth").string();
  const std::vector<std::pair<std::string, std::string>> wrappings{{"", ""},
                                                                   {"module.", ""},
                                                                   {"", "state_dict"},
                                                                   {"module.", "state_dict"},
                                                                   {"_orig_mod.", "model"},
                                                                   {"backbone.", "model_ema"}};
  for (const auto& each : wrappings) {
    const std::string &module = each.first, &wrapper = each.second;
    testing::write_text(path, file_of(module, wrapper));
    CAPTURE(module);
    CAPTURE(wrapper);
    CHECK(find_prefix(TorchArchive(path), Net::layers) == (wrapper.empty() ? "" : wrapper + ".") + module);
    CHECK(same(load_pth<Net>(path).values(), parameters.values()));
    check_fresh_head(load_pth<Other>(path, Head::fresh, 8), parameters, 8);
  }
  CHECK(message_of<FileError>([&] { load_pth<Other>(path); }).find("of another shape") != std::string::npos);
}
