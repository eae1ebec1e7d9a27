// A backend whose memory the host cannot touch, whose work is done only when somebody waits, and which repeats a
// recording with the arguments that it had the first time: what a device punishes now and then is punished here at
// once. It calculates as the reference does, so whole networks learn the same, bit for bit.
#include <doctest/doctest.h>

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <resnext/reference.hpp>
#include <resnext/resnext.hpp>

#include "files.hpp"
#include "networks.hpp"

using namespace resnext;
using namespace resnext::test;
using testing::message_of;

namespace {

using Plain = Reference<double>;

/// Blocks of memory that are open only while work is done.
class HiddenMemory {
 public:
  static void* allocate(std::size_t bytes) {
    const std::size_t pages = (std::max<std::size_t>(bytes, 1) + 4095) / 4096 * 4096;
    void* const at = mmap(nullptr, pages, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) throw std::bad_alloc();
    blocks()[at] = pages;
    return at;
  }
  static void release(void* at) {
    munmap(at, blocks().at(at));
    blocks().erase(at);
  }
  static void open(bool yes) {
    for (const auto& [at, pages] : blocks()) mprotect(at, pages, yes ? PROT_READ | PROT_WRITE : PROT_NONE);
  }

 private:
  static std::map<void*, std::size_t>& blocks() {
    static std::map<void*, std::size_t> all;
    return all;
  }
};

template <class T>
class HiddenBuffer {
 public:
  HiddenBuffer() = default;
  explicit HiddenBuffer(std::size_t size)
      : size_(size), data_(size == 0 ? nullptr : HiddenMemory::allocate(size * sizeof(T))) {}
  HiddenBuffer(HiddenBuffer&& other) noexcept { swap(other); }
  HiddenBuffer& operator=(HiddenBuffer&& other) noexcept {
    HiddenBuffer(std::move(other)).swap(*this);
    return *this;
  }
  ~HiddenBuffer() {
    if (data_ != nullptr) HiddenMemory::release(data_);
  }
  T* data() { return static_cast<T*>(data_); }
  const T* data() const { return static_cast<const T*>(data_); }
  std::size_t size() const { return size_; }
  void swap(HiddenBuffer& other) noexcept {
    std::swap(size_, other.size_);
    std::swap(data_, other.data_);
  }

 private:
  std::size_t size_ = 0;
  void* data_ = nullptr;
};

using Work = std::function<void(HostStream&)>;

/// Work in order, done at a wait.
class LateStream {
 public:
  using Recording = std::vector<Work>;

  void enqueue(Work work) { (recording_ != nullptr ? *recording_ : queue_).push_back(std::move(work)); }
  void join() {}  // nothing runs beside it
  void wait() {
    if (recording_ != nullptr) throw Error("waiting cannot be recorded");
    HiddenMemory::open(true);
    HostStream host;
    for (const Work& work : std::exchange(queue_, {})) work(host);
    HiddenMemory::open(false);
  }
  void copy_from_host() const {
    if (recording_ != nullptr) throw Error("a copy from host memory cannot be recorded");
  }
  template <class F>
  void record(Recording& recording, const F& work) {
    if (recording.empty()) {
      recording_ = &recording;
      try {
        work();
      } catch (...) {
        recording_ = nullptr;
        recording.clear();
        throw;
      }
      recording_ = nullptr;
      ++recorded;
    } else {
      ++replayed;
    }
    for (const Work& each : recording) enqueue(each);
  }

  static inline int recorded = 0, replayed = 0;

 private:
  std::vector<Work> queue_;
  Recording* recording_ = nullptr;
};

/// An operator of the reference that works later.
template <class Op>
class Later {
 public:
  template <class... Arguments>
  explicit Later(Arguments&&... arguments) : op_(std::make_shared<Op>(std::forward<Arguments>(arguments)...)) {}

 protected:
  /// `work(op, host stream)` when it is its turn.
  template <class F>
  void later(LateStream& stream, F work) const {
    stream.enqueue([op = op_, work](HostStream& host) { work(*op, host); });
  }
  Op& op() { return *op_; }
  const Op& op() const { return *op_; }

