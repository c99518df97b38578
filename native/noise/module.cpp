// The Python module of one instruction set: thin bindings, no arithmetic.  Arguments are checked in Python.
#include "../python.hpp"
#include "evaluate.hpp"

namespace qp {

namespace {

template <class T> List<T> list(const nb::dict& d, const char* name) {
  const auto a = nb::cast<In<T>>(d[name]);
  return List<T>(a.data(), a.data() + a.size());
}

List<Mask> masks(const nb::dict& d, const char* x, const char* z) {
  const auto a = list<Mask>(d, x), b = list<Mask>(d, z);
  List<Mask> out;
  for (std::size_t i = 0; i < a.size(); ++i) out.push_back(interleaved(a[i], b[i]));
  return out;
}

Evaluator* made(const nb::dict& d) {
  Description out;
  out.n = nb::cast<int>(d["n"]);
  out.dimension = nb::cast<int>(d["dimension"]);
  out.most_diagonals = nb::cast<int>(d["most_diagonals"]);
  out.turns = masks(d, "x", "z");
  Channels& c = out.channels;
  c.after = list<std::int32_t>(d, "after");
  c.affine = list<std::uint8_t>(d, "affine");
  c.string_ptr = list<std::int32_t>(d, "string_ptr");
  c.coefficient = list<std::int32_t>(d, "coefficient");
  c.strings = masks(d, "string_x", "string_z");
  c.key = list<std::int32_t>(d, "key");
  c.sign = list<std::int8_t>(d, "sign");
  c.wanted = list<std::uint8_t>(d, "wanted");
  return new Evaluator(std::move(out), nb::cast<std::size_t>(d["most_kept"]));
}

// Rows of angles (1 or B, M), coefficients (1 or B, C) and weights (1 or B, T): the start is bloch (rows, n, 3) or whole vectors (rows, 4^n).
void run(const Evaluator& e, std::size_t batch, nb::handle angles, nb::handle coefficients, nb::handle bloch, nb::handle start, nb::handle string_x,
         nb::handle string_z, nb::handle weights, int threads, nb::handle values, nb::handle d_angles, nb::handle d_coefficients, nb::handle adjoint) {
  Request req;
  const auto take = [](nb::handle h, std::size_t& rows) -> const double* {
    if (h.is_none()) return nullptr;
    const auto a = nb::cast<In<double>>(h);
    rows = a.shape(0);
    return a.data();
  };
  req.batch = batch;
  req.angles = take(angles, req.n_angles);
  req.coefficients = take(coefficients, req.n_coefficients);
  req.bloch = take(bloch, req.n_bloch);
  req.start = take(start, req.n_start);
  req.weights = take(weights, req.n_weights);
  const auto x = nb::cast<In<Mask>>(string_x), z = nb::cast<In<Mask>>(string_z);
  List<Mask> strings;
  for (std::size_t i = 0; i < x.size(); ++i) strings.push_back(interleaved(x.data()[i], z.data()[i]));
  req.n_strings = strings.size();
  req.strings = strings.data();
  const Output out{pointer(values), pointer(d_angles), pointer(d_coefficients), pointer(adjoint)};
  unlocked([&] { e.run(req, out, threads, signal_check()); });
}

}  // namespace
}  // namespace qp

NB_MODULE(QP_MODULE, m) {
  using namespace qp;
  nb::set_leak_warnings(false);
  m.attr("vector_bytes") = QP_VECTOR_BYTES;
  handle_forks();
  nb::class_<Evaluator>(m, "Evaluator")
      .def("run", &run, nb::arg("batch"), nb::arg("angles"), nb::arg("coefficients"), nb::arg("bloch").none(), nb::arg("start").none(), nb::arg("string_x"),
           nb::arg("string_z"), nb::arg("weights").none(), nb::arg("threads"), nb::arg("values").none(), nb::arg("d_angles").none(),
           nb::arg("d_coefficients").none(), nb::arg("adjoint").none())
      .def_prop_ro("vector_bytes", &Evaluator::vector_bytes)
      .def_prop_ro("kept", &Evaluator::kept)
      .def_prop_ro("runs", [](const Evaluator& e) {  // (operations, of which diagonal stages, dimensions) of each
        nb::list out;
        for (const Run& r : e.plan().runs) out.append(nb::make_tuple(r.ops.size(), r.n_diagonals, r.space.b));
        return out;
      });
  m.def("evaluator", &made, nb::rv_policy::take_ownership);
}
