/// @file
/// What a backend is: the concept that nn/ is written against, and the numbers that its steps share with a trainer.
///
/// A backend is a tag type such as `Cpu<float>`. Its operators are small objects, built once for a shape
/// (implementations are chosen, and impossible shapes refused, there) and run many times without allocating.
/// Every `run`, `forward` and `backward` enqueues on a `Stream` and may return at once: none takes or returns a host
/// scalar. Outputs are assigned, never added to, unless it is said.
///
/// Three types of numbers are in a backend's memory. `Scalar` is that of maps `[N, H, W, C]` and of weights as
/// operators read them. `Master` is that of what is learned, of batch norms' running statistics, of logits `[N, K]` and
/// of hyper-parameters: what 16 bits would lose. `Gradient` is that of the learned tensors' gradients. All other memory
/// is bytes.
///
/// A plan may store single maps in other types, see `MapFormats`, if the backend takes them: then `static bool
/// takes(Dtype)` says which, and operators take a `ConstTypedPointer` or a `TypedPointer` where others have plain ones.
///
/// How maps and learned tensors lie in memory is the backend's: their order, and what is between them. It says how many
/// numbers each takes, and moves them from and to the order of files; all flat arrays of learned tensors have one
/// order, and what lies between their numbers stays finite in gradients. Logits are dense.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>

#include <resnext/backend/packed_linear.hpp>
#include <resnext/backend/shapes.hpp>
#include <resnext/model/layer.hpp>

