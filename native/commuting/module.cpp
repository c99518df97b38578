// The Python module of one instruction set: thin bindings, no arithmetic.  Arguments are checked in Python.
#include "../python.hpp"
#include "exact.hpp"

namespace qp {

namespace {

Lists lists(nb::handle ptr, nb::handle item) {
  const auto p = nb::cast<In<std::int64_t>>(ptr);
  return {p.data(), nb::cast<In<std::int32_t>>(item).data(), static_cast<int>(p.size()) - 1};
}
const double* given(nb::handle h) { return h.is_none() ? nullptr : data(h); }

template <class R> void bind(nb::module_& m, const char* name) {
  using F = Fields<R>;
  nb::class_<F>(m, name)
      .def(nb::init<>())
      .def("build", [](F& f, nb::handle single, nb::handle pair, nb::handle ptr, nb::handle item, nb::handle angles, nb::handle bits, int threads) {
        const auto b = nb::cast<In<std::uint8_t>>(bits);
        const Lists gates = lists(ptr, item);
        const double *const one = data(single), *const two = given(pair), *const rest = data(angles);
        unlocked([&] { f.build(static_cast<int>(b.shape(0)), one, two, gates, rest, b.data(), static_cast<int>(b.shape(1)), threads, signal_check()); });
      }, nb::arg("single"), nb::arg("pair").none(), nb::arg("ptr"), nb::arg("item"), nb::arg("angles"), nb::arg("bits"), nb::arg("threads"))
      .def("means", [](F& f, nb::handle ptr, nb::handle item, nb::handle mean, nb::handle square) {
        const Lists obs = lists(ptr, item);
        double *const a = pointer(mean), *const b = pointer(square);
        unlocked([&] { f.means(obs, a, b, signal_check()); });
      })
      .def("start_pull", &F::start_pull)
      .def("pull", [](F& f, nb::handle by_mean, nb::handle by_square) {
        const double *const a = data(by_mean), *const b = data(by_square);
        unlocked([&] { f.pull(a, b, signal_check()); });
      })
      .def("gradient", [](F& f, nb::handle d_single, nb::handle d_pair, nb::handle d_angles) {
        double *const a = pointer(d_single), *const b = pointer(d_pair), *const c = pointer(d_angles);
        unlocked([&] { f.gradient(a, b, c, signal_check()); });
      }, nb::arg("d_single"), nb::arg("d_pair").none(), nb::arg("d_angles"))
      .def_prop_ro("bytes", &F::bytes);
}

template <class R> void exact(nb::handle single, nb::handle pair, nb::handle ptr, nb::handle item, nb::handle values, nb::handle slope, nb::handle curve,
                              nb::handle d_single, nb::handle d_pair, int threads) {
  const int n = static_cast<int>(nb::cast<In<double>>(single).size());
  const Lists obs = lists(ptr, item);
  const double *const one = data(single), *const two = data(pair), *const by = given(slope), *const twice = given(curve);
  double *const v = pointer(values), *const d1 = pointer(d_single), *const d2 = pointer(d_pair);
  unlocked([&] { Exact<R>::run(n, one, two, obs, v, by, twice, d1, d2, threads, signal_check()); });
}

// matrix[first, second] and [second, first] get `values` added; and back: values = matrix[first, second] + matrix[second, first].
template <bool Back> void pairs(nb::handle first, nb::handle second, nb::handle a, nb::handle b) {
  const auto i = nb::cast<In<std::int32_t>>(first), j = nb::cast<In<std::int32_t>>(second);
  const auto m = nb::cast<In<double>>(Back ? a : b);
  const std::size_t n = m.shape(0), count = i.size();
  const std::int32_t *const p = i.data(), *const q = j.data();
  if constexpr (Back) {
    double* const out = pointer(b);
    for (std::size_t k = 0; k < count; ++k) out[k] = m.data()[p[k] * n + q[k]] + m.data()[q[k] * n + p[k]];
  } else {
    const double* const in = data(a);
    double* const out = pointer(b);
    for (std::size_t k = 0; k < count; ++k) {
      out[p[k] * n + q[k]] += in[k];
      out[q[k] * n + p[k]] += in[k];
    }
  }
}

// Means over data of (-1)^(sum of the bits in a subset): rows of words (n, words) hold one bit a sample, 0 beyond the last.
void parities(nb::handle ptr, nb::handle item, nb::handle table, std::size_t samples, nb::handle means) {
  const Lists subsets = lists(ptr, item);
  const auto t = nb::cast<In<std::uint64_t>>(table);
  const std::size_t words = t.shape(1);
  double* const out = pointer(means);
  unlocked([&] {
    std::vector<std::uint64_t> sum(words);
    for (int k = 0; k < subsets.count; ++k) {
      std::fill(sum.begin(), sum.end(), 0);
      for (int i = 0; i < subsets.size(k); ++i) {
        const std::uint64_t* const row = t.data() + static_cast<std::size_t>(subsets.of(k)[i]) * words;
        for (std::size_t w = 0; w < words; ++w) sum[w] ^= row[w];
      }
      std::size_t odd = 0;
      for (std::size_t w = 0; w < words; ++w) odd += static_cast<std::size_t>(__builtin_popcountll(sum[w]));
      out[k] = 1.0 - 2.0 * static_cast<double>(odd) / static_cast<double>(samples);
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
  bind<double>(m, "Double");
  bind<float>(m, "Single");
  m.def("parities", &parities);
  m.def("spread", &pairs<false>);
  m.def("collect", &pairs<true>);
  const auto arguments = [&](auto name, auto f) {
    m.def(name, f, nb::arg("single"), nb::arg("pair"), nb::arg("ptr"), nb::arg("item"), nb::arg("values"), nb::arg("slope").none(), nb::arg("curve").none(),
          nb::arg("d_single").none(), nb::arg("d_pair").none(), nb::arg("threads"));
  };
  arguments("exact_double", &exact<double>);
  arguments("exact_single", &exact<float>);
}
