// Models that reach few basis states: exact adjoint differentiation on those alone (planned by simulate/support.py).
//
// The circuit is a list of steps.  A step turns disjoint pairs (a, b) of amplitudes by one angle h = f u / 2, u the value of
// its driver; derivatives with respect to u are f Im<lambda|G/f|psi>:
//   real       psi_a' = c psi_a - s psi_b,    psi_b' = c psi_b + s psi_a       Re(conj(lambda_b) psi_a - conj(lambda_a) psi_b)
//   imaginary  psi_a' = c psi_a - i s psi_b,  psi_b' = c psi_b - i s psi_a     Im(conj(lambda_b) psi_a + conj(lambda_a) psi_b)
//   diagonal   psi_a' = (c - i s) psi_a,  a = b                                Im(conj(lambda_a) psi_a)
// psi and lambda stand side by side, (psi, lambda) or (Re psi, Im psi, Re lambda, Im lambda), so that one short vector holds
// all that a pair's member needs: one load and one store a member.  Measured backwards, AVX-512, double, 16 pairs a step:
// 1.0 ns a pair like this, 3.0 with gathers and scatters of full vectors, 0.84 if all pairs were contiguous runs (0.5 at 60
// pairs), which no ordering of a support gives to more than some steps.
#pragma once

#include "evaluate.hpp"

#pragma GCC diagnostic ignored "-Wpsabi"  // vectors wider than a register are only passed to inlined functions

