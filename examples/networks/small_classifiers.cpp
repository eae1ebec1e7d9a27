#include "small.hpp"

namespace examples {

std::unique_ptr<AnyClassifier> small_classifier(std::string_view network, const Source& source,
                                                const std::filesystem::path& weights) {
  return for_source(source,
                    [&](const auto& list) { return make_classifier(list, backends, network, "", weights.string()); });
}

}  // namespace examples
