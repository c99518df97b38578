// The Python module of one instruction set: thin bindings, no arithmetic.  Arguments are checked in Python.
#include "../python.hpp"
#include "paths.hpp"
#include "propagate.hpp"

namespace qp {

namespace {

const Word* words(nb::handle h) { return nb::cast<In<Word>>(h).data(); }

struct Observable { const Word *x, *z; const double* coefficient; std::size_t terms; };
struct Rotations { const Word *x, *z; const Factor* factor; int stages; };

class Run {
 public:
  virtual ~Run() = default;
  virtual void propagate(const Observable& o, const Rotations& r, const Channels& c, int threads, const std::function<void()>& pause) = 0;
  virtual double value(const double* bloch, int n, int threads, bool forget) = 0;

  Graph* graph = nullptr;
  Store<Graph::Work> works;
  std::vector<Tally> ledger;
  std::size_t live = 0, peak = 0, bytes = 0, peak_bytes = 0;
};

template <int W, bool T> class RunOf final : public Run {
 public:
  RunOf(const Rules& rules, bool record) : sum_(std::make_unique<Propagation<W, T>>(rules, record)), record_(record) {}
  void propagate(const Observable& o, const Rotations& r, const Channels& c, int threads, const std::function<void()>& pause) override {
    sum_->run(o.x, o.z, o.coefficient, o.terms, r.x, r.z, r.factor, r.stages, c, threads, pause);
    ledger = sum_->ledger;
    live = sum_->live(); peak = sum_->peak; bytes = sum_->bytes(); peak_bytes = sum_->peak_bytes;
  }
  double value(const double* bloch, int n, int threads, bool forget) override {
    const double v = sum_->value(bloch, n, threads);
    if (record_ && forget) {
      kept_ = std::move(sum_->graph);
      sum_.reset();
      kept_.seal();
      graph = &kept_;
    } else if (record_) {
      graph = &sum_->graph;
    }
    return v;
  }

 private:
  std::unique_ptr<Propagation<W, T>> sum_;
  Graph kept_;
  bool record_;
};

template <int W> std::unique_ptr<Run> made(const Rules& rules, bool tangents, bool record) {
  if (tangents) return std::make_unique<RunOf<W, true>>(rules, record);
  return std::make_unique<RunOf<W, false>>(rules, record);
}

template <class F> auto for_width(int w, F f) {
  switch (w) {
    case 1: return f(std::integral_constant<int, 1>{});
    case 2: return f(std::integral_constant<int, 2>{});
    case 4: return f(std::integral_constant<int, 4>{});
    case 8: return f(std::integral_constant<int, 8>{});
    default: return f(std::integral_constant<int, 16>{});
  }
}

Rules rules_of(const nb::dict& d) {
  Rules r;
  r.least = nb::cast<double>(d["least"]);
  r.by_tangent = nb::cast<bool>(d["by_tangent"]);
  r.least_branch = nb::cast<double>(d["least_branch"]);
  r.keep_zeros = nb::cast<bool>(d["keep_zeros"]);
  r.most_terms = nb::cast<std::size_t>(d["most_terms"]);
  r.most_weight = nb::cast<int>(d["most_weight"]);
  r.keep_diagonal = nb::cast<bool>(d["keep_diagonal"]);
  r.roulette = nb::cast<double>(d["roulette"]);
  r.seed = nb::cast<std::uint64_t>(d["seed"]);
  r.most_bytes = nb::cast<std::size_t>(d["most_bytes"]);
  return r;
}

// A run, or (stage, terms, bytes) where memory ended it.
nb::object propagate(nb::handle ox, nb::handle oz, nb::handle coefficient, nb::handle px, nb::handle pz, nb::handle factor, nb::handle channels, const nb::dict& rules,
                     bool tangents, bool record, int threads) {
  const auto c = nb::cast<In<double>>(coefficient);
  const auto p = nb::cast<In<Word>>(px);
  const Observable o{words(ox), words(oz), c.data(), c.size()};
  const Rotations r{p.data(), words(pz), reinterpret_cast<const Factor*>(data(factor)), static_cast<int>(p.shape(0))};
  // kind, first_string, x, z, first, table
  const auto made_of = nb::cast<nb::tuple>(channels);
  const auto table = nb::cast<In<double>>(made_of[5]);
  const Channels between{nb::cast<In<std::int32_t>>(made_of[0]).data(), nb::cast<In<std::int64_t>>(made_of[1]).data(), nb::cast<In<std::int64_t>>(made_of[4]).data(),
                         words(made_of[2]), words(made_of[3]), table.data(), table.size()};
  std::unique_ptr<Run> run = for_width(static_cast<int>(p.shape(1)), [&](auto w) { return made<w.value>(rules_of(rules), tangents, record); });
  try {
    unlocked([&] { run->propagate(o, r, between, threads, signal_check()); });
  } catch (const OutOfMemory& e) {
    return nb::make_tuple(e.stage, e.terms, e.bytes);
  }
  return nb::cast(run.release(), nb::rv_policy::take_ownership);
}

// Rows of coefficients (B, terms) and factors (B, M, 2): values (B), gradients (B, M), ledgers (B, stages, 4) and posteriors
// (B, M), each but the first may be None.
void replay(Run& run, nb::handle coefficients, nb::handle factors, nb::handle values, nb::handle gradients, nb::handle ledgers, nb::handle posteriors, int threads) {
  const auto f = nb::cast<In<double>>(factors);
  const auto c = nb::cast<In<double>>(coefficients);
  const std::size_t rows = f.shape(0), stages = f.shape(1), terms = c.shape(1);
  const auto* const factor = reinterpret_cast<const Factor*>(f.data());
  double *const v = pointer(values), *const g = pointer(gradients), *const l = pointer(ledgers), *const p = pointer(posteriors);
  const bool outer = threads > 1 && rows >= static_cast<std::size_t>(threads);
  unlocked([&] {
    const auto one = [&](std::size_t i, int inner, const std::function<void()>& pause) {
      auto w = run.works.take();
      v[i] = run.graph->replay(*w, c.data() + i * terms, factor + i * stages, g ? g + i * stages : nullptr, l ? reinterpret_cast<Tally*>(l + 4 * i * stages) : nullptr,
                               p ? p + i * stages : nullptr, inner, pause);
      run.works.give(std::move(w));
    };
    if (outer) {
      const Lease lease(threads);
      share(lease.pool(), static_cast<std::uint32_t>(rows), [&](std::uint32_t i, int) { one(i, 1, nullptr); });
    } else {
      const auto pause = signal_check();
      for (std::size_t i = 0; i < rows; ++i) one(i, threads, pause);
    }
  });
}

}  // namespace
}  // namespace qp

