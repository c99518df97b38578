// Worker threads that outlive a call: a sweep has thousands of short parallel loops, too short to start threads for.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>
#if defined(__x86_64__)
#include <immintrin.h>
#endif
#include <unistd.h>

namespace qp {

QP_INLINE void relax() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Subnormal numbers cost a hundred cycles each and carry no information here: flush them to zero while a sweep runs.
class FlushSubnormals {
 public:
  FlushSubnormals() {
#if defined(__x86_64__)
    saved_ = _mm_getcsr();
    _mm_setcsr(saved_ | 0x8040);
#elif defined(__aarch64__)
    asm volatile("mrs %0, fpcr" : "=r"(saved_));
    asm volatile("msr fpcr, %0" ::"r"(saved_ | (1ull << 24)));
#endif
  }
  ~FlushSubnormals() {
#if defined(__x86_64__)
    _mm_setcsr(saved_);
#elif defined(__aarch64__)
    asm volatile("msr fpcr, %0" ::"r"(saved_));
#endif
  }

 private:
#if defined(__x86_64__)
  unsigned saved_;
#else
  unsigned long long saved_ = 0;
#endif
};

class Pool {
 public:
  explicit Pool(int workers) : owner_(getpid()) {
    for (int w = 0; w < workers; ++w) threads_.emplace_back([this, w] { work(w + 1); });
  }
  ~Pool() {
    if (getpid() != owner_) {  // after a fork the threads exist in the parent only
      for (auto& t : threads_) t.detach();
      return;
    }
    stop_.store(true);
    generation_.fetch_add(1);
    generation_.notify_all();
    for (auto& t : threads_) t.join();
  }
  int size() const { return static_cast<int>(threads_.size()) + 1; }
  bool belongs_here() const { return getpid() == owner_; }

  // job(worker) on the calling thread, which is worker 0, and on every worker that is awake in time; returns when all who
  // came are done.  The job hands out its own work, so nobody has to come: a sleeping worker never delays a short loop.
  void run(const std::function<void(int)>& job) {
    job_ = &job;
    const unsigned now = generation_.load(std::memory_order_relaxed) + 1;
    open_.store(now);
    generation_.store(now);
    generation_.notify_all();
    job(0);
    open_.store(0);
    while (inside_.load() != 0) relax();
  }

  std::mutex& lock() { return lock_; }

 private:
  void work(int id) {
    FlushSubnormals flush;
    unsigned seen = 0;
    for (;;) {
      // Spin a little before sleeping: the next loop of a sweep usually follows within microseconds.
      int spins = 0;
      while (generation_.load(std::memory_order_acquire) == seen && spins < 4000) { relax(); ++spins; }
      if (generation_.load(std::memory_order_acquire) == seen) generation_.wait(seen, std::memory_order_acquire);
      unsigned now = generation_.load(std::memory_order_acquire);
      if (now == seen) continue;
      seen = now;
      if (stop_.load()) return;
      inside_.fetch_add(1);
      if (open_.load() == now) (*job_)(id);  // once counted inside, an open job waits for us
      inside_.fetch_sub(1);
    }
  }

  std::vector<std::thread> threads_;
  std::atomic<unsigned> generation_{0};
  std::atomic<unsigned> open_{0};  // the generation whose job may be joined, 0 for none
  std::atomic<int> inside_{0};
  std::atomic<bool> stop_{false};
  const std::function<void(int)>* job_ = nullptr;
  std::mutex lock_;
  pid_t owner_;
};

}  // namespace qp