 private:
  std::shared_ptr<Op> op_;
};

using In = ConstTypedPointer;
using Out = TypedPointer;

class LateInferenceConvolution : public Later<Plain::InferenceConvolution> {
 public:
  template <class Registry>
  LateInferenceConvolution(const ConvolutionShape& shape, Epilogue epilogue, const Registry& registry,
                           std::string_view path)
      : Later(shape, epilogue, registry, path), shape_(shape) {}

  std::size_t packed_size() const { return op().packed_size(); }
  std::size_t scratch_size() const { return op().scratch_size(); }
  std::string_view implementation() const { return op().implementation(); }
  static constexpr std::string_view packed_layout() { return "plain"; }
  void pack(LateStream& stream, const double* weights, const double* bias, std::byte* packed) {
    stream.copy_from_host();
    const std::vector<double> w(weights, weights + shape_.weight_size()), b(bias, bias + shape_.out);
    later(stream, [=](auto& o, HostStream& host) { o.pack(host, w.data(), b.data(), packed); });
  }
  void run(LateStream& stream, In x, const std::byte* packed, Out y, std::byte* scratch) {
    later(stream, [=](auto& o, HostStream& host) { o.run(host, x, packed, y, scratch); });
  }

 private:
  ConvolutionShape shape_;
};

struct LateConvolution : Later<Plain::Convolution> {
  using Later::Later;
  std::size_t packed_size() const { return op().packed_size(); }
  std::size_t scratch_size() const { return op().scratch_size(); }
  std::string_view implementation() const { return op().implementation(); }
  void forward(LateStream& stream, In x, In w, Out y, std::byte* packed, std::byte* scratch) {
    later(stream, [=](auto& o, HostStream& host) { o.forward(host, x, w, y, packed, scratch); });
  }
  void backward_data(LateStream& stream, In dy, In w, Out dx, std::byte* packed, std::byte* scratch) {
    later(stream, [=](auto& o, HostStream& host) { o.backward_data(host, dy, w, dx, packed, scratch); });
  }
  void backward_weights(LateStream& stream, In x, In dy, double* dw, std::byte* scratch) {
    later(stream, [=](auto& o, HostStream& host) { o.backward_weights(host, x, dy, dw, scratch); });
  }
};

struct LateBatchNorm : Later<Plain::BatchNorm> {
  using Later::Later;
  std::size_t saved_size() const { return op().saved_size(); }
  std::size_t scratch_size() const { return op().scratch_size(); }
  void forward(LateStream& stream, In x, In other, const double* gamma, const double* beta, double* mean,
               double* variance, Out y, std::byte* saved, std::byte* scratch) {
    later(stream, [=](auto& o, HostStream& host) {
      o.forward(host, x, other, gamma, beta, mean, variance, y, saved, scratch);
    });
  }
  void backward(LateStream& stream, In x, In y, In dy, In dy2, const double* gamma, const double* beta,
                const std::byte* saved, Out dx, Out dother, double* dgamma, double* dbeta, std::byte* scratch) {
    later(stream, [=](auto& o, HostStream& host) {
      o.backward(host, x, y, dy, dy2, gamma, beta, saved, dx, dother, dgamma, dbeta, scratch);
    });
  }
};

struct LateScaleShift : Later<Plain::ScaleShift> {
  using Later::Later;
  void run(LateStream& stream, In x, const double* scale, const double* shift, Out y) {
    later(stream, [=](auto& o, HostStream& host) { o.run(host, x, scale, shift, y); });
  }
};

struct LatePointwise : Later<Plain::Pointwise> {
  using Later::Later;
  void forward(LateStream& stream, In x, In other, Out y) {
    later(stream, [=](auto& o, HostStream& host) { o.forward(host, x, other, y); });
  }
  void backward(LateStream& stream, In y, In dy, Out dx) {
    later(stream, [=](auto& o, HostStream& host) { o.backward(host, y, dy, dx); });
  }
};

struct LateMaxPool : Later<Plain::MaxPool> {
  using Later::Later;
  void forward(LateStream& stream, In x, Out y, std::uint8_t* indices) {
    later(stream, [=](auto& o, HostStream& host) { o.forward(host, x, y, indices); });
  }
  void backward(LateStream& stream, In dy, const std::uint8_t* indices, Out dx) {
    later(stream, [=](auto& o, HostStream& host) { o.backward(host, dy, indices, dx); });
  }
};

struct LateAveragePool : Later<Plain::AveragePool> {
  using Later::Later;
  void forward(LateStream& stream, In x, Out y) {
    later(stream, [=](auto& o, HostStream& host) { o.forward(host, x, y); });
  }
  void backward(LateStream& stream, In dy, Out dx) {
    later(stream, [=](auto& o, HostStream& host) { o.backward(host, dy, dx); });
  }
};

struct LateLinear : Later<Plain::Linear> {
  using Later::Later;
  std::size_t scratch_size() const { return op().scratch_size(); }
  void forward(LateStream& stream, In x, In w, const double* bias, double* y, std::byte* scratch) {
    later(stream, [=](auto& o, HostStream& host) { o.forward(host, x, w, bias, y, scratch); });
  }
  void backward(LateStream& stream, In x, In w, const double* dy, Out dx, double* dw, double* dbias,
                std::byte* scratch) {
    later(stream, [=](auto& o, HostStream& host) { o.backward(host, x, w, dy, dx, dw, dbias, scratch); });
  }
};

struct LateCrossEntropy : Later<Plain::CrossEntropy> {
  using Later::Later;
  void run(LateStream& stream, const double* logits, const std::int32_t* labels, const double* control, double* dlogits,
           double* metrics) {
    later(stream, [=](auto& o, HostStream& host) { o.run(host, logits, labels, control, dlogits, metrics); });
  }
};

struct LateUpdate : Later<Plain::Update> {
  using Later::Later;
  void run(LateStream& stream, double* control, const UpdateArrays<double, double, double>& arrays) {
    later(stream, [=](auto& o, HostStream& host) { o.run(host, control, arrays); });
  }
};

struct Late {
  using Scalar = double;
  using Master = double;
  using Gradient = double;
  using Stream = LateStream;
  template <class T>
  using Buffer = HiddenBuffer<T>;
  static constexpr std::size_t alignment = 64;
  static constexpr std::string_view name() { return "Late"; }

