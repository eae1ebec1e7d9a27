/// @file
/// The executor that classifies.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include <resnext/nn/executors.hpp>
#include <resnext/nn/output_map.hpp>
#include <resnext/nn/parameters.hpp>
#include <resnext/nn/plan/arena.hpp>
#include <resnext/nn/plan/inference_plan.hpp>
#include <resnext/nn/plan/packed_weights.hpp>
#include <resnext/nn/plan/plan_cache.hpp>
#include <resnext/nn/value_formats.hpp>
#include <resnext/tensor/images.hpp>

namespace resnext {

namespace detail {

/// Stops a program that hands the parameters of one network to an executor of another.
template <class Net, class Other>
struct SameNetwork {
  static_assert(std::is_same_v<Net, Other>, "these Parameters belong to another network than the executor");
};

/// Parameters that know whose they are, and give an executor its hold on them: `Parameters<Net>`,
/// `MappedParameters<Net>`.
template <class P>
concept NetworkParameters = requires(const P& parameters) {
  typename P::Network;
  { parameters.source() } -> std::same_as<std::shared_ptr<const ParameterSource>>;
};

}  // namespace detail

/// Classifies batches of images with `Net` on backend `B`. Plans for the last few batch extents are kept, so H, W and N
/// may change from call to call; a repeated extent allocates nothing, and a new one packs only such weights as it wants
/// in another layout. One classifier serves one thread. It moves, but has no copies; one that was moved from can only
/// be assigned to or destroyed.
///
/// It holds the parameters, from which weights are packed, as they were when it was made. They are shared with the
/// caller's, so that there is one copy of them as long as nobody writes.
template <class Net, InferenceBackend B>
class Classifier {
 public:
  /// Batch extents whose plans are kept.
  static constexpr std::size_t most_plans = 4;

  /// Builds nothing yet. Takes `Parameters<Net>` or, for less memory and a quicker start, `MappedParameters<Net>`.
  /// @param formats how the network's values are stored, if not all as the backend's `Scalar`
  template <detail::NetworkParameters P>
  explicit Classifier(const P& parameters, ValueFormats formats = {})
      : core_(std::make_unique<Core>(parameters.source(), std::move(formats))) {
    detail::SameNetwork<Net, typename P::Network>();
  }

  /// Logits `[N, K]` of images `[N, H, W, C]`, valid until the next call.
  /// @throws ShapeError when the images do not fit the network.
  std::span<const typename B::Master> operator()(const Images& images) {
    static_assert(Net::layers.empty() || Net::classes > 0, "Classifier: Net has no Classes<K>; call forward()");
    return plan(images).run(core_->stream, images.values);
  }
  /// The outputs of any network, in the order of `Net::outputs`, valid until the next call.
  /// @throws ShapeError when the images do not fit the network.
  std::span<const OutputMap<typename B::Master>> forward(const Images& images) {
    return forward(images.n, {images.h, images.w, images.c}, images.values);
  }
  /// The same of a network that begins at maps, from an output of another one.
  std::span<const OutputMap<typename B::Master>> forward(const OutputMap<typename B::Master>& maps) {
    return forward(maps.n, maps.extent, maps.values);
  }
  /// The same, showing every unit's output to `observer` (slow: each is copied to the host).
  std::span<const typename B::Master> observe(const Images& images, const Observer& observer) {
    return plan(images).run(core_->stream, images.values, &observer);
  }
  /// The same, with the time of every unit added to `profile`, which is for batches of one extent.
  std::span<const typename B::Master> profile(const Images& images, Profile& profile) {
    return plan(images).run(core_->stream, images.values, nullptr, &profile);
  }

  /// Other parameters from here on, packed into the memory of those before; plans stay.
  template <detail::NetworkParameters P>
  void replace(const P& parameters) {
    detail::SameNetwork<Net, typename P::Network>();
    core_->weights.replace(parameters.source());
  }

  /// The plan for batches like this one, built if need be.
  InferencePlan<B>& plan(const Images& images) { return plan(images.n, {images.h, images.w, images.c}); }
  /// Bytes of all packed weights.
  std::size_t weight_bytes() const { return core_->weights.bytes(); }
  /// Bytes of the memory that plans calculate in: what the largest needs.
  std::size_t activation_bytes() const { return core_->arena.size(); }

 private:
  /// All that plans point to: it stays where it is while the classifier moves.
  struct Core {
    Core(std::shared_ptr<const ParameterSource> parameters, ValueFormats chosen)
        : formats(std::move(chosen)), weights(std::move(parameters)) {}

    ValueFormats formats;
    typename B::Stream stream;
    detail::PackedWeights<B> weights;
    detail::Arena<B> arena;
    detail::PlanCache<InferencePlan<B>, most_plans> plans;
    std::vector<OutputMap<typename B::Master>> outputs;
  };

  InferencePlan<B>& plan(int n, Extent image) {
    if (auto* plan = core_->plans.find(n, image)) return *plan;
    B::finish(core_->stream);  // memory may move, and a plan may go
    return core_->plans.add(Net::layers, Net::outputs, B::template inference_registry<Net>(), core_->weights,
                            core_->arena, core_->stream, n, image, core_->formats);
  }
  template <class Host>
  std::span<const OutputMap<typename B::Master>> forward(int n, Extent image, std::span<const Host> values) {
    InferencePlan<B>& chosen = plan(n, image);
    chosen.run(core_->stream, values);
    core_->outputs.clear();
    for (std::size_t i = 0; i < Net::outputs.size(); ++i) {
      core_->outputs.push_back({n, chosen.extent(i), chosen.result(i)});
    }
    return core_->outputs;
  }

  std::unique_ptr<Core> core_;
};

}  // namespace resnext
