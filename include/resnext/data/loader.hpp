/// @file
/// Batches of augmented pictures, prepared by threads in the background.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <mutex>
#include <numeric>
#include <resnext/data/augment.hpp>
#include <resnext/data/dataset.hpp>
#include <resnext/error.hpp>
#include <resnext/random.hpp>
#include <resnext/tensor/images.hpp>
#include <resnext/tensor/number.hpp>
#include <span>
#include <thread>
#include <utility>
#include <vector>

namespace resnext {

/// How a `Loader` cuts a data set into batches.
struct LoaderOptions {
  int batch = 128;         ///< pictures a batch on each rank
  std::uint64_t seed = 0;  ///< of order and augmentation
  bool shuffle = true;     ///< a new order each epoch; else that of the data set
  bool drop_last = false;  ///< leave out the last, short batch of an epoch
  int workers = 1;         ///< threads; 0 prepares each batch in next()
  int rank = 0;            ///< data parallel: which slice of every batch,
  int ranks = 1;           ///< of how many
};

/// Some pictures of a data set, ready for a network. The spans are valid until the next call of `Loader::next` or
/// `Loader::start`: whoever uploads them asynchronously waits for the end of the copy before either.
struct Batch {
  int epoch = 0;                           ///< from 0
  int index = 0;                           ///< which batch of the epoch, from 0
  int count = 0;                           ///< N
  Images images;                           ///< `[N, H, W, C]`
  std::span<const std::int32_t> labels;    ///< `[N]`
  std::span<const std::uint32_t> indices;  ///< `[N]`, the pictures' places in the data set
};

/// An endless sequence of batches, epoch after epoch. Batch, order and augmentation depend on the options, the epoch
/// and the data alone: any number of workers gives the same, and the batches of N ranks, one after the other, are those
/// of one rank with N times the batch. Nothing is allocated after the construction. One thread calls it.
class Loader {
 public:
  /// The data set must outlive the loader. Throws ShapeError for an inconsistent or empty data set, OptionError for
  /// impossible options or no whole batch.
  Loader(const Dataset& dataset, const Augmentation& augmentation, const LoaderOptions& options)
      : dataset_(dataset),
        options_(checked(dataset, options)),
        augment_(augmentation, dataset.height, dataset.width, dataset.channels, options.seed),
        order_(dataset.size()),
        slots_(static_cast<std::size_t>(options.workers == 0 ? 1 : options.workers + 2)) {
    const std::size_t step = stride();
    const std::size_t batches = (dataset.size() + (options.drop_last ? 0 : step - 1)) / step;
    if (batches == 0 || batches > std::numeric_limits<int>::max())
      throw_error<OptionError>("loader: expected a batch of at most the data set's ", dataset.size(), " images, found ",
                               step);
    batches_ = static_cast<int>(batches);
    const auto room = static_cast<std::size_t>(options.batch);
    for (Slot& slot : slots_) {
      slot.images.resize(room * dataset.image_size());
      slot.labels.resize(room);
      slot.indices.resize(room);
    }
    start(0);
    try {
      for (int i = 0; i < options.workers; ++i) threads_.emplace_back([this] { work(); });
    } catch (...) {  // the system has no more threads: those that run must end before anything they use goes
      join();
      throw;
    }
  }
  ~Loader() { join(); }
  Loader(Dataset&&, const Augmentation&, const LoaderOptions&) = delete;
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  /// The pictures it takes from.
  const Dataset& dataset() const { return dataset_; }
  /// Batches in an epoch, on every rank alike.
  int batches() const { return batches_; }

  /// Goes on with batch `batch` of epoch `epoch`, as a resumed run needs it. Throws OptionError for a negative place or
  /// one beyond the epoch.
  void start(int epoch, int batch = 0) {
    if (epoch < 0 || batch < 0 || batch > batches_)
      throw_error<OptionError>("loader: expected an epoch from 0 and a batch from 0 to ", batches_, ", found ", epoch,
                               " and ", batch);
    std::unique_lock lock(mutex_);
    limit_ = claimed_;  // nobody begins another batch
    changed_.wait(lock, [this] { return busy_ == 0; });
    for (Slot& slot : slots_) {
      slot.ready = -1;
      slot.error = nullptr;  // of a batch that nobody will take
    }
    position_ = claimed_ = std::int64_t{epoch} * batches_ + batch;
    limit_ = position_ + capacity();
    wanted_.notify_all();
  }