  using Registry = Plain::Registry;
  template <class Net>
  static Registry inference_registry() {
    return {};
  }
  template <class Net>
  static Registry training_registry() {
    return {};
  }

  using InferenceConvolution = LateInferenceConvolution;
  using Convolution = LateConvolution;
  using BatchNorm = LateBatchNorm;
  using ScaleShift = LateScaleShift;
  using Pointwise = LatePointwise;
  using MaxPool = LateMaxPool;
  using AveragePool = LateAveragePool;
  using Linear = LateLinear;
  using CrossEntropy = LateCrossEntropy;
  using Update = LateUpdate;
  using Recording = LateStream::Recording;

  template <class F>
  static void record(Stream& stream, Recording& recording, const F& work) {
    stream.record(recording, work);
  }
  static void finish(Stream& stream) { stream.wait(); }

  // From the host: read before the call returns.
  template <class Host, class To>
  static void upload(Stream& stream, std::span<const Host> from, To* to) {
    stream.copy_from_host();
    stream.enqueue([=, copy = std::vector<Host>(from.begin(), from.end())](HostStream& host) {
      Plain::upload(host, std::span<const Host>(copy), to);
    });
  }
  static std::size_t map_size(const MapShape& shape) { return Plain::map_size(shape); }
  template <class Host>
  static void upload_map(Stream& stream, std::span<const Host> from, const MapShape& shape, Out to) {
    stream.copy_from_host();
    stream.enqueue([=, copy = std::vector<Host>(from.begin(), from.end())](HostStream& host) {
      Plain::upload_map(host, std::span<const Host>(copy), shape, to);
    });
  }
  static std::size_t tensor_size(const TensorShape& shape) { return Plain::tensor_size(shape); }
  template <class Host, class To>
  static void upload_tensor(Stream& stream, std::span<const Host> from, const TensorShape&, To* to) {
    upload(stream, from, to);
  }
  // To the host: waits.
  template <class From, class Host>
  static void download(Stream& stream, const From* from, std::span<Host> to) {
    stream.enqueue([=](HostStream& host) { Plain::download(host, from, to); });
    stream.wait();
  }
  template <class Host>
  static void download_map(Stream& stream, In from, const MapShape& shape, std::span<Host> to) {
    stream.enqueue([=](HostStream& host) { Plain::download_map(host, from, shape, to); });
    stream.wait();
  }
  template <class From, class Host>
  static void download_tensor(Stream& stream, const From* from, const TensorShape&, std::span<Host> to) {
    download(stream, from, to);
  }
  // On the device.
  static void clear(Stream& stream, double* values, std::int64_t size) {
    stream.enqueue([=](HostStream& host) { Plain::clear(host, values, size); });
  }
  static void accumulate(Stream& stream, In x, Out y, std::int64_t size) {
    stream.enqueue([=](HostStream& host) { Plain::accumulate(host, x, y, size); });
  }
  static void scale(Stream& stream, const double* factor, Out y, std::int64_t size) {
    stream.enqueue([=](HostStream& host) { Plain::scale(host, factor, y, size); });
  }
  static void blend(Stream& stream, const double* x, double* y, std::int64_t size, double keep, double take) {
    stream.enqueue([=](HostStream& host) { Plain::blend(host, x, y, size, keep, take); });
  }
  static void guard(Stream& stream, const double* gradients, std::int64_t size, std::int64_t images, double* control,
                    double* metrics) {
    stream.enqueue([=](HostStream& host) { Plain::guard(host, gradients, size, images, control, metrics); });
  }
  static void round(Stream& stream, const double* x, double* y, std::int64_t size) {
    stream.enqueue([=](HostStream& host) { Plain::round(host, x, y, size); });
  }
};
static_assert(Backend<Late>);

/// The rate, labels and images of each step are others.
template <class Net>
RandomBatch batch_of(int step, int n) {
  return {"step " + std::to_string(step), n, 17, 17, Net::inputs, Net::classes};
}

/// What `steps` steps leave behind: weights, velocities, statistics, and the metrics of each step.
template <class B, class Net>
std::vector<double> learned(const TrainerOptions& options, int steps, bool short_ones) {
  Trainer<Net, B> trainer(random_parameters<Net>(71), options);
  std::vector<double> all;
  for (int step = 0; step < steps; ++step) {
    const auto batch = batch_of<Net>(step, short_ones && step % 3 == 0 ? 3 : 5);
    trainer.set_learning_rate(0.1 / (1 + step));
    trainer.step(batch.images(), batch.labels);
    if (step % 2 == 1) {
      const auto metrics = trainer.read_metrics();
      all.insert(all.end(), {metrics.loss, metrics.correct, metrics.images});
    }
  }
  trainer.show_weights(
      [&](std::string_view, std::span<const double> values) { all.insert(all.end(), values.begin(), values.end()); });
  const auto parameters = trainer.parameters(), velocities = trainer.velocities();
  all.insert(all.end(), parameters.values().begin(), parameters.values().end());
  all.insert(all.end(), velocities.values().begin(), velocities.values().end());
  return all;
}

}  // namespace

