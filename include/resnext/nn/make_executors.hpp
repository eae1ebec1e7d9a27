/// @file
/// Executors whose network and backend are chosen when a program runs, from those that it was compiled with.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <resnext/clock.hpp>
#include <resnext/error.hpp>
#include <resnext/nn/any_executors.hpp>
#include <resnext/nn/executor_adapters.hpp>
#include <resnext/nn/parameter_files.hpp>
#include <resnext/nn/parameters.hpp>

namespace resnext {

/// Networks that a program is compiled with, and their names: `NetworkList<ResNet50, ResNeXt50<32, 4>>
/// list{{"resnet50", "resnext50_32x4d"}}`.
template <class... Nets>
struct NetworkList {
  std::array<std::string_view, sizeof...(Nets)> names;  ///< in the order of the types
};

/// Backends that a program is compiled with; the first is the default.
template <InferenceBackend... Backends>
struct BackendList {};

namespace detail {

/// What is not in a list, and what is.
template <class Names>
[[noreturn]] void fail_unknown(std::string_view kind, std::string_view name, const Names& names) {
  std::string known;
  for (const std::string_view each : names) known.append(known.empty() ? "" : ", ").append(each);
  throw_error<OptionError>("there is no ", kind, " \"", name, "\" in this program, only ", known);
}

/// `make<B>()` of the backend of that name, or of the first for an empty name.
template <class Any, InferenceBackend... Backends>
std::unique_ptr<Any> with_backend(BackendList<Backends...>, std::string_view name, const auto& make) {
  static_assert(sizeof...(Backends) > 0, "BackendList<B...>: name at least one backend");
  std::unique_ptr<Any> made;
  const auto try_one = [&]<InferenceBackend B>() {
    if (made == nullptr && (name.empty() || name == std::string_view(B::name()))) made = make.template operator()<B>();
  };
  (try_one.template operator()<Backends>(), ...);
  if (made == nullptr) fail_unknown("backend", name, std::array{std::string_view(Backends::name())...});
  return made;
}

/// `make<Net>()` of the network of that name.
template <class Any, class... Nets>
std::unique_ptr<Any> with_network(const NetworkList<Nets...>& networks, std::string_view name, const auto& make) {
  std::unique_ptr<Any> made;
  std::size_t at = 0;
  const auto try_one = [&]<class Net>() {
    if (networks.names[at++] == name && made == nullptr) made = make.template operator()<Net>();
  };
  (try_one.template operator()<Nets>(), ...);
  if (made == nullptr) fail_unknown("network", name, networks.names);
  return made;
}

}  // namespace detail

/// A classifier of `Net` on the backend of that name, or on the first of the list for an empty name.
/// @throws OptionError when the list has no such backend
template <class Net, InferenceBackend... Backends, detail::NetworkParameters P>
std::unique_ptr<AnyClassifier> make_classifier(BackendList<Backends...> backends, std::string_view backend,
                                               const P& parameters) {
  return detail::with_backend<AnyClassifier>(backends, backend, [&]<InferenceBackend B>() {
    return std::make_unique<detail::ClassifierOf<Net, B>>(parameters);
  });
}

/// A classifier of the network of that name with the parameters of a safetensors file, of a checkpoint their moving
/// average if it has one.
/// @throws OptionError when the lists have no such network or backend, FileError as `load_safetensors` does
template <class... Nets, InferenceBackend... Backends>
std::unique_ptr<AnyClassifier> make_classifier(const NetworkList<Nets...>& networks, BackendList<Backends...> backends,
                                               std::string_view network, std::string_view backend,
                                               const std::string& path) {
  return detail::with_network<AnyClassifier>(
      networks, network, [&]<class Net>() { return make_classifier<Net>(backends, backend, load_ema<Net>(path)); });
}

/// A classifier of the network of that name, its parameters initialised from `seed`.
/// @throws OptionError when the lists have no such network or backend
template <class... Nets, InferenceBackend... Backends>
std::unique_ptr<AnyClassifier> make_classifier(const NetworkList<Nets...>& networks, BackendList<Backends...> backends,
                                               std::string_view network, std::string_view backend, std::uint64_t seed) {
  return detail::with_network<AnyClassifier>(
      networks, network, [&]<class Net>() { return make_classifier<Net>(backends, backend, initialized<Net>(seed)); });
}

/// A trainer of `Net` on the backend of that name, or on the first of the list for an empty name.
/// @throws OptionError when the list has no such backend, or for an impossible option
template <class Net, Backend... Backends>
std::unique_ptr<AnyTrainer> make_trainer(BackendList<Backends...> backends, std::string_view backend,
                                         const Parameters<Net>& parameters, const TrainerOptions& options = {}) {
  return detail::with_backend<AnyTrainer>(backends, backend, [&]<Backend B>() {
    return std::make_unique<detail::TrainerOf<Net, B, Solo>>(parameters, options);
  });
}

/// A trainer of the network of that name, its parameters initialised from `seed`.
/// @throws OptionError when the lists have no such network or backend, or for an impossible option
template <class... Nets, Backend... Backends>
std::unique_ptr<AnyTrainer> make_trainer(const NetworkList<Nets...>& networks, BackendList<Backends...> backends,
                                         std::string_view network, std::string_view backend, std::uint64_t seed,
                                         const TrainerOptions& options = {},
                                         Initializer initializer = Initializer::paper) {
  return detail::with_network<AnyTrainer>(networks, network, [&]<class Net>() {
    return make_trainer<Net>(backends, backend, initialized<Net>(seed, initializer), options);
  });
}

/// The quickest of the backends for batches like `images`: each classifies them a few times and the best time counts. A
/// backend that refuses to run on this machine is passed over.
/// @throws DeviceError when none runs, ShapeError when the images do not fit the network
template <class Net, InferenceBackend... Backends, detail::NetworkParameters P>
std::unique_ptr<AnyClassifier> fastest(const P& parameters, const Images& images) {
  static_assert(sizeof...(Backends) > 0, "fastest<Net, B...>: name at least one backend");
  std::unique_ptr<AnyClassifier> best;
  double best_seconds = std::numeric_limits<double>::max();
  std::string refusals;
  const auto try_one = [&]<InferenceBackend B>() {
    try {
      std::unique_ptr<AnyClassifier> classify = std::make_unique<detail::ClassifierOf<Net, B>>(parameters);
      (*classify)(images);  // builds the plan
      double seconds = std::numeric_limits<double>::max();
      for (int run = 0; run < 3; ++run) {
        const double start = detail::steady_seconds();
        (*classify)(images);
        seconds = std::min(seconds, detail::steady_seconds() - start);
      }
      if (seconds < best_seconds) {
        best_seconds = seconds;
        best = std::move(classify);
      }
    } catch (const DeviceError& error) {
      refusals.append(refusals.empty() ? "" : "; ").append(error.what());
    }
  };
  (try_one.template operator()<Backends>(), ...);
  if (best == nullptr) throw_error<DeviceError>("no backend runs on this machine: ", refusals);
  return best;
}

}  // namespace resnext