  /// The next batch, valid until the next call. Rethrows what went wrong in its preparation, e.g. ShapeError for a
  /// label that is no class; the call after that goes on with the batch after it.
  const Batch& next() {
    std::unique_lock lock(mutex_);
    const std::int64_t ticket = position_++;
    limit_ = ticket + capacity();
    Slot& slot = slot_of(ticket);
    if (threads_.empty()) {
      claim();
      prepare(slot);
    } else {
      wanted_.notify_one();  // the batch that was handed out before has become free
      changed_.wait(lock, [&] { return slot.ready == ticket; });
    }
    if (slot.error) std::rethrow_exception(std::exchange(slot.error, nullptr));
    return slot.batch;
  }

  class Epoch;
  /// The batches of an epoch as a range that is gone through once: `for (const Batch& batch : loader.epoch(3))`. It is
  /// start() and then next() for each, and throws what they throw.
  Epoch epoch(int epoch, int first_batch = 0);

 private:
  struct Slot {
    std::int64_t ticket = -1, ready = -1;  // which batch of the whole sequence it is for, and holds
    Batch batch;
    std::vector<float> images;
    std::vector<std::int32_t> labels;
    std::vector<std::uint32_t> indices;
    std::exception_ptr error;
  };

  static const LoaderOptions& checked(const Dataset& dataset, const LoaderOptions& options) {
    if (dataset.height < 1 || dataset.width < 1 || dataset.channels < 1 || dataset.size() == 0 ||
        dataset.size() > std::numeric_limits<std::uint32_t>::max() ||
        checked_product({static_cast<std::int64_t>(dataset.size()), dataset.height, dataset.width, dataset.channels}) !=
            dataset.images.size())
      throw_error<ShapeError>("loader: ", dataset.name, ": expected N images [N, H, W, C] and N labels, found [",
                              dataset.height, ", ", dataset.width, ", ", dataset.channels, "], ", dataset.images.size(),
                              " values and ", dataset.size(), " labels");
    if (options.batch < 1) throw_error<OptionError>("loader: expected a batch of at least 1, found ", options.batch);
    if (options.workers < 0 || options.workers > 256)
      throw_error<OptionError>("loader: expected 0 to 256 workers, found ", options.workers);
    if (options.ranks < 1 || options.rank < 0 || options.rank >= options.ranks)
      throw_error<OptionError>("loader: expected a rank from 0 to ", options.ranks - 1, ", found ", options.rank);
    return options;
  }

  /// Pictures of all ranks in a batch.
  std::size_t stride() const {
    return static_cast<std::size_t>(options_.batch) * static_cast<std::size_t>(options_.ranks);
  }
  std::int64_t capacity() const { return static_cast<std::int64_t>(slots_.size()); }
  Slot& slot_of(std::int64_t ticket) { return slots_[static_cast<std::size_t>(ticket % capacity())]; }

  /// The order of an epoch: Fisher-Yates over the counter-based stream.
  void shuffle(int epoch) {
    if (std::exchange(order_epoch_, epoch) == epoch) return;
    std::iota(order_.begin(), order_.end(), 0u);
    if (!options_.shuffle) return;
    const RandomStream random = RandomStream(options_.seed, "shuffle")[static_cast<std::uint64_t>(epoch)];
    for (std::size_t i = order_.size() - 1; i > 0; --i)
      std::swap(order_[i], order_[random.below(i, static_cast<std::uint32_t>(i + 1))]);
  }

