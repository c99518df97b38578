// From parameters and inputs to the coefficients of every rotation, and back from angle derivatives to parameters.
#pragma once

#include <array>
#include <cmath>

#include "../memory.hpp"
#include "plan.hpp"

namespace qp {

struct Frame { Mask x = 0, z = 0; };  // a Pauli string, up to its phase

// Values of the drivers for `columns` samples (1, or one a lane), half-angles reduced to |h| <= pi/4, and the Pauli frame:
// a rotation by h = q pi/2 + r is a Pauli to the power q after a rotation by r.  That Pauli is carried to the end of the
// circuit, where it flips signs of observable terms; on its way it flips the angles of rotations it anticommutes with.
struct Angles {
  int columns = 0;
  Array<double> driver, driver_jet[kMaxOrder];  // [driver][column]; coefficients of t and t^2 along v
  Array<double> sine, cosine;            // [term][column], signed by the frame
  Array<double> jet[kMaxOrder];          // the same of half the angle, signed by the frame
  Array<std::int8_t> flip;               // [term][column] sign of the frame
  Array<std::uint32_t> frame_x, frame_z; // [qubit] bit l: frame of column l (batch)
  Mask frame_x_mask = 0, frame_z_mask = 0;  // the same for one column
  List<Mask> table_frame;                // [use of a table] flips before it (one column)
  Array<double> segment_scale;           // [segment][column]
  Array<double> derivative_scale;        // [term][column]
};

inline double monomial(const Description& d, int m, const double* theta, const double* x, int skip = -1) {
  double v = d.mono[m];
  for (int k = d.var_ptr[m]; k < d.var_ptr[m + 1]; ++k)
    if (k != skip) v *= d.var[k] < d.n_params ? theta[d.var[k]] : x[d.var[k] - d.n_params];
  return v;
}

// Adds a derivative g by a driver to those by its parameters and inputs, either of which may not be wanted (null).
inline void chain_rule(const Description& d, std::size_t driver, double g, const double* theta, const double* x, double* to_theta, double* to_x) {
  for (int m = d.mono_ptr[driver]; m < d.mono_ptr[driver + 1]; ++m)
    for (int i = d.var_ptr[m]; i < d.var_ptr[m + 1]; ++i) {
      const bool param = d.var[i] < d.n_params;
      double* to = param ? to_theta : to_x;
      if (to) to[param ? d.var[i] : d.var[i] - d.n_params] += g * monomial(d, m, theta, x, i);
    }
}

struct Inputs {
  const double* theta[64 / 4];
  const double* x[64 / 4];
  const double* v_theta[64 / 4];
  const double* v_x[64 / 4];
};

// Coefficients of t^0, t, t^2 of a monomial at (theta + t v_theta, x + t v_x), one of its factors possibly left out.
struct Taylor { double of[kMaxOrder + 1] = {}; };
inline Taylor monomial_jet(const Description& d, int m, const Inputs& in, int column, int skip = -1) {
  Taylor p;
  p.of[0] = d.mono[m];
  for (int k = d.var_ptr[m]; k < d.var_ptr[m + 1]; ++k) {
    if (k == skip) continue;
    const bool param = d.var[k] < d.n_params;
    const int i = param ? d.var[k] : d.var[k] - d.n_params;
    const double y = param ? in.theta[column][i] : in.x[column][i], v = param ? in.v_theta[column][i] : in.v_x[column][i];
    for (int j = kMaxOrder; j > 0; --j) p.of[j] = p.of[j] * y + p.of[j - 1] * v;
    p.of[0] *= y;
  }
  return p;
}

// Taylor coefficients of the angles along (v_theta, v_x), at the values that `out` holds.
inline void prepare_jets(const Layout& plan, const Inputs& in, Angles& out) {
  const Description& d = plan.d;
  const std::size_t n_drivers = d.mono_ptr.size() - 1, n_terms = plan.terms.size();
  const int columns = out.columns;
  for (int j = 0; j < plan.order; ++j) {
    out.driver_jet[j].reserve(std::max<std::size_t>(n_drivers * columns, 1));
    out.jet[j].reserve(std::max<std::size_t>(n_terms * columns, 1));
  }
  for (std::size_t k = 0; k < n_drivers; ++k)
    for (int c = 0; c < columns; ++c) {
      Taylor u;
      for (int m = d.mono_ptr[k]; m < d.mono_ptr[k + 1]; ++m) {
        const Taylor p = monomial_jet(d, m, in, c);
        for (int j = 0; j < plan.order; ++j) u.of[j] += p.of[j + 1];
      }
      for (int j = 0; j < plan.order; ++j) out.driver_jet[j][k * columns + c] = u.of[j];
    }
  for (int j = 0; j < plan.order; ++j)
    for (std::size_t k = 0; k < n_terms; ++k)
      for (int c = 0; c < columns; ++c)
        out.jet[j][k * columns + c] = 0.5 * plan.terms[k].coefficient * out.flip[k * columns + c] * out.driver_jet[j][static_cast<std::size_t>(plan.terms[k].driver) * columns + c];
}

// `unwind`: the backward sweep goes all the way to the start of the circuit, read-only passes included.  `before`: the frame of
// what was done before this plan, of one column.
inline void prepare_angles(const Layout& plan, const Inputs& in, int columns, bool unwind, Frame before, Angles& out) {
  const Description& d = plan.d;
  const std::size_t n_drivers = d.mono_ptr.size() - 1, n_terms = plan.terms.size();
  out.columns = columns;
  out.driver.reserve(n_drivers * columns);
  for (std::size_t k = 0; k < n_drivers; ++k)
    for (int c = 0; c < columns; ++c) {
      double u = 0;
      for (int m = d.mono_ptr[k]; m < d.mono_ptr[k + 1]; ++m) u += monomial(d, m, in.theta[c], in.x[c]);
      out.driver[k * columns + c] = u;
    }
  const std::size_t n = n_terms * columns, padded = (n + kAtOnce - 1) / kAtOnce * kAtOnce;
  out.sine.reserve(std::max(padded, kAtOnce));
  out.cosine.reserve(std::max(padded, kAtOnce));
  out.flip.reserve(std::max<std::size_t>(n, 1));
  List<double> half(padded, 0.0);
  List<std::int64_t> quarter(padded), grouped(padded, 0);
  for (std::size_t k = 0; k < n_terms; ++k) {
    const Term& t = plan.terms[k];
    const double by = 0.5 * t.coefficient;
    const double* const driver = out.driver.data() + static_cast<std::size_t>(t.driver) * columns;
    double* const to = half.data() + k * columns;
    for (int c = 0; c < columns; ++c) to[c] = by * driver[c];
    std::fill_n(grouped.data() + k * columns, columns, t.grouped ? -1 : 0);
  }
  reduced_sincos(half.data(), grouped.data(), n, out.sine.data(), out.cosine.data(), quarter.data());
  if (columns == 1) {
    auto [fx, fz] = before;
    out.table_frame.clear();
    for (std::size_t k = 0; k < n_terms; ++k) {
      const Term& t = plan.terms[k];
      if (t.support) out.table_frame.push_back(fx);  // X^f C X^f has C(j xor f)
      // without branches, which would be guessed wrong half the time
      const int flip = 1 - 2 * static_cast<int>(parity((t.x & fz)) ^ parity(t.z & fx));
      out.flip[k] = static_cast<std::int8_t>(flip);
      out.sine[k] *= flip;
      const Mask turn = t.grouped ? 0 : -static_cast<Mask>(quarter[k] & 1);
      fx ^= t.x & turn;
      fz ^= t.z & turn;
    }
    out.frame_x_mask = fx;
    out.frame_z_mask = fz;
  } else {
    const int qubits = plan.n_up + plan.lane_bits;
    out.frame_x.reserve(64);
    out.frame_z.reserve(64);
    std::fill(out.frame_x.data(), out.frame_x.data() + qubits, 0u);
    std::fill(out.frame_z.data(), out.frame_z.data() + qubits, 0u);
    for (std::size_t k = 0; k < n_terms; ++k) {
      const Term& t = plan.terms[k];
      std::uint32_t flips = 0, turn = 0;
      for (Mask m = t.x; m; m &= m - 1) flips ^= out.frame_z[std::countr_zero(m)];
      for (Mask m = t.z; m; m &= m - 1) flips ^= out.frame_x[std::countr_zero(m)];
      std::int8_t* const flip = out.flip.data() + k * columns;
      double* const sine = out.sine.data() + k * columns;
      const std::int64_t* const q = quarter.data() + k * columns;
      for (int c = 0; c < columns; ++c) {
        const int sign = 1 - 2 * static_cast<int>(flips >> c & 1);
        flip[c] = static_cast<std::int8_t>(sign);
        sine[c] *= sign;
      }
      if (!t.grouped) for (int c = 0; c < columns; ++c) turn |= static_cast<std::uint32_t>(q[c] & 1) << c;
      if (turn) {
        for (Mask m = t.x; m; m &= m - 1) out.frame_x[std::countr_zero(m)] ^= turn;
        for (Mask m = t.z; m; m &= m - 1) out.frame_z[std::countr_zero(m)] ^= turn;
      }
    }
  }
  if (plan.order) prepare_jets(plan, in, out);
  // Products of cosines: what a segment lacks in norm, and what a derivative read within it must be multiplied by.
  out.segment_scale.reserve(std::size_t{plan.n_segments} * columns);
  out.derivative_scale.reserve(n_terms * columns);
  double product[64 / 4], grown[64 / 4];  // of the segment; what the backward states lack
  std::fill_n(product, columns, 1.0);
  std::fill_n(grown, columns, 1.0);
  for (std::size_t p = plan.passes.size(); p-- > 0;) {
    const Pass& pass = plan.passes[p];
    if (pass.segment_last) std::fill_n(product, columns, 1.0);
    const bool unrotated = unwind || p >= plan.n_read_only;
    for (std::uint32_t o = pass.n_ops; o-- > 0;) {
      const Op& op = plan.ops[pass.first_op + o];
      for (std::uint32_t k = op.first_term; k < op.first_term + op.n_terms; ++k) {
        double* const scale = out.derivative_scale.data() + std::size_t{k} * columns;
        const double* const cosine = out.cosine.data() + std::size_t{k} * columns;
        for (int c = 0; c < columns; ++c) scale[c] = grown[c] * grown[c];
        if (op.grouped) continue;
        for (int c = 0; c < columns; ++c) product[c] *= cosine[c];
        if (unrotated) for (int c = 0; c < columns; ++c) grown[c] *= cosine[c];
      }
    }
    if (pass.segment_first && unrotated) std::fill_n(grown, columns, 1.0);  // a read-only pass scales nothing back
    if (pass.segment_first)
      for (int c = 0; c < columns; ++c) out.segment_scale[std::size_t{pass.segment} * columns + c] = product[c];
  }
}

// Signs of a z mask on the lanes, (-1)^|z & l|; all 1 in batches, whose lanes are samples.
template <int W> const double* lane_signs(Mask z, int lane_bits) {
  static const auto table = [] {
    std::array<std::array<double, W>, W> t{};
    for (int m = 0; m < W; ++m)
      for (int l = 0; l < W; ++l) t[m][l] = parity(static_cast<Mask>(m & l)) ? -1.0 : 1.0;
    return t;
  }();
  return table[lane_bits ? z & (W - 1) : 0].data();
}

// Signs of a term's D on the lanes.
template <int W> QP_INLINE Doubles<W> signs(const Term& t, int lane_bits) { return Doubles<W>::all(t.sign) * Doubles<W>::load(lane_signs<W>(t.z, lane_bits)); }

// Of a group that one driver turns: the angle by the driver, in lane l of a pattern.
template <int W> double pattern_factor(const Layout& plan, const Op& op, const Angles& a, std::uint32_t pattern, int l) {
  double f = 0, norm = 0;
  for (std::uint32_t k = 0; k < op.n_terms; ++k) {
    const Term& t = plan.terms[op.first_term + k];
    f += (parity(pattern & t.pattern) ? -1 : 1) * t.sign * lane_signs<W>(t.z, plan.lane_bits)[l] * t.coefficient *
         a.flip[(std::size_t{op.first_term} + k) * a.columns + (a.columns == 1 ? 0 : l)];
    norm += std::abs(t.coefficient);
  }
  return std::abs(f) < 1e-12 * norm ? 0 : f;
}

// The vectors of one operation that hold its Taylor coefficients beyond the first.
template <class R> void build_jets(const Layout& plan, const Op& op, const Angles& a, Vec<R>* out) {
  constexpr int W = kWidth<R>;
  const int columns = a.columns, stride = op.tile.stride;
  auto column = [&](int l) { return columns == 1 ? 0 : l; };
  if (!op.grouped) {
    const Term& t = plan.terms[op.first_term];
    const double* sign = lane_signs<W>(t.z, plan.lane_bits);
    for (int j = 0; j < plan.order; ++j) {
      for (int l = 0; l < W; ++l) out[1 + j][l] = static_cast<R>(t.sign * sign[l] * a.jet[j][std::size_t{op.first_term} * columns + column(l)]);
      out[stride + 1 + j] = -out[1 + j];
    }
    return;
  }
  for (int j = 0; j < plan.order; ++j)
   for (std::uint32_t p = 0; p < 1u << op.rank; ++p)
    for (int l = 0; l < W; ++l) {
      double w = 0;
      if (op.shared) {
        w = 0.5 * pattern_factor<W>(plan, op, a, p, l) * a.driver_jet[j][static_cast<std::size_t>(plan.terms[op.first_term].driver) * columns + column(l)];
      } else {
        for (std::uint32_t k = 0; k < op.n_terms; ++k) {
          const Term& t = plan.terms[op.first_term + k];
          w += (p >> k & 1 ? -1 : 1) * t.sign * lane_signs<W>(t.z, plan.lane_bits)[l] * a.jet[j][(std::size_t{op.first_term} + k) * columns + column(l)];
        }
      }
      out[p * stride + 2 + j][l] = static_cast<R>(w);
    }
}

constexpr double kLongAngle = 1024;  // radians, of which a double keeps 13 digits after the point

// The vectors the tiles load.  `active` bits of shared groups are written too, so each set of tables has its own ops.
template <class R> void build_tables(const Layout& plan, const Angles& a, List<TileOp>& tile_ops, Array<Vec<R>>& tables, Array<Vec<R>>& scales) {
  constexpr int W = kWidth<R>;
  const int columns = a.columns;
  tables.reserve(std::max<std::size_t>(plan.table_size, 1));
  scales.reserve(std::max<std::size_t>(plan.n_segments, 1));
  tile_ops = plan.tile_ops;
  auto column = [&](int l) { return columns == 1 ? 0 : l; };
  for (std::size_t o = 0; o < plan.ops.size(); ++o) {
    const Op& op = plan.ops[o];
    if (op.phases >= 0) continue;
    Vec<R>* out = tables.data() + op.tile.table;
    const int stride = op.tile.stride;
    if (!op.grouped) {
      const Term& t = plan.terms[op.first_term];
      const std::size_t at = std::size_t{op.first_term} * columns;
      const auto tangent = signs<W>(t, plan.lane_bits) * (spread<W>(&a.sine[at], columns) / spread<W>(&a.cosine[at], columns));
      tangent.template store<R>(out[0]);
      (Doubles<W>::all(0) - tangent).template store<R>(out[stride]);
    } else if (!op.shared) {
      // product over terms of cos - i sign sin, doubling the table with each
      Doubles<W> re[1 << kMaxGroup], im[1 << kMaxGroup];
      re[0] = Doubles<W>::all(1);
      im[0] = Doubles<W>::all(0);
      for (std::uint32_t k = 0; k < op.n_terms; ++k) {
        const Term& t = plan.terms[op.first_term + k];
        const std::size_t at = (std::size_t{op.first_term} + k) * columns;
        const Doubles<W> co = spread<W>(&a.cosine[at], columns);
        const Doubles<W> si = signs<W>(t, plan.lane_bits) * spread<W>(&a.sine[at], columns);
        for (std::uint32_t p = 0; p < (1u << k); ++p) {
          const Doubles<W> rc = re[p] * co, rs = re[p] * si, ic = im[p] * co, is = im[p] * si;
          re[p] = rc - is; im[p] = rs + ic;
          re[p | 1u << k] = rc + is; im[p | 1u << k] = ic - rs;
        }
      }
      for (std::uint32_t p = 0; p < 1u << op.rank; ++p) {
        re[p].template store<R>(out[p * stride]);
        im[p].template store<R>(out[p * stride + 1]);
      }
    } else {
      const std::uint32_t patterns = 1u << op.rank;
      const std::size_t driver = static_cast<std::size_t>(plan.terms[op.first_term].driver) * columns;
      std::uint64_t active = 0;
      double op_size = 0;
      for (std::uint32_t k = 0; k < op.n_terms; ++k) op_size += std::abs(plan.terms[op.first_term + k].coefficient);
      for (std::uint32_t p = 0; p < patterns; ++p)
        for (int l = 0; l < W; ++l) {
          const int c = column(l);
          const double f = pattern_factor<W>(plan, op, a, p, l), u = a.driver[driver + c];
          double s, co;
          if (std::abs(u) * op_size <= kLongAngle) {
            const Reduced r = reduced_sincos(0.5 * f * u);
            s = r.sin, co = r.cos;
            if (r.quarter & 1) { const double keep = s; s = co; co = -keep; }
            if (r.quarter & 2) { s = -s; co = -co; }
            if (f != 0) active |= std::uint64_t{1} << p;
          } else {  // f u rounds to a multiple of turns: each term by its own angle instead
            s = 0, co = 1;
            for (std::uint32_t k = 0; k < op.n_terms; ++k) {
              const Term& t = plan.terms[op.first_term + k];
              const std::size_t at = (std::size_t{op.first_term} + k) * columns + c;
              const double sk = (parity(p & t.pattern) ? -1 : 1) * t.sign * lane_signs<W>(t.z, plan.lane_bits)[l] * a.sine[at];
              const double turned = co * a.cosine[at] - s * sk;
              s = s * a.cosine[at] + co * sk;
              co = turned;
            }
            active |= std::uint64_t{1} << p;
          }
          out[p * stride][l] = static_cast<R>(co);
          out[p * stride + 1][l] = static_cast<R>(s);
        }
      tile_ops[o].active = active;
    }
    if (plan.order) build_jets<R>(plan, op, a, out);
  }
  for (std::uint32_t s = 0; s < plan.n_segments; ++s)
    for (int l = 0; l < W; ++l) scales[s][l] = static_cast<R>(a.segment_scale[std::size_t{s} * columns + column(l)]);
}

// d value / d driver of one run from its accumulators (doubles, [accumulator][lane]), added to out[driver]
// (batches: [driver][lane]).
template <int W> void collect_derivatives(const Layout& plan, const Run& run, const Angles& a, const double* acc, int slot, double* out) {
  const int columns = a.columns;
  const bool batch = plan.lane_bits == 0;
  const int slots = 1 + plan.order;
  auto column = [&](int l) { return columns == 1 ? 0 : l; };
  for (std::uint32_t p = run.first_pass; p < run.first_pass + run.n_passes; ++p)
    for (std::uint32_t o = plan.passes[p].first_op; o < plan.passes[p].first_op + plan.passes[p].n_ops; ++o) {
      const Op& op = plan.ops[o];
      const double* w = acc + (std::size_t{op.tile.accumulator} + slot) * W;
      const std::uint32_t patterns = 1u << op.rank;
      for (std::uint32_t k = 0; k < op.n_terms; ++k) {
        const Term& t = plan.terms[op.first_term + k];
        const std::size_t at = (std::size_t{op.first_term} + k) * columns;
        auto g = Doubles<W>::all(0);
        for (std::uint32_t q = 0; q < patterns; ++q) {
          const auto from = Doubles<W>::load(w + std::size_t{q} * slots * W);
          g = parity(q & t.pattern) ? g - from : g + from;
        }
        const double factor = t.sign * t.coefficient;
        if (batch) {
          for (int l = 0; l < W; ++l) out[static_cast<std::size_t>(t.driver) * W + l] += g[l] * factor * a.flip[at + column(l)] * a.derivative_scale[at + column(l)];
        } else {
          double total = 0;
          g = g * Doubles<W>::load(lane_signs<W>(t.z, plan.lane_bits));
          for (int l = 0; l < W; ++l) total += g[l];
          out[t.driver] += total * factor * a.flip[at] * a.derivative_scale[at];
        }
      }
    }
}

}  // namespace qp