TEST_CASE_TEMPLATE("networks learn from recordings what they learn step by step, bit for bit", Net, SmallImageNet,
                   SmallCifar, SmallBasic) {
  std::vector<TrainerOptions> all(6);
  all[1].micro_batch = 2;
  all[2].recompute = true;
  all[3].group_of = [](const StateEntry& entry) { return ParameterGroup{.frozen = entry.rank == 1}; };
  all[4].ghost_batch = 2;
  all[4].clip_norm = 1;
  all[5].loss_scale = 1024;
  all[5].scale_growth = 2;
  for (std::size_t i = 0; i < all.size(); ++i) {
    CAPTURE(i);
    for (const bool short_ones : {false, true}) {
      LateStream::recorded = LateStream::replayed = 0;
      CHECK(learned<Late, Net>(all[i], 8, short_ones) == learned<Plain, Net>(all[i], 8, short_ones));
      CHECK(LateStream::replayed >= 5);
      CHECK(LateStream::recorded <= (all[i].micro_batch > 0 ? 6 : 3));
    }
  }
}

TEST_CASE_TEMPLATE("networks classify from recordings, at several extents and with other parameters", Net,
                   SmallImageNet, SmallCifar, SmallBasic) {
  const auto parameters = random_parameters<Net>(72), others = random_parameters<Net>(73);
  Classifier<Net, Late> late(parameters);
  Classifier<Net, Plain> plain(parameters);
  LateStream::recorded = LateStream::replayed = 0;
  for (int call = 0; call < 12; ++call) {
    if (call == 8) {
      late.replace(others);
      plain.replace(others);
    }
    const RandomBatch batch("call " + std::to_string(call), 1 + call % 2, 17, 17, Net::inputs, Net::classes);
    CHECK(std::ranges::equal(late(batch.images()), plain(batch.images())));
  }
  CHECK(LateStream::recorded <= 4);  // of two extents, once more where the memory has grown
  CHECK(LateStream::replayed >= 8);
}

