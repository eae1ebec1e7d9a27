/// @file
/// How well a network classifies: top-k accuracy and the loss, and the classes it thinks of.
#pragma once

#include <cstddef>
#include <functional>
#include <span>

#include <resnext/data/loader.hpp>
#include <resnext/error.hpp>
#include <resnext/eval/top_k.hpp>
#include <resnext/nn/any_executors.hpp>
#include <resnext/nn/classifier.hpp>
#include <resnext/tensor/images.hpp>

namespace resnext {

namespace detail {

template <class T>
Accuracy evaluate(int classes, Loader& loader, const std::function<std::span<const T>(const Images&)>& classify,
                  const std::function<void(const Batch&, std::span<const T>)>& visit) {
  const Dataset& data = loader.dataset();
  if (data.classes > classes) {
    throw_error<ShapeError>(data.name, " has ", data.classes, " classes, the network only ", classes);
  }
  Accuracy accuracy;
  const auto k = static_cast<std::size_t>(classes);
  for (const Batch& batch : loader.epoch(0)) {
    const std::span<const T> logits = classify(batch.images);
    for (int n = 0; n < batch.count; ++n) {
      const auto at = static_cast<std::size_t>(n);
      accuracy.add(logits.subspan(at * k, k), batch.labels[at]);
    }
    if (visit) visit(batch, logits);
  }
  return accuracy;
}

}  // namespace detail

/// Classifies one epoch of `loader`, which should neither shuffle, augment nor drop images.
/// @param visit called with each batch and its logits `[N, K]`
/// @throws ShapeError when the data do not fit the network
template <class Net, InferenceBackend B>
Accuracy evaluate(Classifier<Net, B>& classifier, Loader& loader,
                  const std::function<void(const Batch&, std::span<const typename B::Master>)>& visit = {}) {
  return detail::evaluate<typename B::Master>(Net::classes, loader, std::ref(classifier), visit);
}

/// The same for a network and a backend that were chosen when the program runs.
inline Accuracy evaluate(AnyClassifier& classifier, Loader& loader,
                         const std::function<void(const Batch&, std::span<const float>)>& visit = {}) {
  return detail::evaluate<float>(classifier.classes(), loader, std::ref(classifier), visit);
}

}  // namespace resnext
