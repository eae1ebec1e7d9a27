/// @file
/// From a picture to the names of what is on it.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include <resnext/data/class_names.hpp>
#include <resnext/data/preprocessing.hpp>
#include <resnext/error.hpp>
#include <resnext/eval/top_k.hpp>
#include <resnext/nn/classifier.hpp>
#include <resnext/nn/executors.hpp>
#include <resnext/tensor/images.hpp>

namespace resnext {

/// A class by name and its probability by the softmax.
struct NamedProbability {
  std::string name;        ///< of the class, or its number
  double probability = 0;  ///< from 0 to 1
};

/// Says what is on pictures of any size: prepares them, classifies them with `Net` on backend `B`, and names the
/// classes. One predictor serves one thread.
template <class Net, InferenceBackend B>
class Predictor {
 public:
  /// @param parameters as for Classifier, held like there
  /// @param preprocessing what the parameters were evaluated with, for instance `imagenet_v1()`
  /// @param class_names one a class; none for their numbers
  /// @param formats how the network's values are stored, as for Classifier
  /// @throws OptionError for another number of names than the network has classes, or an impossible preprocessing
  template <detail::NetworkParameters P>
  Predictor(const P& parameters, Preprocessing preprocessing, std::vector<std::string> class_names = {},
            ValueFormats formats = {})
      : classify_(parameters, std::move(formats)),
        preprocessing_(std::move(preprocessing)),
        class_names_(std::move(class_names)) {
    check_preprocessing(preprocessing_, Net::inputs);
    if (!class_names_.empty() && class_names_.size() != static_cast<std::size_t>(Net::classes))
      throw_error<OptionError>("predictor: expected a name for each of ", Net::classes, " classes or none, found ",
                               class_names_.size());
  }

  /// The `k` most probable classes, the largest logit first; all of them if there are fewer.
  /// @throws ShapeError when the picture has another number of channels than the network
  std::vector<NamedProbability> operator()(const Image& picture, int k = 5) {
    const std::vector<float> values = preprocessed(picture, preprocessing_);
    const auto logits = classify_(Images(values, 1, preprocessing_.crop, preprocessing_.crop, Net::inputs));
    std::vector<NamedProbability> named;
    for (const auto& [label, probability] : most_probable(logits, k)) named.push_back({name(label), probability});
    return named;
  }

  /// The name of a class in [0, K).
  std::string name(std::int32_t label) const {
    return class_names_.empty() ? std::to_string(label) : class_names_[static_cast<std::size_t>(label)];
  }

 private:
  Classifier<Net, B> classify_;
  Preprocessing preprocessing_;
  std::vector<std::string> class_names_;
};

}  // namespace resnext
