// Worker threads that outlive a call: a sweep has thousands of short parallel loops, too short to start threads for.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <utility>
#include <vector>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "vec.hpp"

namespace qp {

struct Interrupted {};  // thrown in the middle of a sweep, after Ctrl-C

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
  // Results do not depend on how many threads there are: where the system has fewer, these must do.
  explicit Pool(int workers) : wanted_(workers + 1) {
    try {
      threads_.reserve(workers);
      for (int w = 0; w < workers; ++w) threads_.emplace_back([this, w] { work(w + 1); });
    } catch (const std::exception&) {
    }
  }
  ~Pool() {
    stop_.store(true);
    generation_.fetch_add(1);
    generation_.notify_all();
    for (auto& t : threads_) t.join();
  }
  int size() const { return static_cast<int>(threads_.size()) + 1; }
  int wanted() const { return wanted_; }

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

  // In a forked child: the threads live in the parent.  A sweep that forked goes on alone.
  void abandon() { inside_.store(0); }

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
  int wanted_;
};

constexpr int kMostWorkers = 64;  // of one loop: there are no more chunks, nor groups of tasks

// What all threads of the process share.  Its lock is held for moments only, and never with the GIL wanted: a fork takes it
// first (pthread_atfork), so that no child finds it locked by a thread that it does not have.
struct Process {
  std::mutex lock;
  Pool* pool = nullptr;  // never destroyed at exit: daemon threads may still be using it
  bool taken = false;
};
Process& process();

// The pool while one call has it.  There is one, made anew when a call asks for another number of threads; a call that finds
// it taken does without.
class Lease {
 public:
  explicit Lease(int threads) {
    threads = std::min(threads, kMostWorkers);
    if (threads < 2) return;
    Process& p = process();
    Pool* old = nullptr;
    {
      std::lock_guard<std::mutex> guard(p.lock);
      if (p.taken) return;
      p.taken = true;
      if (p.pool && p.pool->wanted() != threads) old = std::exchange(p.pool, nullptr);
      pool_ = p.pool;
    }
    delete old;
    if (pool_) return;
    pool_ = new (std::nothrow) Pool(threads - 1);
    std::lock_guard<std::mutex> guard(p.lock);
    p.pool = pool_;
    if (!pool_) p.taken = false;
  }
  ~Lease() {
    if (!pool_) return;
    std::lock_guard<std::mutex> guard(process().lock);
    if (process().pool == pool_) process().taken = false;  // not so in a child forked since
  }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  Pool* pool() const { return pool_; }

 private:
  Pool* pool_ = nullptr;
};

// job(group, worker, inner) for every group: spread over the threads if `outer`, else one after the other, each with the pool
// for its own loops.  Once one fails no other begins, and its exception is thrown.
template <class Job> void spread_groups(int threads, std::uint32_t groups, bool outer, const Job& job) {
  const Lease lease(outer && groups == 1 ? 1 : threads);
  Pool* const pool = lease.pool();
  std::atomic<std::uint32_t> next{0};
  std::exception_ptr failure;
  std::mutex failure_lock;
  const std::function<void(int)> work = [&](int worker) {
    try {
      for (std::uint32_t g; (g = next.fetch_add(1)) < groups;) job(g, worker, outer ? nullptr : pool);
    } catch (...) {
      next.store(groups);
      std::lock_guard<std::mutex> guard(failure_lock);
      if (!failure) failure = std::current_exception();
    }
  };
  if (outer && pool) pool->run(work);
  else work(0);
  if (failure) std::rethrow_exception(failure);
}

// Calls job(chunk, worker) for every chunk; which worker takes which chunk does not matter to the result.
class Crew {
 public:
  Crew(Pool* pool, std::function<void()> check) : pool_(pool), check_(std::move(check)) {}
  int workers() const { return pool_ ? pool_->size() : 1; }
  void each(std::uint32_t chunks, const std::function<void(std::uint32_t, int)>& job) const {
    if (!pool_ || chunks == 1) {
      for (std::uint32_t c = 0; c < chunks; ++c) job(c, 0);
    } else {
      std::atomic<std::uint32_t> next{0};
      std::exception_ptr failure;  // of whoever fails first; it must not leave a thread while others still use the job
      std::mutex failure_lock;
      pool_->run([&](int worker) {
        try {
          for (std::uint32_t c; (c = next.fetch_add(1, std::memory_order_relaxed)) < chunks;) job(c, worker);
        } catch (...) {
          next.store(chunks);
          std::lock_guard<std::mutex> guard(failure_lock);
          if (!failure) failure = std::current_exception();
        }
      });
      if (failure) std::rethrow_exception(failure);
    }
  }
  void check() const { if (check_) check_(); }  // may throw Interrupted; on the calling thread only

 private:
  Pool* pool_;
  std::function<void()> check_;
};

// Scratch that calls leave to later ones.
template <class T> class Store {
 public:
  Store() = default;
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;
  std::unique_ptr<T> take() {
    {
      std::lock_guard<std::mutex> guard(process().lock);
      if (!kept_.empty()) {
        auto one = std::move(kept_.back());
        kept_.pop_back();
        return one;
      }
    }
    return std::make_unique<T>();
  }
  void give(std::unique_ptr<T> one) {
    std::lock_guard<std::mutex> guard(process().lock);
    kept_.push_back(std::move(one));
  }

 private:
  std::vector<std::unique_ptr<T>> kept_;
};

}  // namespace qp