NB_MODULE(QP_MODULE, m) {
  using namespace qp;
  nb::set_leak_warnings(false);
  m.attr("vector_bytes") = QP_VECTOR_BYTES;
  handle_forks();
  nb::class_<Run>(m, "Run")
      .def("value", [](Run& r, nb::handle bloch, int threads, bool forget) {
        const auto b = nb::cast<In<double>>(bloch);
        double v = 0;
        unlocked([&] { v = r.value(b.data(), static_cast<int>(b.shape(0)), threads, forget); });
        return v;
      })
      .def("ledger", [](const Run& r, nb::handle out) { std::copy(r.ledger.begin(), r.ledger.end(), reinterpret_cast<Tally*>(pointer(out))); })
      .def("replay", &replay, nb::arg("coefficients"), nb::arg("factors"), nb::arg("values"), nb::arg("gradients").none(), nb::arg("ledgers").none(), nb::arg("posteriors").none(), nb::arg("threads"))
      .def_ro("terms", &Run::live).def_ro("peak", &Run::peak).def_ro("bytes", &Run::bytes).def_ro("peak_bytes", &Run::peak_bytes)
      .def_prop_ro("graph_bytes", [](const Run& r) { return r.graph ? r.graph->bytes() : 0; })
      .def_prop_ro("graph_entries", [](const Run& r) { return nb::make_tuple(r.graph ? r.graph->entries(false) : 0, r.graph ? r.graph->entries(true) : 0); });
  m.def("propagate", &propagate);
  m.def("random_paths", [](nb::handle ox, nb::handle oz, nb::handle px, nb::handle pz, int most_weight, bool keep_diagonal, nb::handle bloch, std::size_t paths,
                           std::uint64_t seed, nb::handle sums) {
    const auto p = nb::cast<In<Word>>(px);
    const int stages = static_cast<int>(p.shape(0));
    const Word *const a = words(ox), *const b = words(oz), *const c = words(pz);
    const double* const r = data(bloch);
    double* const out = pointer(sums);
    unlocked([&] {
      for_width(static_cast<int>(p.shape(1)), [&](auto w) { random_paths<w.value>(a, b, p.data(), c, stages, most_weight, keep_diagonal, r, paths, seed, out); });
    });
  });
}
