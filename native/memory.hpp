// Aligned arrays; large ones ask for huge pages, because a sweep touches every page of a state many times.
#pragma once

#include <cstdlib>
#include <memory>
#include <new>
#include <utility>
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace qp {

template <class T> class Array {
 public:
  Array() = default;
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;
  Array(Array&& o) noexcept : data_(std::exchange(o.data_, nullptr)), size_(std::exchange(o.size_, 0)), borrowed_(std::exchange(o.borrowed_, false)) {}
  Array& operator=(Array&& o) noexcept { std::swap(data_, o.data_); std::swap(size_, o.size_); std::swap(borrowed_, o.borrowed_); return *this; }
  ~Array() { release(); }

  // Memory of somebody else, which must outlive this.
  static Array of(T* data, std::size_t n) {
    Array a;
    a.data_ = data;
    a.size_ = n;
    a.borrowed_ = true;
    return a;
  }

  // Contents are undefined after growing.
  void reserve(std::size_t n) {
    if (n <= size_) return;
    release();
    const std::size_t page = n * sizeof(T) >= (std::size_t{4} << 20) ? std::size_t{2} << 20 : 4096;
    const std::size_t bytes = (n * sizeof(T) + page - 1) / page * page;
    data_ = static_cast<T*>(std::aligned_alloc(page, bytes));
    if (!data_) throw std::bad_alloc();
#if defined(__linux__)
    if (page > 4096) madvise(data_, bytes, MADV_HUGEPAGE);
#endif
    size_ = n;
  }
  void release() {
    if (!borrowed_) std::free(data_);
    data_ = nullptr;
    size_ = 0;
    borrowed_ = false;
  }
  T* data() const { return data_; }
  T& operator[](std::size_t i) const { return data_[i]; }
  std::size_t size() const { return size_; }

 private:
  T* data_ = nullptr;
  std::size_t size_ = 0;
  bool borrowed_ = false;
};

}  // namespace qp