namespace resnext {

/// A run of a network's flat learned numbers that is updated alike.
struct UpdateSegment {
  std::size_t offset = 0;   ///< in numbers
  std::size_t size = 0;     ///< in numbers
  double rate = 1;          ///< times the learning rate
  double weight_decay = 0;  ///< share of the weight that is added to its gradient
};

/// What stays the same from update to update, which is stochastic gradient descent as torch.optim.SGD has it:
/// g += decay w; v = momentum v + g; w -= rate (nesterov ? g + momentum v : v).
struct UpdateOptions {
  double momentum = 0.9;             ///< what stays of the velocity
  bool nesterov = false;             ///< look ahead by one more momentum
  double clip_norm = 0;              ///< the longest gradient of all segments, longer ones are shortened; 0: any
  double statistics_momentum = 0.1;  ///< share of a batch in the running statistics
  double ema_decay = 0;              ///< share that stays of the moving averages; 0: there are none
};

/// Numbers (`double`) in backend memory that steps are controlled by, in this order. The host writes the first four
/// before a step; the others belong to `guard` and `Update`.
enum class StepControl : int {
  learning_rate,
  images,           ///< of this rank's batch: the loss is their mean
  ranks,            ///< whose gradients are summed
  growth_interval,  ///< good steps after which the loss scale is doubled; 0: it is not
  loss_scale,       ///< the loss's gradient is multiplied by it (16-bit gradients need it)
  good_steps,       ///< since the loss scale changed
  verdict,          ///< a `StepVerdict` on the gradients of this step
  step,             ///< steps that were updated or skipped
  skipped,          ///< of these, how many were skipped
  count
};

/// What becomes of a step. From the first one that is stopped until the sums of `Metric` are cleared, all are. A loss
/// scale above 1 is halved in either case where there is no update: ranks that know only of the gradients' sum skip
/// what the one with the bad loss stops at, and must have the same scale afterwards.
enum class StepVerdict : int {
  update,  ///< all is finite
  skip,    ///< gradients overflowed, and a lower loss scale may help
  stop     ///< the loss is not finite, or gradients are not at a loss scale of 1
};

/// The flat arrays that `Update` works on, in backend memory. All is changed together, or nothing.
template <class Scalar, class Master, class Gradient>
struct UpdateArrays {
  Master* weights = nullptr;                 ///< as they are learned
  const Gradient* gradients = nullptr;       ///< summed over the ranks, times the loss scale
  Master* velocities = nullptr;              ///< of momentum
  Scalar* operands = nullptr;                ///< weights as operators read them: themselves where the types are one
  Master* statistics = nullptr;              ///< batch norms' running ones
  const Master* batch_statistics = nullptr;  ///< of this step
  Master* averages = nullptr;                ///< moving ones of the weights; null: there are none
  Master* average_statistics = nullptr;      ///< and of the running statistics
};

/// Sums (`double`) that steps leave in backend memory since they were last cleared, in this order. From the first step
/// that is stopped the sum of the losses is not finite, no more images are counted, and `Update` changes nothing: so
/// the trainer can still be asked where it went wrong when somebody reads the sums some steps later.
enum class Metric : int { loss, correct, images, count };

namespace detail {

/// The smallest network that a backend can be asked for a registry of.
struct AnyNetwork {
  static constexpr std::array<Layer, 1> layers = {Layer{.name = "any", .output = 1, .in = 1, .out = 1}};
};

/// As `std::movable`, for much less of a compiler's memory.
template <class T>
concept Moves = std::is_move_constructible_v<T> && std::is_move_assignable_v<T>;

/// Memory of a backend: `Buffer(count)` is zeroed.
template <class Buffer, class T>
concept BackendBuffer = std::constructible_from<Buffer, std::size_t> && Moves<Buffer> && requires(Buffer& buffer) {
  { buffer.data() } -> std::same_as<T*>;
  { buffer.size() } -> std::convertible_to<std::size_t>;
};

/// A fully connected layer that is built as all are.
template <class Linear>
concept BuiltAsLinear = std::constructible_from<Linear, const LinearShape&, std::string_view>;

/// What inference is built from.
template <class B>
concept BuildsInference = BuiltAsLinear<InferenceLinear<B>> &&
    std::constructible_from<typename B::InferenceConvolution, const ConvolutionShape&, Epilogue,
                            const typename B::Registry&, std::string_view> &&
    std::constructible_from<typename B::ScaleShift, const MapShape&, bool> &&
    std::constructible_from<typename B::Pointwise, const MapShape&, bool, bool> &&
    std::constructible_from<typename B::MaxPool, const PoolShape&, std::string_view> &&
    std::constructible_from<typename B::AveragePool, const MapShape&>;

/// What training is built from, beyond that.
template <class B>
concept BuildsTraining = std::constructible_from<typename B::Convolution, const ConvolutionShape&,
                                                 const typename B::Registry&, std::string_view> &&
    std::constructible_from<typename B::BatchNorm, const MapShape&, const NormOptions&, std::string_view> &&
    BuiltAsLinear<typename B::Linear> && std::constructible_from<typename B::CrossEntropy, const LossShape&> &&
    std::constructible_from<typename B::Update, const UpdateOptions&, std::span<const UpdateSegment>, std::size_t>;

/// The backend's own, of numbers of one type.
template <class B, class T>
concept HasBuffer = BackendBuffer<typename B::template Buffer<T>, T>;

/// Every type of memory that inference asks for.
template <class B>
concept OwnsInferenceMemory =
    HasBuffer<B, std::byte> && HasBuffer<B, typename B::Scalar> && HasBuffer<B, typename B::Master>;

/// And training, beyond that.
template <class B>
concept OwnsTrainingMemory = HasBuffer<B, typename B::Gradient> && HasBuffer<B, double>;

/// Numbers that maps are made of.
template <class T>
concept MapNumber = std::floating_point<T> || sizeof(T) <= 2;

}  // namespace detail

// clang-format off
/// What a backend B must have to classify.
///
/// | member | built from | memory it declares, in bytes |
/// |---|---|---|
/// | `InferenceConvolution` | ConvolutionShape, Epilogue, Registry, path | packed_size(), scratch_size() |
/// | `ScaleShift` (a batch norm that cannot be folded) | MapShape, bool relu | |
/// | `Pointwise` (add and/or ReLU that nothing absorbed) | MapShape, bool add, bool relu | |
/// | `MaxPool` | PoolShape, path | |
/// | `AveragePool` (global) | MapShape | |
/// | `InferenceLinear` (may be left out where there is a `Linear`) | LinearShape, path | packed_size(), scratch_size() |
///
/// Memory that an operator declares is aligned to `alignment` bytes.
/// What packs may also have a `packed_layout()`, a name: operators of one layer for other extents whose names are equal
/// share what one of them packed. Without one, or with an empty one, each packs for itself.
/// `path` is the layer's name and appears in errors and profiles; `implementation()` says what was chosen.
template <class B>
concept InferenceBackend = requires(typename B::Stream& stream, const typename B::Registry& registry, std::string_view path,
                                    const typename B::Scalar* x, typename B::Scalar* y, const typename B::Master* m,
                                    typename B::Master* to, const float* host, std::byte* bytes, const MapShape& map,
                                    const TensorShape& tensor, typename B::InferenceConvolution& inference,
                                    typename B::ScaleShift& scale_shift, typename B::Pointwise& pointwise,
                                    typename B::MaxPool& max_pool, typename B::AveragePool& average_pool,
                                    detail::InferenceLinear<B>& linear, typename B::Recording& recording) {
  requires detail::MapNumber<typename B::Scalar>;
  requires std::floating_point<typename B::Master>;
  { B::alignment } -> std::convertible_to<std::size_t>;         // of memory, in bytes
  requires std::default_initializable<typename B::Stream>;      // order of work; see Stream::defer and Stream::join
  requires std::default_initializable<typename B::Registry>;    // the specialised kernels a network's types ask for
  { B::template inference_registry<detail::AnyNetwork>() } -> std::same_as<typename B::Registry>;  // those of Net::layers
  requires detail::OwnsInferenceMemory<B>;
  requires detail::BuildsInference<B>;
  stream.join();
  { B::name() } -> std::convertible_to<std::string_view>;

  { B::map_size(map) } -> std::convertible_to<std::size_t>;     // numbers that it takes
  B::upload_map(stream, std::span<const float>(), map, y);      // [N, H, W, C] of the host, rounded
  B::upload_map(stream, std::span<const typename B::Master>(), map, y);
  B::download_map(stream, x, map, std::span<double>());         // to the host; waits
  B::download_map(stream, x, map, std::span<typename B::Master>());
  { B::tensor_size(tensor) } -> std::convertible_to<std::size_t>;  // numbers that it takes
  B::upload_tensor(stream, std::span<const float>(), tensor, to);  // of the host, in the order of files
  B::upload_tensor(stream, std::span<const double>(), tensor, to);
  B::download(stream, m, std::span<typename B::Master>());      // dense numbers to the host; waits
  B::download(stream, m, std::span<double>());
  B::finish(stream);                                            // waits for all that was enqueued
  requires std::default_initializable<typename B::Recording>;   // work that a device has kept
  requires detail::Moves<typename B::Recording>;
  B::record(stream, recording, [] {});                          // does the work; a device may keep what it enqueues, and only repeat that
                                                                // the next time, with the arguments that it had: nothing in it uploads,
                                                                // downloads, waits or allocates

  { inference.packed_size() } -> std::convertible_to<std::size_t>;
  { inference.scratch_size() } -> std::convertible_to<std::size_t>;
  { inference.implementation() } -> std::convertible_to<std::string_view>;
  inference.pack(stream, m, m, bytes);                          // on the host: weights [out, in/groups, k, k], bias [out] -> packed
  inference.run(stream, x, bytes, y, bytes);                    // x, packed, y (the residual on entry if asked), scratch
  scale_shift.run(stream, x, m, m, y);                          // x, scale [c], shift [c], y (may be x)
  pointwise.forward(stream, x, x, y);                           // x, other (add), y (may be x)
  max_pool.forward(stream, x, y, nullptr);
  average_pool.forward(stream, x, y);
  { linear.packed_size() } -> std::convertible_to<std::size_t>;
  { linear.scratch_size() } -> std::convertible_to<std::size_t>;
  linear.pack(stream, host, host, bytes);                       // on the host: weights [out, in], bias [out] -> packed
  linear.run(stream, x, bytes, to, bytes);                      // x, packed, y, scratch
};

/// The contract of a backend B that classifies and trains. `Reference` is its plainest implementation and defines every
/// meaning.
///
/// | member, beyond those of `InferenceBackend` | built from | memory it declares, in bytes |
/// |---|---|---|
/// | `Convolution` | ConvolutionShape, Registry, path | packed_size() kept from forward to backward, scratch_size() |
/// | `BatchNorm` | MapShape, NormOptions, path | saved_size() kept from forward to backward, scratch_size() |
/// | `Pointwise`, `MaxPool`, `AveragePool`: backward too | | indices of MaxPool: one byte an output |
/// | `Linear` | LinearShape, path | scratch_size() |
/// | `CrossEntropy` | LossShape | |
/// | `Update` (all that is learned at once) | UpdateOptions, the segments, how many running statistics | |
template <class B>
concept Backend = InferenceBackend<B> &&
                  requires(typename B::Stream& stream, const typename B::Scalar* x, typename B::Scalar* y,
                           const typename B::Master* m, typename B::Master* to, const typename B::Gradient* g,
                           typename B::Gradient* dw, std::byte* bytes, double* metrics, std::uint8_t* indices,
                           std::int32_t* labels, std::int64_t size, const TensorShape& tensor,
                           typename B::Convolution& convolution, typename B::BatchNorm& norm, typename B::Pointwise& pointwise,
                           typename B::MaxPool& max_pool, typename B::AveragePool& average_pool, typename B::Linear& linear,
                           typename B::CrossEntropy& loss, typename B::Update& update,
                           const UpdateArrays<typename B::Scalar, typename B::Master, typename B::Gradient>& arrays) {
  requires detail::MapNumber<typename B::Gradient>;
  { B::template training_registry<detail::AnyNetwork>() } -> std::same_as<typename B::Registry>;
  requires detail::OwnsTrainingMemory<B>;
  requires detail::BuildsTraining<B>;

  B::upload_tensor(stream, std::span<const float>(), tensor, y);   // rounded
  B::download_tensor(stream, m, tensor, std::span<float>());    // to the host; waits
  B::download_tensor(stream, m, tensor, std::span<double>());
  B::download_tensor(stream, g, tensor, std::span<float>());
  B::download_tensor(stream, g, tensor, std::span<double>());
  B::upload(stream, std::span<const float>(), y);               // dense numbers of the host, rounded
  B::upload(stream, std::span<const float>(), to);
  B::upload(stream, std::span<const typename B::Master>(), to);
  B::upload(stream, std::span<const float>(), dw);
  B::upload(stream, std::span<const double>(), metrics);
  B::upload(stream, std::span<const std::int32_t>(), labels);
  B::download(stream, x, std::span<double>());
  B::download(stream, g, std::span<double>());
  B::download(stream, metrics, std::span<double>());
  B::clear(stream, metrics, size);                              // zeros
  B::accumulate(stream, x, y, size);                            // y += x
  B::accumulate(stream, g, dw, size);
  B::scale(stream, metrics, y, size);                           // factor, y, size: y *= factor
  B::blend(stream, m, to, size, 0.5, 0.5);                      // x, y, size, keep, take: y = keep y + take x
  B::guard(stream, g, size, size, metrics, metrics);            // gradients (of all ranks), how many, images of this batch, control,
                                                                // metrics: writes the verdict; where it is to stop but the sum of the
                                                                // losses is finite, that becomes NaN and the images are taken off again

  { convolution.packed_size() } -> std::convertible_to<std::size_t>;
  { convolution.scratch_size() } -> std::convertible_to<std::size_t>;
  { convolution.implementation() } -> std::convertible_to<std::string_view>;
  convolution.forward(stream, x, x, y, bytes, bytes);           // x, weights, y, packed, scratch
  convolution.backward_data(stream, x, x, y, bytes, bytes);     // dy, weights, dx, packed, scratch
  convolution.backward_weights(stream, x, x, dw, bytes);        // x, dy, dweights, scratch

  { norm.saved_size() } -> std::convertible_to<std::size_t>;
  { norm.scratch_size() } -> std::convertible_to<std::size_t>;
  norm.forward(stream, x, x, m, m, to, to, y, bytes, bytes);    // x, other (add), gamma, beta, mean, variance (of the batch, unbiased), y,
                                                                // saved, scratch
  norm.backward(stream, x, x, x, x, m, m, bytes, y, y, dw, dw, bytes);  // x, y, dy, dy2 (nullable, added to dy), gamma, beta, saved,
                                                                // dx (may be dy if !add), dother (add; may be dy), dgamma, dbeta, scratch
  pointwise.backward(stream, x, x, y);                          // y, dy, dx (may be dy): gradient of x and of other alike
  max_pool.forward(stream, x, y, indices);
  max_pool.backward(stream, x, indices, y);                     // dy, indices, dx
  average_pool.backward(stream, x, y);                          // dy, dx
  { linear.scratch_size() } -> std::convertible_to<std::size_t>;
  linear.forward(stream, x, x, m, to, bytes);                   // x, weights, bias, y, scratch
  linear.backward(stream, x, x, m, y, dw, dw, bytes);           // x, weights, dy, dx, dweights, dbias, scratch
  loss.run(stream, m, labels, metrics, to, metrics);            // logits, labels, control, dlogits (of the mean over the step's images, scaled), metrics (added
                                                                // to); dlogits are NaN while the sum of the losses is not finite, which
                                                                // tells the other ranks

  B::round(stream, m, y, size);                                 // y = x, rounded
  update.run(stream, metrics, arrays);                          // control, arrays: as the verdict says; counts the step
};
// clang-format on

}  // namespace resnext
