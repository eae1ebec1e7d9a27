/// @file
/// Host memory that is allocated once: page aligned, zeroed, in huge pages where the system has them.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>

namespace resnext {

namespace detail {

/// Touches every page of memory that reads as zeros and is new.
inline void touch_pages(unsigned char* begin, std::size_t bytes) {
  volatile unsigned char* touch = begin;
  for (std::size_t at = 0; at < bytes; at += 4096) touch[at] = 0;
}

}  // namespace detail

/// Owns `size` elements of host memory. Every page is touched at construction, so nothing faults in a step: a first
/// touch of 4 KB pages costs about 0.6 ms a megabyte, of huge pages a twentieth of it. A page lies in the memory of the
/// processor that touches it first, here that of the calling thread; a backend with threads hands its own `touch` over.
template <class T>
class HostBuffer {
  static_assert(std::is_trivially_copyable_v<T>, "a HostBuffer holds plain numbers");

 public:
  HostBuffer() = default;
  /// @throws std::bad_alloc when the system has not that much memory.
  explicit HostBuffer(std::size_t size) : HostBuffer(size, detail::touch_pages) {}
  /// The same, but `touch(begin, bytes)` touches the pages.
  template <class Touch>
  HostBuffer(std::size_t size, const Touch& touch) : size_(size) {
    if (size == 0) return;
    if (size > (std::size_t{1} << 62) / sizeof(T)) throw std::bad_alloc();
    constexpr std::size_t huge = std::size_t{2} << 20;
    const std::size_t wanted = size * sizeof(T);
    bytes_ = wanted < huge ? (wanted + 4095) / 4096 * 4096 : (wanted + huge - 1) / huge * huge + huge;
    base_ = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base_ == MAP_FAILED) throw std::bad_alloc();
    auto* begin = static_cast<unsigned char*>(base_);
    if (wanted >= huge) {
      begin += (huge - reinterpret_cast<std::size_t>(base_) % huge) % huge;
#ifdef MADV_HUGEPAGE
      ::madvise(base_, bytes_, MADV_HUGEPAGE);  // an advice: without it the memory is only slower
#endif
    }
    data_ = reinterpret_cast<T*>(begin);
    touch(begin, wanted);
  }
  /// Takes the memory over.
  HostBuffer(HostBuffer&& other) noexcept { swap(other); }
  /// The same; its own is freed.
  HostBuffer& operator=(HostBuffer&& other) noexcept {
    HostBuffer(std::move(other)).swap(*this);
    return *this;
  }
  ~HostBuffer() {
    if (base_ != nullptr) ::munmap(base_, bytes_);
  }

  /// The first element, aligned to a page; null where there is none.
  T* data() { return data_; }
  /// The same.
  const T* data() const { return data_; }
  /// Elements, not bytes.
  std::size_t size() const { return size_; }
  /// @name Elements
  /// @{

  /// As of any container.
  T* begin() { return data_; }
  T* end() { return data_ + size_; }
  const T* begin() const { return data_; }
  const T* end() const { return data_ + size_; }
  T& operator[](std::size_t i) { return data_[i]; }
  const T& operator[](std::size_t i) const { return data_[i]; }
  /// @}

  /// Exchanges the memories.
  void swap(HostBuffer& other) noexcept {
    std::swap(base_, other.base_);
    std::swap(bytes_, other.bytes_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }

 private:
  void* base_ = nullptr;
  std::size_t bytes_ = 0;
  T* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace resnext
