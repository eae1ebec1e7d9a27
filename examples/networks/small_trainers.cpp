#include "small.hpp"

namespace examples {

std::vector<std::string> small_networks() { return {networks<1, 10>.names.begin(), networks<1, 10>.names.end()}; }

std::unique_ptr<AnyTrainer> small_trainer(std::string_view network, const Source& source, std::uint64_t seed,
                                          const TrainerOptions& options, Initializer initializer) {
  return for_source(source, [&](const auto& list) {
    return make_trainer(list, backends, network, "", seed, options, initializer);
  });
}

}  // namespace examples
