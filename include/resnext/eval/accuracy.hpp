/// @file
/// How well a network classifies: top-k accuracy and the loss, and the classes it thinks of.
#pragma once

#include <cstddef>
#include <functional>
#include <span>

#include <resnext/data/loader.hpp>
#include <resnext/eval/top_k.hpp>
#include <resnext/nn/classifier.hpp>
#include <resnext/tensor/number.hpp>

namespace resnext {

/// Classifies one epoch of `loader`, which should neither shuffle, augment nor drop images.
/// @param visit called with each batch and its logits `[N, K]`
/// @throws ShapeError when the data do not fit the network
template <class Net, Backend B>
Accuracy evaluate(Classifier<Net, B>& classifier, Loader& loader,
                  const std::function<void(const Batch&, std::span<const HostScalar<B>>)>& visit = {}) {
  const Dataset& data = loader.dataset();
  if (data.classes > Net::classes) {
    throw_error<ShapeError>(data.name, " has ", data.classes, " classes, the network only ", Net::classes);
  }
  Accuracy accuracy;
  for (const Batch& batch : loader.epoch(0)) {
    const auto logits = classifier(batch.images);
    for (int n = 0; n < batch.count; ++n) {
      const auto at = static_cast<std::size_t>(n);
      accuracy.add(logits.subspan(at * Net::classes, Net::classes), batch.labels[at]);
    }
    if (visit) visit(batch, logits);
  }
  return accuracy;
}

}  // namespace resnext