namespace qp {

enum StepKind : std::int32_t { kRealPairs, kImaginaryPairs, kDiagonal };

struct SupportDescription {
  Description polynomials;           // of the drivers: n_params, n_inputs, mono*, var*
  std::size_t n_states = 0;
  bool real = true;                  // psi stays real; then all steps are of kind kRealPairs and imaginary parts are zero
  List<double> start;                // one number an amplitude if real, else two
  List<std::int32_t> step_driver, step_kind;
  List<double> step_f;
  List<std::int64_t> step_ptr;
  List<std::int32_t> pair;           // two positions a pair
  List<std::int64_t> row_ptr;        // (observables, n_states + 1)
  List<std::int32_t> column;
  List<double> entry;                // like start
};

// N numbers, as one short vector.
template <class R, int N> struct Few { typedef R type __attribute__((vector_size(sizeof(R) * N))); };
template <class R> struct Few<R, 1> { using type = R; };
template <class R, int N> using Amplitude = typename Few<R, N>::type;

template <class A> QP_INLINE A swap_parts(A v) {  // re and im of each complex number
  if constexpr (std::is_floating_point_v<A>) return v;
  else if constexpr (sizeof(v) / sizeof(v[0]) == 2) return __builtin_shufflevector(v, v, 1, 0);
  else return __builtin_shufflevector(v, v, 1, 0, 3, 2);
}

// (0, -sine), alternating signs: multiplied with swapped parts, -i sine times a complex number.
template <class R, class A> QP_INLINE A minus_i(R sine) {
  if constexpr (std::is_floating_point_v<A>) return sine;
  else {
    A v;
    for (std::size_t l = 0; l < sizeof(v) / sizeof(R); ++l) v[l] = l & 1 ? -sine : sine;
    return v;
  }
}

template <int KIND, class R, class A> QP_INLINE void turn(const A& a, const A& b, R c, R s, const A& is, A& to_a, A& to_b) {
  if constexpr (KIND == kRealPairs) { to_a = c * a - s * b; to_b = c * b + s * a; }
  else { to_a = c * a + is * swap_parts(b); to_b = c * b + is * swap_parts(a); }
}

template <int KIND, class R, class A> void turn_forward(const std::int32_t* pair, std::size_t n, R c, R s, A* psi) {
  const A is = minus_i<R, A>(s);
  std::size_t k = 0;
  if constexpr (KIND == kDiagonal) {
    for (; k < n; ++k) { A& a = psi[pair[2 * k]]; a = c * a + is * swap_parts(a); }
    return;
  }
  for (; k + 2 <= n; k += 2) {  // the pairs of a step are disjoint: all loads may come first
    A &a = psi[pair[2 * k]], &b = psi[pair[2 * k + 1]], &p = psi[pair[2 * k + 2]], &q = psi[pair[2 * k + 3]];
    const A va = a, vb = b, vp = p, vq = q;
    turn<KIND>(va, vb, c, s, is, a, b);
    turn<KIND>(vp, vq, c, s, is, p, q);
  }
  for (; k < n; ++k) {
    A &a = psi[pair[2 * k]], &b = psi[pair[2 * k + 1]];
    const A va = a, vb = b;
    turn<KIND>(va, vb, c, s, is, a, b);
  }
}

// Products whose signed sum is a pair's part of the derivative.
template <int KIND, class R, int N> QP_INLINE Amplitude<double, N> overlap(const Amplitude<R, N>& a, const Amplitude<R, N>& b) {
  Amplitude<R, N> other;
  if constexpr (N == 2) other = __builtin_shufflevector(b, b, 1, 0);
  else if constexpr (KIND == kRealPairs) other = __builtin_shufflevector(b, b, 2, 3, 0, 1);
  else other = __builtin_shufflevector(b, b, 3, 2, 1, 0);
  return __builtin_convertvector(a * other, typename Few<double, N>::type);
}

template <int KIND, int N> double signed_sum(const Amplitude<double, N>& v) {
  if constexpr (N == 2) return v[0] - v[1];
  else if constexpr (KIND == kRealPairs) return v[0] + v[1] - v[2] - v[3];
  else if constexpr (KIND == kImaginaryPairs) return v[1] - v[0] + v[2] - v[3];
  else return v[1] - v[0];
}

// Undoes a step on psi and lambda; its derivative is returned.
template <int KIND, class R, int N> double turn_backward(const std::int32_t* pair, std::size_t n, R c, R s, Amplitude<R, N>* state) {
  using A = Amplitude<R, N>;
  s = -s;
  const A is = minus_i<R, A>(s);
  Amplitude<double, N> even{}, odd{};
  std::size_t k = 0;
  if constexpr (KIND == kDiagonal) {
    for (; k < n; ++k) {
      A& a = state[pair[2 * k]];
      const A v = a;
      even += overlap<KIND, R, N>(v, v);
      a = c * v + is * swap_parts(v);
    }
    return signed_sum<KIND, N>(even);
  }
  for (; k + 2 <= n; k += 2) {
    A &a = state[pair[2 * k]], &b = state[pair[2 * k + 1]], &p = state[pair[2 * k + 2]], &q = state[pair[2 * k + 3]];
    const A va = a, vb = b, vp = p, vq = q;
    turn<KIND>(va, vb, c, s, is, a, b);
    turn<KIND>(vp, vq, c, s, is, p, q);
    even += overlap<KIND, R, N>(va, vb);
    odd += overlap<KIND, R, N>(vp, vq);
  }
  for (; k < n; ++k) {
    A &a = state[pair[2 * k]], &b = state[pair[2 * k + 1]];
    const A va = a, vb = b;
    turn<KIND>(va, vb, c, s, is, a, b);
    even += overlap<KIND, R, N>(va, vb);
  }
  return signed_sum<KIND, N>(even + odd);
}

// A sparse matrix times a vector of P numbers an entry: compressed rows, or, where that is real and still fits the cache,
// strips of eight rows by one column, zeros filled in, so that no row is summed over lanes.
template <class R> class SparseMatrix {
 public:
  SparseMatrix(const std::int64_t* row, const std::int32_t* column, const double* entry, std::size_t n, int parts) : n_(n), row_(n + 1) {
    for (std::size_t j = 0; j <= n; ++j) row_[j] = row[j] - row[0];
    const std::size_t entries = row_[n];
    column_.assign(column + row[0], column + row[n]);
    entry_.assign(entry + parts * row[0], entry + parts * row[n]);
    if (parts == 1) fill_strips(entries);
  }

  // to = (or +=) weight M from; `to` has room for rows up to a multiple of eight
  template <int P> void apply(R weight, bool add, const R* from, R* to) const {
    if constexpr (P == 1) {
      if (strip_ptr_.size()) {
        for (std::size_t b = 0; b + 1 < strip_ptr_.size(); ++b) {
          Eight even{}, odd{};
          std::size_t i = strip_ptr_[b];
          for (; i + 2 <= strip_ptr_[b + 1]; i += 2) {
            even += strips_[i] * from[strip_column_[i]];
            odd += strips_[i + 1] * from[strip_column_[i + 1]];
          }
          if (i < strip_ptr_[b + 1]) even += strips_[i] * from[strip_column_[i]];
          even = weight * (even + odd);
          Eight before{};
          if (add) std::memcpy(&before, to + 8 * b, sizeof before);
          even += before;
          std::memcpy(to + 8 * b, &even, sizeof even);
        }
        return;
      }
    }
    for (std::size_t j = 0; j < n_; ++j) {
      if constexpr (P == 1) {
        R a = 0, b = 0;
        std::int64_t i = row_[j];
        for (; i + 2 <= row_[j + 1]; i += 2) {
          a += entry_[i] * from[column_[i]];
          b += entry_[i + 1] * from[column_[i + 1]];
        }
        if (i < row_[j + 1]) a += entry_[i] * from[column_[i]];
        to[j] = (add ? to[j] : R(0)) + weight * (a + b);
      } else {
        R re = 0, im = 0;
        for (std::int64_t i = row_[j]; i < row_[j + 1]; ++i) {
          const R* v = from + 2 * static_cast<std::size_t>(column_[i]);
          re += entry_[2 * i] * v[0] - entry_[2 * i + 1] * v[1];
          im += entry_[2 * i] * v[1] + entry_[2 * i + 1] * v[0];
        }
        to[2 * j] = (add ? to[2 * j] : R(0)) + weight * re;
        to[2 * j + 1] = (add ? to[2 * j + 1] : R(0)) + weight * im;
      }
    }
  }

 private:
  using Eight = Amplitude<R, 8>;

  void fill_strips(std::size_t entries) {
    List<std::int32_t> columns;
    List<std::size_t> ptr{0};
    List<std::int32_t> one;
    for (std::size_t first = 0; first < n_; first += 8) {
      one.assign(column_.begin() + row_[first], column_.begin() + row_[std::min(first + 8, n_)]);
      std::sort(one.begin(), one.end());
      one.erase(std::unique(one.begin(), one.end()), one.end());
      columns.insert(columns.end(), one.begin(), one.end());
      ptr.push_back(columns.size());
    }
    const std::size_t bytes = columns.size() * (sizeof(Eight) + sizeof(std::int32_t)), row_bytes = entries * (sizeof(R) + sizeof(std::int32_t));
    if (!entries || bytes > std::max(kCached, row_bytes)) return;
    strips_.reserve(std::max<std::size_t>(columns.size(), 1));
    std::fill(strips_.data(), strips_.data() + columns.size(), Eight{});
    for (std::size_t j = 0; j < n_; ++j)
      for (std::int64_t i = row_[j]; i < row_[j + 1]; ++i) {
        const auto first = columns.begin() + ptr[j / 8], last = columns.begin() + ptr[j / 8 + 1];
        strips_[std::lower_bound(first, last, column_[i]) - columns.begin()][j % 8] += entry_[i];
      }
    strip_ptr_ = std::move(ptr);
    strip_column_ = std::move(columns);
    row_ = {};
    column_ = {};
    entry_ = {};
  }

  static constexpr std::size_t kCached = 384 << 10;  // strips beyond this are slower than rows

  std::size_t n_;
  List<std::int64_t> row_;
  List<std::int32_t> column_;
  List<R> entry_;
  List<std::size_t> strip_ptr_;
  List<std::int32_t> strip_column_;
  Array<Eight> strips_;
};

template <class R> class SupportEvaluator {
 public:
  explicit SupportEvaluator(SupportDescription d) : d_(std::move(d)), start_(d_.start.begin(), d_.start.end()) {
    for (std::size_t first = 0; first < d_.row_ptr.size(); first += d_.n_states + 1)
      observables_.emplace_back(d_.row_ptr.data() + first, d_.column.data(), d_.entry.data(), d_.n_states, d_.real ? 1 : 2);
    d_.start = {};
    d_.row_ptr = {};
    d_.column = {};
    d_.entry = {};
  }

  void evaluate(const Request& req, Output& out, Kept<R>* keep, bool resume, const std::function<void()>& check) {
    d_.real ? samples<1>(req, out, keep, resume, check) : samples<2>(req, out, keep, resume, check);
  }

 private:
  struct Space {
    Array<R> psi, image, both;  // psi, O psi, and psi with lambda side by side
    Array<double> half, sine, cosine, driver, d_driver;
  };

  // P numbers make an amplitude: 1 (real) or 2.
  template <int P> void samples(const Request& req, Output& out, Kept<R>* keep, bool resume, const std::function<void()>& check) {
    if (keep && !resume) keep->states.resize(req.batch);
    const std::size_t n_params = d_.polynomials.n_params;
    const bool sum = out.sum_theta && out.d_theta;
    const std::uint32_t groups = static_cast<std::uint32_t>(std::min<std::size_t>(req.batch, 64));
    List<double> partial(sum ? groups * n_params : 0, 0.0);
    spread_groups(req.threads, groups, true, [&](std::uint32_t group, int worker, Pool*) {
      FlushSubnormals flush;
      std::unique_ptr<Space> space = spaces_.take();
      for (std::size_t s = req.batch * group / groups; s < req.batch * (group + 1) / groups; ++s)
        sample<P>(req, out, keep, resume, s, *space, sum ? partial.data() + group * n_params : nullptr, worker ? nullptr : &check);
      spaces_.give(std::move(space));
    });
    if (sum)
      for (std::size_t i = 0; i < n_params; ++i) {
        out.d_theta[i] = 0;
        for (std::uint32_t g = 0; g < groups; ++g) out.d_theta[i] += partial[g * n_params + i];
      }
  }

  template <int P> void sample(const Request& req, Output& out, Kept<R>* keep, bool resume, std::size_t s, Space& space, double* sum_theta,
                               const std::function<void()>* check) {
    const std::size_t S = d_.n_states, K = observables_.size();
    const double* theta = req.theta + (req.n_theta == 1 ? 0 : s) * d_.polynomials.n_params;
    const double* x = req.x + (req.n_x == 1 ? 0 : s) * d_.polynomials.n_inputs;
    space.psi.reserve(P * S);
    space.image.reserve(P * S + 8);
    space.both.reserve(2 * P * S);
    angles(theta, x, space);
    auto* psi = reinterpret_cast<Amplitude<R, P>*>(space.psi.data());
    if (keep && resume && s < keep->states.size() && keep->states[s].size()) {
      std::memcpy(space.psi.data(), keep->states[s].data(), P * S * sizeof(R));
    } else {
      std::copy(start_.begin(), start_.end(), space.psi.data());
      forward<P>(space, psi, check);
    }
    if (keep && !resume) {
      keep->states[s].reserve((P * S * sizeof(R) + sizeof(Vec<R>) - 1) / sizeof(Vec<R>));
      std::memcpy(keep->states[s].data(), space.psi.data(), P * S * sizeof(R));
    }
    R* image = space.image.data();
    if (out.values)
      for (std::size_t k = 0; k < K; ++k) {
        observables_[k].template apply<P>(R(1), false, space.psi.data(), image);
        out.values[s * K + k] = dot(space.psi.data(), image, P * S);
      }
    if (!out.d_theta && !out.d_x) return;
    const double* weights = req.weights + (req.n_weights == 1 ? 0 : s) * K;
    bool first = true;
    for (std::size_t k = 0; k < K; ++k)
      if (weights[k] != 0) {
        observables_[k].template apply<P>(static_cast<R>(weights[k]), !first, space.psi.data(), image);
        first = false;
      }
    if (first) std::fill(image, image + P * S, R(0));
    if (out.weighted) out.weighted[s] = dot(space.psi.data(), image, P * S);
    R* both = space.both.data();
    for (std::size_t j = 0; j < S; ++j)
      for (int i = 0; i < P; ++i) { both[2 * P * j + i] = space.psi[P * j + i]; both[2 * P * j + P + i] = image[P * j + i]; }
    backward<P>(space, check);
    pull_back(out, s, theta, x, space.d_driver.data(), sum_theta);
  }

  void angles(const double* theta, const double* x, Space& space) const {
    const Description& d = d_.polynomials;
    const std::size_t n_drivers = d.mono_ptr.size() - 1, n_steps = d_.step_f.size();
    space.driver.reserve(std::max<std::size_t>(n_drivers, 1));
    for (std::size_t k = 0; k < n_drivers; ++k) {
      double u = 0;
      for (int m = d.mono_ptr[k]; m < d.mono_ptr[k + 1]; ++m) u += monomial(d, m, theta, x);
      space.driver[k] = u;
    }
    for (auto* a : {&space.half, &space.sine, &space.cosine}) a->reserve(std::max<std::size_t>(n_steps, 1));
    double *half = space.half.data(), *sine = space.sine.data(), *cosine = space.cosine.data();
    for (std::size_t k = 0; k < n_steps; ++k) {
      half[k] = 0.5 * d_.step_f[k] * space.driver[d_.step_driver[k]];
    }
    for (std::size_t k = 0; k < n_steps; ++k) {
      const Reduced r = reduced_sincos(half[k]);
      const double sign = r.quarter & 2 ? -1.0 : 1.0;
      sine[k] = sign * (r.quarter & 1 ? r.cos : r.sin);
      cosine[k] = sign * (r.quarter & 1 ? -r.sin : r.cos);
    }
  }

  template <int P> void forward(const Space& space, Amplitude<R, P>* psi, const std::function<void()>* check) const {
    std::int64_t work = 0;
    for (std::size_t k = 0; k < d_.step_f.size(); ++k) {
      const std::int32_t* pair = d_.pair.data() + 2 * d_.step_ptr[k];
      const std::size_t n = d_.step_ptr[k + 1] - d_.step_ptr[k];
      const R c = static_cast<R>(space.cosine[k]), s = static_cast<R>(space.sine[k]);
      if (P == 1 || d_.step_kind[k] == kRealPairs) turn_forward<kRealPairs>(pair, n, c, s, psi);
      else if (d_.step_kind[k] == kImaginaryPairs) turn_forward<kImaginaryPairs>(pair, n, c, s, psi);
      else turn_forward<kDiagonal>(pair, n, c, s, psi);
      if ((work += n) > kOften) { work = 0; if (check && *check) (*check)(); }
    }
  }

  template <int P> void backward(Space& space, const std::function<void()>* check) const {
    const std::size_t n_drivers = d_.polynomials.mono_ptr.size() - 1;
    space.d_driver.reserve(std::max<std::size_t>(n_drivers, 1));
    std::fill(space.d_driver.data(), space.d_driver.data() + n_drivers, 0.0);
    auto* state = reinterpret_cast<Amplitude<R, 2 * P>*>(space.both.data());
    std::int64_t work = 0;
    for (std::size_t k = d_.step_f.size(); k-- > 0;) {
      const std::int32_t* pair = d_.pair.data() + 2 * d_.step_ptr[k];
      const std::size_t n = d_.step_ptr[k + 1] - d_.step_ptr[k];
      const R c = static_cast<R>(space.cosine[k]), s = static_cast<R>(space.sine[k]);
      double g;
      if (P == 1 || d_.step_kind[k] == kRealPairs) g = turn_backward<kRealPairs, R, 2 * P>(pair, n, c, s, state);
      else if constexpr (P == 1) g = 0;
      else if (d_.step_kind[k] == kImaginaryPairs) g = turn_backward<kImaginaryPairs, R, 2 * P>(pair, n, c, s, state);
      else g = turn_backward<kDiagonal, R, 2 * P>(pair, n, c, s, state);
      space.d_driver[d_.step_driver[k]] += d_.step_f[k] * g;
      if ((work += n) > kOften) { work = 0; if (check && *check) (*check)(); }
    }
  }

  static double dot(const R* a, const R* b, std::size_t n) {  // Re<a|b>
    double sum[8] = {};
    std::size_t j = 0;
    for (; j + 8 <= n; j += 8)
      for (int l = 0; l < 8; ++l) sum[l] += static_cast<double>(a[j + l]) * static_cast<double>(b[j + l]);
    for (; j < n; ++j) sum[0] += static_cast<double>(a[j]) * static_cast<double>(b[j]);
    return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
  }

  // Chain rule from drivers to parameters and inputs.
  void pull_back(Output& out, std::size_t s, const double* theta, const double* x, const double* d_driver, double* sum_theta) const {
    const Description& d = d_.polynomials;
    const std::size_t n_params = d.n_params, n_inputs = d.n_inputs;
    double* to_theta = sum_theta ? sum_theta : out.d_theta ? out.d_theta + s * n_params : nullptr;
    double* to_x = out.d_x ? out.d_x + s * n_inputs : nullptr;
    if (to_theta && !sum_theta) std::fill(to_theta, to_theta + n_params, 0.0);
    if (to_x) std::fill(to_x, to_x + n_inputs, 0.0);
    for (std::size_t k = 0; k + 1 < d.mono_ptr.size(); ++k)
      for (int m = d.mono_ptr[k]; m < d.mono_ptr[k + 1]; ++m)
        for (int i = d.var_ptr[m]; i < d.var_ptr[m + 1]; ++i) {
          const std::size_t var = d.var[i];
          double* to = var < n_params ? to_theta : to_x;
          if (to) to[var < n_params ? var : var - n_params] += d_driver[k] * monomial(d, m, theta, x, i);
        }
  }

  static constexpr std::int64_t kOften = 1 << 20;  // pairs between looks at Ctrl-C

  SupportDescription d_;
  List<R> start_;
  List<SparseMatrix<R>> observables_;
  Store<Space> spaces_;
};

}  // namespace qp
