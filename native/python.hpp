// What the Python modules of all engines share: arrays, Ctrl-C, the GIL, forks.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <pthread.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <memory>

#include "pool.hpp"

namespace nb = nanobind;

namespace qp {

// Defined here: one file of a module includes this.
Process& process() {
  static Process* const one = new Process;  // outlives everything
  return *one;
}

// Before and after a fork.  The pool's memory is not the child's to free: its threads' stacks lie in the parent.
static void before_fork() { process().lock.lock(); }
static void in_parent() { process().lock.unlock(); }
static void in_child() {
  if (process().pool) process().pool->abandon();
  process().pool = nullptr;
  process().taken = false;
  process().lock.unlock();
}

// Python ends a thread that asks for the GIL when Python itself is ending, before 3.14 by unwinding its stack (glibc), which
// no noexcept function survives.  Such a thread waits for the end of the process instead, as it does from 3.14 on.
template <class F> auto or_wait_for_the_end(F f) {
  try {
    return f();
  } catch (...) {
    for (;;) pause();
  }
}

class WithoutGil {
 public:
  WithoutGil() : state_(PyEval_SaveThread()) {}
  ~WithoutGil() { or_wait_for_the_end([this] { PyEval_RestoreThread(state_); }); }
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

 private:
  PyThreadState* state_;
};

template <class F> void unlocked(F compute) {
  try {
    WithoutGil free;
    compute();
  } catch (const Interrupted&) {
    throw nb::python_error();
  }
}

// Lets Ctrl-C through during long propagations: asks Python at most twenty times a second.
[[maybe_unused]] static std::function<void()> signal_check() {
  auto last = std::make_shared<std::chrono::steady_clock::time_point>(std::chrono::steady_clock::now());
  return [last] {
    const auto now = std::chrono::steady_clock::now();
    if (now - *last < std::chrono::milliseconds(50)) return;
    *last = now;
    const PyGILState_STATE state = or_wait_for_the_end([] { return PyGILState_Ensure(); });
    const bool raised = PyErr_CheckSignals() != 0;
    PyGILState_Release(state);
    if (raised) throw Interrupted{};
  };
}

template <class T> using In = nb::ndarray<const T, nb::c_contig, nb::device::cpu>;
using Out = nb::ndarray<double, nb::c_contig, nb::device::cpu>;

[[maybe_unused]] static const double* data(nb::handle h) { return nb::cast<In<double>>(h).data(); }
[[maybe_unused]] static double* pointer(nb::handle h) { return h.is_none() ? nullptr : nb::cast<Out>(h).data(); }

// Once a module, when it is imported.
static void handle_forks() { pthread_atfork(before_fork, in_parent, in_child); }

}  // namespace qp
