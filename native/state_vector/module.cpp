// The Python module of one instruction set: thin bindings, no arithmetic.  Arguments are checked in Python.
#include <nanobind/stl/function.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>

#include "../python.hpp"
#include "part.hpp"
#include "support.hpp"
#include "tangent.hpp"

namespace qp {

namespace {

// What threads would otherwise make at first use, behind locks that a fork could leave held.
template <class R> void make_statics() {
  permutations<R>();
  lane_signs<kWidth<R>>(0, 1);
}

template <class T> List<T> list(const nb::dict& d, const char* key) {
  const auto a = nb::cast<In<T>>(d[key]);
  return List<T>(a.data(), a.data() + a.size());
}

Description description(const nb::dict& p) {
  Description d;
  d.n_up = nb::cast<int>(p["n_up"]);
  d.lane_bits = nb::cast<int>(p["lane_bits"]);
  d.n_params = nb::cast<int>(p["n_params"]);
  d.n_inputs = nb::cast<int>(p["n_inputs"]);
  d.x = list<Mask>(p, "x"); d.z = list<Mask>(p, "z");
  d.driver = list<std::int32_t>(p, "driver"); d.coefficient = list<double>(p, "coefficient");
  d.mono_ptr = list<std::int32_t>(p, "mono_ptr"); d.var_ptr = list<std::int32_t>(p, "var_ptr");
  d.var = list<std::int32_t>(p, "var"); d.mono = list<double>(p, "mono");
  d.run_basis_ptr = list<std::int32_t>(p, "run_basis_ptr"); d.run_pass_ptr = list<std::int32_t>(p, "run_pass_ptr");
  d.pass_op_ptr = list<std::int32_t>(p, "pass_op_ptr"); d.op_term_ptr = list<std::int32_t>(p, "op_term_ptr");
  d.term = list<std::int32_t>(p, "term"); d.run_basis = list<Mask>(p, "run_basis");
  d.pass_tile = list<std::uint32_t>(p, "pass_tile");
  d.obs_x = list<Mask>(p, "obs_x"); d.obs_z = list<Mask>(p, "obs_z");
  d.obs_basis_ptr = list<std::int32_t>(p, "obs_basis_ptr"); d.obs_group_ptr = list<std::int32_t>(p, "obs_group_ptr");
  d.group_bucket_ptr = list<std::int32_t>(p, "group_bucket_ptr"); d.bucket_term_ptr = list<std::int32_t>(p, "bucket_term_ptr");
  d.bucket_term = list<std::int32_t>(p, "bucket_term"); d.obs_basis = list<Mask>(p, "obs_basis");
  d.obs_ptr = list<std::int32_t>(p, "obs_ptr"); d.obs_term = list<std::int32_t>(p, "obs_term");
  d.obs_coefficient = list<double>(p, "obs_coefficient");
  for (const nb::handle one : nb::cast<nb::list>(p["diagonals"])) d.diagonals.push_back(nb::cast<std::shared_ptr<Diagonal>>(one));
  d.table = list<std::int32_t>(p, "table"); d.support = list<Mask>(p, "support");
  d.obs_table = list<std::int32_t>(p, "obs_table");
  return d;
}

SupportDescription support_description(const nb::dict& p) {
  SupportDescription d;
  d.polynomials.n_params = nb::cast<int>(p["n_params"]);
  d.polynomials.n_inputs = nb::cast<int>(p["n_inputs"]);
  d.polynomials.mono_ptr = list<std::int32_t>(p, "mono_ptr"); d.polynomials.var_ptr = list<std::int32_t>(p, "var_ptr");
  d.polynomials.var = list<std::int32_t>(p, "var"); d.polynomials.mono = list<double>(p, "mono");
  d.n_states = nb::cast<std::size_t>(p["n_states"]);
  d.real = nb::cast<bool>(p["real"]);
  d.start = list<double>(p, "start");
  d.step_driver = list<std::int32_t>(p, "step_driver"); d.step_kind = list<std::int32_t>(p, "step_kind");
  d.step_f = list<double>(p, "step_f"); d.step_ptr = list<std::int64_t>(p, "step_ptr");
  d.pair = list<std::int32_t>(p, "pair");
  d.row_ptr = list<std::int64_t>(p, "row_ptr"); d.column = list<std::int32_t>(p, "column");
  d.entry = list<double>(p, "entry");
  return d;
}

struct Args {
  Request req;
  Args(nb::handle theta, nb::handle x, nb::handle start, int n_qubits, std::size_t batch, int threads) {
    const auto t = nb::cast<In<double>>(theta);
    req.theta = t.data();
    req.n_theta = t.shape(0);
    const auto xs = nb::cast<In<double>>(x);
    req.x = xs.data();
    req.n_x = xs.shape(0);
    req.batch = batch;
    req.n_qubits = n_qubits;
    req.threads = threads;
    if (nb::isinstance<nb::int_>(start)) {
      req.start = Start::kBasis;
      req.start_index = nb::cast<std::uint64_t>(start);
    } else if (nb::isinstance<nb::tuple>(start)) {
      req.start = Start::kProduct;
      const auto s = nb::cast<In<double>>(start[0]);  // (n, 2, 2), n the qubits of the plan
      req.start_vector = s.data();
      req.n_qubits = static_cast<int>(s.shape(0));
    } else {
      const auto s = nb::cast<In<double>>(start);  // (rows, 2^n, 2)
      req.start_vector = s.data();
      req.start = s.shape(0) == 1 ? Start::kShared : Start::kEach;
    }
  }
  void along(nb::handle v_theta, nb::handle v_x, nb::handle start_jet) {
    req.v_theta = nb::cast<In<double>>(v_theta).data();
    req.v_x = nb::cast<In<double>>(v_x).data();
    if (start_jet.is_none()) return;
    const auto s = nb::cast<In<double>>(start_jet);  // (order, rows, 2^n, 2)
    req.start_jet = s.data();
    req.n_start_jet = s.shape(1);
  }
};

template <class E, class R> void run(E& self, const Request& req, Output& out, Kept<R>* keep, bool resume) {
  unlocked([&] { self.evaluate(req, out, keep, resume, signal_check()); });
}

// What the evaluators have in common: values, and gradients.
template <class R, class E> nb::class_<E> bind_values_and_gradient(nb::class_<E> c) {
  c.def("values", [](E& self, nb::handle theta, nb::handle x, nb::handle start, int n, std::size_t batch, int threads, nb::handle values, Kept<R>* keep) {
        Args a(theta, x, start, n, batch, threads);
        Output out;
        out.values = pointer(values);
        run(self, a.req, out, keep, false);
      }, nb::arg("theta"), nb::arg("x"), nb::arg("start"), nb::arg("n_qubits"), nb::arg("batch"), nb::arg("threads"), nb::arg("values").none(), nb::arg("keep").none())
      .def("gradient", [](E& self, nb::handle theta, nb::handle x, nb::handle start, int n, std::size_t batch, int threads, nb::handle weights,
                          nb::handle weighted, nb::handle d_theta, bool sum_theta, nb::handle d_x, nb::handle lambda, Kept<R>* keep) {
        Args a(theta, x, start, n, batch, threads);
        const auto w = nb::cast<In<double>>(weights);
        a.req.weights = w.data();
        a.req.n_weights = w.shape(0);
        Output out;
        out.weighted = pointer(weighted);
        out.d_theta = pointer(d_theta);
        out.sum_theta = sum_theta;
        out.d_x = pointer(d_x);
        out.lambda = pointer(lambda);
        run(self, a.req, out, keep, true);
      }, nb::arg("theta"), nb::arg("x"), nb::arg("start"), nb::arg("n_qubits"), nb::arg("batch"), nb::arg("threads"), nb::arg("weights"),
         nb::arg("weighted").none(), nb::arg("d_theta").none(), nb::arg("sum_theta"), nb::arg("d_x").none(), nb::arg("lambda_").none(), nb::arg("keep").none());
  return c;
}

template <class R> void bind_support(nb::module_& m, const char* name) {
  using E = SupportEvaluator<R>;
  bind_values_and_gradient<R>(nb::class_<E>(m, name).def("__init__", [](E* self, const nb::dict& plan) { new (self) E(support_description(plan)); }));
}

template <class R> void bind(nb::module_& m, const char* name, const char* kept) {
  nb::class_<Kept<R>>(m, kept).def(nb::init<>());
  using E = Evaluator<R>;
  bind_values_and_gradient<R>(nb::class_<E>(m, name))
      .def("__init__", [](E* self, const nb::dict& plan, int order) { new (self) E(description(plan), order); })
      .def_prop_ro_static("lanes", [](nb::handle) { return kWidth<R>; })
      .def("states", [](E& self, nb::handle theta, nb::handle x, nb::handle start, int n, std::size_t batch, int threads, nb::handle states, Kept<R>* keep) {
        Args a(theta, x, start, n, batch, threads);
        Output out;
        out.state = pointer(states);
        run<E, R>(self, a.req, out, keep, false);
      }, nb::arg("theta"), nb::arg("x"), nb::arg("start"), nb::arg("n_qubits"), nb::arg("batch"), nb::arg("threads"), nb::arg("states"), nb::arg("keep").none())
      .def("pull_states", [](E& self, nb::handle theta, nb::handle x, nb::handle start, int n, std::size_t batch, int threads, nb::handle costates,
                             nb::handle d_theta, bool sum_theta, nb::handle d_x, nb::handle lambda, Kept<R>* keep) {
        Args a(theta, x, start, n, batch, threads);
        a.req.costates = nb::cast<In<double>>(costates).data();
        Output out;
        out.d_theta = pointer(d_theta);
        out.sum_theta = sum_theta;
        out.d_x = pointer(d_x);
        out.lambda = pointer(lambda);
        run(self, a.req, out, keep, true);
      }, nb::arg("theta"), nb::arg("x"), nb::arg("start"), nb::arg("n_qubits"), nb::arg("batch"), nb::arg("threads"), nb::arg("costates"),
         nb::arg("d_theta"), nb::arg("sum_theta"), nb::arg("d_x"), nb::arg("lambda_").none(), nb::arg("keep").none())
      .def("jet", [](E& self, nb::handle theta, nb::handle x, nb::handle start, int n, std::size_t batch, int threads, nb::handle v_theta, nb::handle v_x,
                     nb::handle start_jet, nb::handle values, nb::handle states, Kept<R>* keep) {
        Args a(theta, x, start, n, batch, threads);
        a.along(v_theta, v_x, start_jet);
        Output out;
        out.values = pointer(values);
        out.state = pointer(states);
        run<E, R>(self, a.req, out, keep, false);
      }, nb::arg("theta"), nb::arg("x"), nb::arg("start"), nb::arg("n_qubits"), nb::arg("batch"), nb::arg("threads"), nb::arg("v_theta"), nb::arg("v_x"),
         nb::arg("start_jet").none(), nb::arg("values").none(), nb::arg("states").none(), nb::arg("keep").none())
      .def("pull_jet", [](E& self, nb::handle theta, nb::handle x, nb::handle start, int n, std::size_t batch, int threads, nb::handle v_theta, nb::handle v_x,
                          nb::handle start_jet, nb::handle weights, nb::handle costates, bool sum_theta, nb::handle d_v_theta, nb::handle d_v_x, nb::handle d_theta,
                          nb::handle d_x, nb::handle lambda, Kept<R>* keep) {
        Args a(theta, x, start, n, batch, threads);
        a.along(v_theta, v_x, start_jet);
        if (costates.is_none()) {
          const auto w = nb::cast<In<double>>(weights);
          a.req.weights = w.data();
          a.req.weight_orders = w.shape(0);
          a.req.n_weights = w.shape(1);
        } else {
          a.req.costates = nb::cast<In<double>>(costates).data();
        }
        Output out;
        out.sum_theta = sum_theta;
        out.d_theta = pointer(d_v_theta); out.d_x = pointer(d_v_x);
        out.h_theta = pointer(d_theta); out.h_x = pointer(d_x);
        out.lambda = pointer(lambda);
        run<E, R>(self, a.req, out, keep, true);
      }, nb::arg("theta"), nb::arg("x"), nb::arg("start"), nb::arg("n_qubits"), nb::arg("batch"), nb::arg("threads"), nb::arg("v_theta"), nb::arg("v_x"),
         nb::arg("start_jet").none(), nb::arg("weights").none(), nb::arg("costates").none(), nb::arg("sum_theta"), nb::arg("d_v_theta"), nb::arg("d_v_x"), nb::arg("d_theta"),
         nb::arg("d_x"), nb::arg("lambda_").none(), nb::arg("keep").none());
}

template <class R> void bind_tangents(nb::module_& m, const char* name) {
  using E = TangentEvaluator<R>;
  nb::class_<E>(m, name)
      .def("__init__", [](E* self, const nb::dict& plan) { new (self) E(description(plan)); })
      .def("tangents", [](E& self, nb::handle theta, nb::handle x, nb::handle start, int n, int threads, nb::handle directions, nb::handle state, nb::handle tangents) {
        Args a(theta, x, start, n, 1, threads);
        const auto v = nb::cast<In<double>>(directions);
        double *psi = pointer(state), *t = pointer(tangents);
        unlocked([&] { self.evaluate(a.req, v.data(), v.shape(0), psi, t, signal_check()); });
      });
}

template <class R> using Reals = nb::ndarray<R, nb::c_contig, nb::device::cpu>;
template <class R> Vec<R>* vectors(nb::handle h) { return reinterpret_cast<Vec<R>*>(nb::cast<Reals<R>>(h).data()); }

template <class R> void bind_part(nb::module_& m, const char* name) {
  using E = Part<R>;
  using Masks = std::pair<Mask, Mask>;
  nb::class_<E>(m, name)
      .def("__init__", [](E* self, const nb::dict& plan) { new (self) E(description(plan)); })
      .def_static("amplitudes", [](std::size_t n) {  // real and imaginary vectors in turn, of a state of n amplitudes; not set
        auto* kept = new Array<Vec<R>>;
        const nb::capsule owner(kept, [](void* p) noexcept { delete static_cast<Array<Vec<R>>*>(p); });
        kept->reserve(2 * n / kWidth<R>);
        return nb::cast(nb::ndarray<nb::numpy, R, nb::ndim<1>>(reinterpret_cast<R*>(kept->data()), {2 * n}, owner));
      })
      .def("forward", [](E& self, nb::handle theta, nb::handle x, Masks before, nb::handle psi, Mask origin, int threads) {
        const double *t = data(theta), *xs = data(x);
        Vec<R>* p = vectors<R>(psi);
        Frame after;
        unlocked([&] { after = self.forward(t, xs, {before.first, before.second}, p, origin, threads, signal_check()); });
        return Masks(after.x, after.z);
      })
      .def("backward", [](E& self, nb::handle theta, nb::handle x, Masks before, bool first, nb::handle psi, nb::handle lambda, Mask origin, int threads,
                          nb::handle d_theta, nb::handle d_x) {
        const double *t = data(theta), *xs = data(x);
        Vec<R> *p = vectors<R>(psi), *l = vectors<R>(lambda);
        double *to_theta = pointer(d_theta), *to_x = pointer(d_x);
        unlocked([&] { self.backward(t, xs, {before.first, before.second}, first, p, l, origin, threads, to_theta, to_x, signal_check()); });
      }, nb::arg("theta"), nb::arg("x"), nb::arg("before"), nb::arg("first"), nb::arg("psi"), nb::arg("lambda_"), nb::arg("origin"), nb::arg("threads"),
         nb::arg("d_theta"), nb::arg("d_x").none())
      .def("apply", [](E& self, nb::handle weights, Masks frame, nb::handle psi, nb::handle lambda, bool more, Mask origin, int threads) {
        const double* w = data(weights);
        Vec<R> *p = vectors<R>(psi), *l = vectors<R>(lambda);
        double value = 0;
        unlocked([&] { value = self.apply(w, {frame.first, frame.second}, p, l, more, origin, threads, signal_check()); });
        return value;
      })
      .def("expectations", [](E& self, Masks frame, nb::handle bra, nb::handle psi, Mask origin, int threads, nb::handle strings) {
        Vec<R> *b = vectors<R>(bra), *p = vectors<R>(psi);
        double* out = pointer(strings);
        unlocked([&] { self.expectations({frame.first, frame.second}, b, p, origin, threads, out, signal_check()); });
      })
      .def_static("move", [](nb::handle columns, Mask constant, nb::handle state, std::size_t first, nb::handle message, bool to_state, int threads) {
        const auto c = nb::cast<In<Mask>>(columns);
        const int lane_bits = std::countr_zero(static_cast<unsigned>(kWidth<R>));
        const Selection s(c.data(), static_cast<int>(c.size()), constant, lane_bits);
        R* from = nb::cast<Reals<R>>(state).data();
        const auto to = nb::cast<Reals<R>>(message);
        const std::size_t count = to.size() / (2 * kWidth<R>);
        unlocked([&] {
          if (to_state) move_amplitudes<R, true>(s, lane_bits, from, first, count, to.data(), threads);
          else move_amplitudes<R, false>(s, lane_bits, from, first, count, to.data(), threads);
        });
      });
}

void bind_diagonal(nb::module_& m) {
  nb::class_<Diagonal>(m, "Diagonal")
      .def("__init__", [](Diagonal* self, nb::handle z, nb::handle coefficient, int bits, int threads) {
        const auto masks = nb::cast<In<Mask>>(z);
        const double* c = data(coefficient);
        unlocked([&] { new (self) Diagonal(masks.data(), c, masks.size(), bits, threads, signal_check()); });
      }, nb::arg("z"), nb::arg("coefficient"), nb::arg("bits"), nb::arg("threads"))
      .def_prop_ro("bytes", &Diagonal::memory)
      .def_prop_ro("largest", &Diagonal::largest)
      .def_prop_ro("codes", &Diagonal::n_codes)
      .def("values", [](const Diagonal& self, nb::handle out) {
        double* to = pointer(out);
        unlocked([&] { for (std::size_t j = 0; j < std::size_t{1} << self.bits(); ++j) to[j] = self.value(j); });
      });
}

}  // namespace
}  // namespace qp

NB_MODULE(QP_MODULE, m) {
  nb::set_leak_warnings(false);  // a graph of autodiff that is alive when Python ends holds kept states, rightly
  m.attr("vector_bytes") = QP_VECTOR_BYTES;
  qp::make_statics<double>();
  qp::make_statics<float>();
  qp::handle_forks();
  qp::bind_diagonal(m);
  qp::bind<double>(m, "Double", "KeptDouble");
  qp::bind<float>(m, "Single", "KeptSingle");
  qp::bind_support<double>(m, "SupportDouble");
  qp::bind_support<float>(m, "SupportSingle");
  qp::bind_tangents<double>(m, "TangentDouble");
  qp::bind_tangents<float>(m, "TangentSingle");
  qp::bind_part<double>(m, "PartDouble");
  qp::bind_part<float>(m, "PartSingle");
}