TEST_CASE("forward and backward passes with a loss of one's own are recorded too") {
  using Part = Network<Template<Input<16>, Bottleneck<2, 3>, Planes<4>, Stage<0>, Stage<2>, Features<2>>>;
  const auto run = []<class B>(B) {
    Trainer<Part, B> trainer(random_parameters<Part>(74));
    trainer.set_learning_rate(0.1);
    std::vector<double> all;
    for (int step = 0; step < 6; ++step) {
      for (int pass = 0; pass < 2; ++pass) {
        const RandomBatch batch("pass " + std::to_string(2 * step + pass), 2, 6, 6, 16, 2);
        const auto out = trainer.forward(batch.images())[0].values;
        std::vector<double> gradient(out.begin(), out.end());
        for (double& x : gradient) x *= 0.01 * (1 + pass);
        trainer.backward(std::vector<std::span<const double>>{gradient});
        all.insert(all.end(), trainer.input_gradient().begin(), trainer.input_gradient().end());
      }
      trainer.update();
    }
    const auto end = trainer.parameters();
    all.insert(all.end(), end.values().begin(), end.values().end());
    return all;
  };
  LateStream::replayed = 0;
  CHECK(run(Late()) == run(Plain()));
  CHECK(LateStream::replayed >= 16);
}

TEST_CASE("a trainer goes on from what another one has learned in recordings") {
  using Net = SmallCifar;
  const auto run = []<class B>(B) {
    Trainer<Net, B> first(random_parameters<Net>(75)), second(random_parameters<Net>(76));
    const auto steps = [](auto& trainer, int from, int to) {
      for (int step = from; step < to; ++step) {
        const auto batch = batch_of<Net>(step, 4);
        trainer.set_learning_rate(0.05 / (1 + step));
        trainer.step(batch.images(), batch.labels);
      }
    };
    steps(second, 0, 2);  // its recordings stay good
    steps(first, 0, 3);
    second.restore(first.state());
    steps(second, 3, 6);
    return std::vector<float>(second.parameters().values().begin(), second.parameters().values().end());
  };
  CHECK(run(Late()) == run(Plain()));
}

TEST_CASE("what would be wrong in a recording is found") {
  LateStream stream;
  Late::Recording recording;
  HiddenBuffer<double> memory(1);
  const std::array<double, 1> host{1};
  // A copy from the host that belongs to the stage, in the recording.
  CHECK(message_of<Error>([&] {
          Late::record(stream, recording, [&] { Late::upload(stream, std::span<const double>(host), memory.data()); });
        }) == "a copy from host memory cannot be recorded");
  CHECK(message_of<Error>([&] {
          Late::record(stream, recording, [&] {
            std::array<double, 1> to{};
            Late::download(stream, memory.data(), std::span<double>(to));
          });
        }) == "waiting cannot be recorded");
  // A host number in the work keeps the value that it had.
  Late::Recording stale;
  std::array<double, 1> found{};
  for (const double rate : {0.5, 0.25}) {
    Late::record(stream, stale, [&] { stream.enqueue([=, to = memory.data()](HostStream&) { *to = rate; }); });
    Late::download(stream, static_cast<const double*>(memory.data()), std::span<double>(found));
    CHECK(found[0] == 0.5);
  }
}