  /// Takes the next ticket: says which pictures its slot is to hold. The mutex is locked, so epochs come in order and
  /// one permutation is enough.
  Slot& claim() {
    Slot& slot = slot_of(claimed_);
    slot.ticket = claimed_++;
    const int epoch = static_cast<int>(slot.ticket / batches_), index = static_cast<int>(slot.ticket % batches_);
    shuffle(epoch);
    const std::size_t first = static_cast<std::size_t>(index) * stride(),
                      size = std::min(stride(), order_.size() - first);
    const auto rank = static_cast<std::size_t>(options_.rank), ranks = static_cast<std::size_t>(options_.ranks);
    const std::size_t begin = size * rank / ranks, count = size * (rank + 1) / ranks - begin;
    std::copy_n(order_.begin() + static_cast<std::ptrdiff_t>(first + begin), count, slot.indices.begin());
    slot.batch = {epoch,
                  index,
                  static_cast<int>(count),
                  {},
                  std::span(slot.labels).first(count),
                  std::span(slot.indices).first(count)};
    Images& images = slot.batch.images;  // not checked here: a rank's share of a short batch may have none
    images.values = std::span(slot.images).first(count * dataset_.image_size());
    images.n = slot.batch.count;
    images.h = dataset_.height;
    images.w = dataset_.width;
    images.c = dataset_.channels;
    return slot;
  }

  void prepare(Slot& slot) const {
    try {
      for (std::size_t i = 0; i < slot.batch.indices.size(); ++i) {
        const std::uint32_t index = slot.indices[i];
        const std::int32_t label = slot.labels[i] = dataset_.labels[index];
        if (label < 0 || label >= dataset_.classes)
          throw_error<ShapeError>("loader: ", dataset_.name, ": image ", index, ": expected a label from 0 to ",
                                  dataset_.classes - 1, ", found ", label);
        augment_(dataset_.image(index), slot.batch.epoch, index,
                 std::span(slot.images).subspan(i * dataset_.image_size(), dataset_.image_size()));
      }
    } catch (...) {
      slot.error = std::current_exception();
    }
  }

  void join() {
    {
      const std::lock_guard lock(mutex_);
      stopped_ = true;
    }
    wanted_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      wanted_.wait(lock, [this] { return stopped_ || claimed_ < limit_; });
      if (stopped_) return;
      Slot& slot = claim();
      ++busy_;
      lock.unlock();
      prepare(slot);
      lock.lock();
      --busy_;
      slot.ready = slot.ticket;
      changed_.notify_one();
    }
  }

  const Dataset& dataset_;
  const LoaderOptions options_;
  const Augmenter augment_;
  int batches_ = 0;
  std::vector<std::uint32_t> order_;
  int order_epoch_ = -1;

  std::mutex mutex_;
  std::condition_variable wanted_;   // a ticket is below the limit, or it is over
  std::condition_variable changed_;  // a slot became ready
  std::vector<Slot> slots_;
  std::int64_t position_ = 0;  // the ticket that next() takes
  std::int64_t claimed_ = 0;   // the ticket that a worker takes
  std::int64_t limit_ = 0;     // the first ticket whose slot is still held by the caller
  int busy_ = 0;
  bool stopped_ = false;
  std::vector<std::thread> threads_;
};

/// What `Loader::epoch` returns.
class Loader::Epoch {
 public:
  /// Where a loop stands.
  class Iterator {
   public:
    /// The batch, valid until the next one.
    const Batch& operator*() const { return *batch_; }
    /// The next batch.
    Iterator& operator++() {
      batch_ = --left_ > 0 ? &loader_->next() : nullptr;
      return *this;
    }
    /// False behind the last batch.
    bool operator!=(std::nullptr_t) const { return batch_ != nullptr; }

   private:
    friend class Epoch;
    Iterator(Loader& loader, int batches)
        : loader_(&loader), left_(batches), batch_(batches > 0 ? &loader.next() : nullptr) {}

    Loader* loader_;
    int left_;
    const Batch* batch_;
  };

  /// Takes the first batch.
  Iterator begin() const { return {loader_, batches_}; }
  /// Behind the last batch.
  std::nullptr_t end() const { return nullptr; }

 private:
  friend class Loader;
  Epoch(Loader& loader, int batches) : loader_(loader), batches_(batches) {}

  Loader& loader_;
  int batches_;
};

inline Loader::Epoch Loader::epoch(int epoch, int first_batch) {
  start(epoch, first_batch);
  return {*this, batches_ - first_batch};
}

}  // namespace resnext
