// Evaluation of a compiled model on a batch: values, gradients, Hessian-vector products, jets, states.
//
// Work comes in tasks: one sample (lanes are addresses) or one vector of samples (lanes are samples).  Either the tasks are
// spread over the threads, or, for a single large state, the cosets of each run are.
#pragma once

#include <chrono>
#include <complex>
#include <cstring>
#include <memory>

#include "sweep.hpp"

namespace qp {

enum class Start { kBasis, kProduct, kShared, kEach };

struct Request {
  const double *theta = nullptr, *x = nullptr, *v_theta = nullptr, *v_x = nullptr;
  std::size_t n_theta = 1, n_x = 1, batch = 1;  // rows: 1 or batch
  Start start = Start::kBasis;
  Mask start_index = 0;
  const double* start_vector = nullptr;         // interleaved complex, 2^n_qubits a row; of a product: two amplitudes a qubit
  const double* start_jet = nullptr;            // (order, 1 or batch, 2^n) complex: coefficients of t, t^2 of the start along v
  std::size_t n_start_jet = 1;
  int n_qubits = 0;
  const double* weights = nullptr;              // (weight_orders, 1 or batch, n_observables), of <O> along t: from the coefficient of t^order down
  std::size_t weight_orders = 1, n_weights = 1;
  const double* costates = nullptr;             // ([order + 1,] batch, 2^n) complex c, in that order too: gradients of L with dL = Re<c|d psi>, in place of weights
  int threads = 1;
};

struct Output {
  double* values = nullptr;      // ([order + 1,] batch, n_observables): coefficients of t^k
  double* weighted = nullptr;    // (batch,)
  double* d_theta = nullptr;     // (batch, n_params), or (n_params,) when summed; along t: of v_theta
  bool sum_theta = false;
  double* d_x = nullptr;         // (batch, n_inputs)
  double* h_theta = nullptr;     // along t, like d_theta: of theta.  Of d<O>/dt, the one by v is the gradient, this one Hessian times v.
  double* h_x = nullptr;
  double* lambda = nullptr;      // ([order + 1,] batch, 2^n) complex: lambda taken back to the start of the circuit
  double* state = nullptr;       // ([order + 1,] batch, 2^n) complex
};

// Final states kept between a forward call and its pullback.
template <class R> struct Kept {
  Kept() = default;
  Kept(const Kept&) = delete;
  List<Array<Vec<R>>> states;
};

// The amplitudes of sample s in the layout of a plan.
template <class R> struct Address {
  const Layout& plan;
  int sample;
  std::size_t vector(std::size_t j) const { return 2 * (plan.lane_bits ? j >> plan.lane_bits : j); }
  int lane(std::size_t j) const { return plan.lane_bits ? static_cast<int>(j & (kWidth<R> - 1)) : sample; }
};

template <class R> void fill_start(const Layout& plan, const Request& req, const double* vectors, bool shared, std::size_t first, int samples, Vec<R>* psi) {
  const std::size_t dim = std::size_t{1} << req.n_qubits;
  for (int s = 0; s < (plan.lane_bits ? 1 : kWidth<R>); ++s) {
    const Address<R> at{plan, s};
    const double* from = vectors + 2 * dim * (shared ? 0 : first + std::min(s, samples - 1));
    for (std::size_t j = 0; j < dim; ++j) {
      psi[at.vector(j)][at.lane(j)] = static_cast<R>(from[2 * j]);
      psi[at.vector(j) + 1][at.lane(j)] = static_cast<R>(from[2 * j + 1]);
    }
  }
}

// A product of qubit states: tables of the low and of the high half of the qubits.
template <class R> void fill_product(const Layout& plan, const Request& req, Vec<R>* psi, const Crew& crew) {
  using Complex = std::complex<double>;
  const int n = req.n_qubits, low = n / 2;
  const auto factors = [&](int from, int to) {
    List<Complex> f{1.0};
    f.reserve(std::size_t{1} << (to - from));
    for (int q = from; q < to; ++q) {
      const double* a = req.start_vector + 4 * q;
      const std::size_t size = f.size();
      for (std::size_t j = 0; j < size; ++j) f.push_back(f[j] * Complex(a[2], a[3]));
      for (std::size_t j = 0; j < size; ++j) f[j] *= Complex(a[0], a[1]);
    }
    return f;
  };
  const List<Complex> lows = factors(0, low), highs = factors(low, n);
  const std::uint32_t chunks = static_cast<std::uint32_t>(std::min<std::size_t>(highs.size(), 64));
  crew.each(chunks, [&](std::uint32_t c, int) {
    for (std::size_t h = highs.size() / chunks * c; h < highs.size() / chunks * (c + 1); ++h)
      for (std::size_t j = 0; j < lows.size(); ++j) {
        const double re = lows[j].real() * highs[h].real() - lows[j].imag() * highs[h].imag(), im = lows[j].real() * highs[h].imag() + lows[j].imag() * highs[h].real();
        const std::size_t at = h << low | j;
        if (!plan.lane_bits) {
          psi[2 * at] = splat<R>(static_cast<R>(re));
          psi[2 * at + 1] = splat<R>(static_cast<R>(im));
        } else {
          R* const to = reinterpret_cast<R*>(psi + 2 * (at >> plan.lane_bits)) + (at & (kWidth<R> - 1));
          to[0] = static_cast<R>(re);
          to[kWidth<R>] = static_cast<R>(im);
        }
      }
  });
}

template <class R> void start(const Layout& plan, const Request& req, std::size_t first, int samples, Vec<R>* psi, const Crew& crew) {
  const std::size_t vectors = std::size_t{1} << plan.n_up;
  const std::uint32_t chunks = vectors >= 65536 ? 64 : 1;
  const bool filled = req.start == Start::kProduct && (plan.lane_bits ? vectors << plan.lane_bits : vectors) == std::size_t{1} << req.n_qubits;
  if (!filled) crew.each(chunks, [&](std::uint32_t c, int) { std::fill(psi + 2 * (vectors / chunks) * c, psi + 2 * (vectors / chunks) * (c + 1), Vec<R>{}); });
  if (req.start == Start::kProduct) return fill_product<R>(plan, req, psi, crew);
  if (req.start == Start::kBasis) {
    if (!plan.lane_bits) psi[2 * req.start_index] = splat<R>(R(1));
    else psi[2 * (req.start_index >> plan.lane_bits)][req.start_index & (kWidth<R> - 1)] = R(1);
    return;
  }
  fill_start<R>(plan, req, req.start_vector, req.start == Start::kShared, first, samples, psi);
}

// The Pauli frame at the end of the circuit, of one column.
inline Frame end_frame(const Layout& plan, const Angles& a, int column) {
  if (a.columns == 1) return {a.frame_x_mask, a.frame_z_mask};
  Frame f;
  for (int q = 0; q < plan.n_up + plan.lane_bits; ++q) {
    f.x |= Mask{a.frame_x[q] >> column & 1} << q;
    f.z |= Mask{a.frame_z[q] >> column & 1} << q;
  }
  return f;
}

// Amplitudes in the order of basis indices, (samples, 2^n) complex, after a frame that is applied, or has been (`angles` null).
template <class R> void write_states(const Layout& plan, const Request& req, const Angles* angles, std::size_t first, int samples, const Vec<R>* psi, double* out) {
  const std::size_t dim = std::size_t{1} << req.n_qubits;
  for (int s = 0; s < samples; ++s) {
    const Address<R> at{plan, s};
    const Frame f = angles ? end_frame(plan, *angles, s) : Frame{};
    double* to = out + 2 * dim * (first + s);
    for (std::size_t j = 0; j < dim; ++j) {
      const double sign = parity(f.z & j) ? -1.0 : 1.0;
      to[2 * (j ^ f.x)] = sign * static_cast<double>(psi[at.vector(j)][at.lane(j)]);
      to[2 * (j ^ f.x) + 1] = sign * static_cast<double>(psi[at.vector(j) + 1][at.lane(j)]);
    }
  }
}

// The inverse, `factor` times.
template <class R> void read_states(const Layout& plan, const Request& req, const Angles& angles, std::size_t first, int samples, const double* in, double factor, Vec<R>* psi) {
  const std::size_t dim = std::size_t{1} << req.n_qubits;
  std::fill(psi, psi + (std::size_t{2} << plan.n_up), Vec<R>{});
  for (int s = 0; s < samples; ++s) {
    const Address<R> at{plan, s};
    const Frame f = end_frame(plan, angles, s);
    const double* from = in + 2 * dim * (first + s);
    for (std::size_t j = 0; j < dim; ++j) {
      const double sign = parity(f.z & j) ? -factor : factor;
      psi[at.vector(j)][at.lane(j)] = static_cast<R>(sign * from[2 * (j ^ f.x)]);
      psi[at.vector(j) + 1][at.lane(j)] = static_cast<R>(sign * from[2 * (j ^ f.x) + 1]);
    }
  }
}

template <class R> class Evaluator {
 public:
  static constexpr int W = kWidth<R>;
  Evaluator(Description d, int order) : plan_(std::move(d), order) {}
  const Layout& layout() const { return plan_; }
  bool batch_lanes() const { return plan_.lane_bits == 0; }
  std::size_t n_tasks(std::size_t batch) const { return batch_lanes() ? (batch + W - 1) / W : batch; }

  void evaluate(const Request& req, Output& out, Kept<R>* keep, bool resume, const std::function<void()>& check) {
    const std::size_t tasks = n_tasks(req.batch);
    if (keep && !resume) keep->states.resize(tasks * orders());
    const std::uint32_t groups = static_cast<std::uint32_t>(std::min<std::size_t>(tasks, 64));
    const bool outer = groups > 1 && plan_.n_up <= 14;
    FlushSubnormals flush;
    std::unique_ptr<Tables<R>> common;
    const bool uniform = req.n_theta == 1 && !(plan_.inputs_turn && req.n_x > 1) && !(plan_.order && tasks > 1);
    if (uniform && tasks > 1) {
      common = std::make_unique<Tables<R>>();
      common->prepare(plan_, inputs(req, 0, 1), 1, out.lambda != nullptr);
    }
    const std::size_t P = plan_.d.n_params;
    const bool sum = out.sum_theta && out.d_theta;
    List<double> partial(sum ? groups * P * (out.h_theta ? 2 : 1) : 0, 0.0);
    spread_groups(req.threads, groups, outer, [&](std::uint32_t group, int worker, Pool* inner) {
      std::unique_ptr<Space<R>> space = spaces_.take();
      space->scratch.resize(std::max<std::size_t>(space->scratch.size(), inner ? inner->size() : 1));
      const Crew crew(inner, worker == 0 ? check : std::function<void()>());
      for (std::size_t t = tasks * group / groups; t < tasks * (group + 1) / groups; ++t)
        one_task(req, out, keep, resume, t, *space, common.get(), crew, sum ? partial.data() + std::size_t{group} * P : nullptr,
                 sum && out.h_theta ? partial.data() + (std::size_t{groups} + group) * P : nullptr);
      // Large states go back to the system: a model that is kept must not keep gigabytes.
      if ((std::size_t{2} << plan_.n_up) * sizeof(Vec<R>) <= (std::size_t{64} << 20)) spaces_.give(std::move(space));
    });
    if (sum)
      for (std::uint32_t g = 0; g < groups; ++g)
        for (std::size_t i = 0; i < P; ++i) {
          out.d_theta[i] = (g ? out.d_theta[i] : 0.0) + partial[g * P + i];
          if (out.h_theta) out.h_theta[i] = (g ? out.h_theta[i] : 0.0) + partial[(groups + g) * P + i];
        }
  }

 private:
  std::size_t orders() const { return 1 + plan_.order; }

  Inputs inputs(const Request& req, std::size_t first, int columns) const {
    Inputs in{};
    for (int c = 0; c < columns; ++c) {
      const std::size_t s = std::min(first + c, req.batch - 1);
      const std::size_t P = plan_.d.n_params, D = plan_.d.n_inputs;
      in.theta[c] = req.theta + (req.n_theta == 1 ? 0 : s) * P;
      in.x[c] = req.x ? req.x + (req.n_x == 1 ? 0 : s) * D : nullptr;
      in.v_theta[c] = req.v_theta ? req.v_theta + (req.n_theta == 1 ? 0 : s) * P : nullptr;
      in.v_x[c] = req.v_x ? req.v_x + (req.n_x == 1 ? 0 : s) * D : nullptr;
    }
    return in;
  }

  void one_task(const Request& req, Output& out, Kept<R>* keep, bool resume, std::size_t task, Space<R>& space, Tables<R>* common,
                const Crew& crew, double* sum_theta, double* sum_h) {
    const std::size_t size = std::size_t{2} << plan_.n_up;
    const bool batch = batch_lanes();
    const std::size_t first = batch ? task * W : task;
    const int samples = batch ? static_cast<int>(std::min<std::size_t>(W, req.batch - first)) : 1;
    const Inputs in = inputs(req, first, batch ? W : 1);
    Tables<R>* tables = common;
    if (!tables) {
      tables = &space.tables;
      tables->prepare(plan_, in, batch && !(req.n_theta == 1 && (req.n_x == 1 || !plan_.inputs_turn)) ? W : 1, out.lambda != nullptr);
    }
    const bool gradient = out.d_theta || out.d_x || out.lambda;
    const std::size_t n = orders(), dim = std::size_t{1} << req.n_qubits, rows = 2 * dim * req.batch;
    for (std::size_t k = 0; k < n; ++k) space.state[k].reserve(size);
    if (keep && resume && n * task < keep->states.size() && keep->states[n * task].size()) {
      for (std::size_t k = 0; k < n; ++k) std::copy(keep->states[n * task + k].data(), keep->states[n * task + k].data() + size, space.state[k].data());
    } else {
      start<R>(plan_, req, first, samples, space.state[0].data(), crew);
      for (std::size_t k = 1; k < n; ++k) {
        std::fill(space.state[k].data(), space.state[k].data() + size, Vec<R>{});
        if (req.start_jet) fill_start<R>(plan_, req, req.start_jet + 2 * dim * req.n_start_jet * (k - 1), req.n_start_jet == 1, first, samples, space.state[k].data());
      }
      switch (plan_.order) {
        case 0: sweep<R, kForward>(plan_, *tables, space, crew); break;
        case 1: sweep<R, kForwardDual>(plan_, *tables, space, crew); break;
        default: sweep<R, kForwardJet>(plan_, *tables, space, crew);
      }
    }
    space.flips = tables->angles.columns == 1 ? tables->angles.frame_x_mask : 0;
    for (std::size_t k = 0; k < n; ++k) {
      if (out.state) write_states<R>(plan_, req, &tables->angles, first, samples, space.state[k].data(), out.state + rows * k);
      if (keep && !resume) {
        keep->states[n * task + k].reserve(size);
        std::copy(space.state[k].data(), space.state[k].data() + size, keep->states[n * task + k].data());
      }
    }
    if (out.values) write_values(*tables, space, first, samples, req.batch, crew, out.values);
    if (!gradient) return;

    // forwards the states are psi_0, psi_1, psi_2; backwards psi_0, lambda_0, psi_1, lambda_1, psi_2, lambda_2
    for (std::size_t k = n; k-- > 1;) std::swap(space.state[k], space.state[2 * k]);
    for (std::size_t k = 0; k < n; ++k) space.state[2 * k + 1].reserve(size);
    double value[W];
    if (req.costates) {
      for (std::size_t k = 0; k < n; ++k) read_states<R>(plan_, req, tables->angles, first, samples, req.costates + rows * k, 0.5, space.state[2 * k + 1].data());
    } else {
      // lambda_k = sum_m C_m psi_{k - m}
      for (std::size_t m = 0; m < req.weight_orders; ++m) {
        observable_tables(req, m, tables->angles, first, space);
        for (std::size_t k = m; k < n; ++k) {
          double own[W];
          apply_observable<R>(plan_, space, space.state[2 * (k - m)].data(), space.state[2 * k + 1].data(), crew, k ? own : value, m > 0);
        }
      }
    }
    if (out.weighted) {
      if (batch) for (int l = 0; l < samples; ++l) out.weighted[first + l] = value[l];
      else { double v = 0; for (int l = 0; l < W; ++l) v += value[l]; out.weighted[first] = v; }
    }
    switch (plan_.order) {
      case 0: sweep<R, kBackward>(plan_, *tables, space, crew); break;
      case 1: sweep<R, kBackwardDual>(plan_, *tables, space, crew); break;
      default: sweep<R, kBackwardJet>(plan_, *tables, space, crew);
    }
    if (out.lambda)
      for (std::size_t k = 0; k < n; ++k) write_states<R>(plan_, req, nullptr, first, samples, space.state[2 * k + 1].data(), out.lambda + rows * k);
    pull_back(out, space, in, first, samples, sum_theta, sum_h);
  }

  // sum_j Re <psi_j|O|psi_{k-j}>, the coefficients of t^k
  void write_values(const Tables<R>& tables, Space<R>& space, std::size_t first, int samples, std::size_t n_samples, const Crew& crew, double* values) const {
    const std::size_t K = plan_.d.obs_ptr.size() - 1;
    List<double> strings, more;
    for (std::size_t k = 0; k < orders(); ++k) {
      for (std::size_t j = 0; 2 * j <= k; ++j) {
        expectations<R>(plan_, space, space.state[j].data(), space.state[k - j].data(), crew, j ? more : strings);
        if (2 * j < k) for (double& v : j ? more : strings) v *= 2;
        if (j) for (std::size_t i = 0; i < strings.size(); ++i) strings[i] += more[i];
      }
      observables(tables, strings, first, samples, values + k * n_samples * K);
    }
  }

  // sum_k w_k O_k, whose product with psi is lambda
  void observable_tables(const Request& req, std::size_t order, const Angles& angles, std::size_t first, Space<R>& space) const {
    const std::size_t K = plan_.d.obs_ptr.size() - 1, n_strings = plan_.d.obs_x.size();
    const int weight_columns = batch_lanes() && req.n_weights > 1 ? W : 1;
    List<double> weights(std::max<std::size_t>(1, n_strings * weight_columns), 0.0);
    for (int c = 0; c < weight_columns; ++c) {
      const std::size_t s = req.n_weights == 1 ? 0 : std::min(first + c, req.batch - 1);
      for (std::size_t k = 0; k < K; ++k)
        for (int i = plan_.d.obs_ptr[k]; i < plan_.d.obs_ptr[k + 1]; ++i)
          weights[c * n_strings + plan_.d.obs_term[i]] += req.weights[(order * req.n_weights + s) * K + k] * plan_.d.obs_coefficient[i];
    }
    build_obs_tables<R>(plan_, angles, weights.data(), weight_columns, space.obs_tables);
    space.diagonal_weights.assign(weights.begin() + static_cast<std::ptrdiff_t>(plan_.d.first_table()), weights.begin() + static_cast<std::ptrdiff_t>(n_strings));
  }

  void observables(const Tables<R>& tables, const List<double>& strings, std::size_t first, int samples, double* values) const {
    const Description& d = plan_.d;
    const std::size_t K = d.obs_ptr.size() - 1;
    for (int s = 0; s < samples; ++s)
      for (std::size_t k = 0; k < K; ++k) {
        double v = 0;
        for (int i = d.obs_ptr[k]; i < d.obs_ptr[k + 1]; ++i) {
          const std::int32_t t = d.obs_term[i];
          double e = 0;
          if (batch_lanes()) e = strings[std::size_t(t) * W + s];
          else for (int l = 0; l < W; ++l) e += strings[std::size_t(t) * W + l];
          v += d.obs_coefficient[i] * e * frame_sign(tables.angles, d.obs_x[t], d.obs_z[t], s);
        }
        values[(first + s) * K + k] = v;
      }
  }

  // Chain rule from drivers to parameters and inputs.
  void pull_back(Output& out, const Space<R>& space, const Inputs& in, std::size_t first, int samples, double* sum_theta, double* sum_h) const {
    const Description& d = plan_.d;
    const std::size_t P = d.n_params, D = d.n_inputs, n_drivers = d.mono_ptr.size() - 1;
    const int lanes = batch_lanes() ? W : 1;
    for (int s = 0; s < samples; ++s) {
      const bool along = plan_.order > 0;
      double* to_theta = sum_theta ? sum_theta : out.d_theta ? out.d_theta + (first + s) * P : nullptr;
      double* to_x = out.d_x ? out.d_x + (first + s) * D : nullptr;
      double* h_theta = sum_h ? sum_h : out.h_theta ? out.h_theta + (first + s) * P : nullptr;
      double* h_x = out.h_x ? out.h_x + (first + s) * D : nullptr;
      if (to_theta && !sum_theta) std::fill(to_theta, to_theta + P, 0.0);
      if (h_theta && !sum_h) std::fill(h_theta, h_theta + P, 0.0);
      if (to_x) std::fill(to_x, to_x + D, 0.0);
      if (h_x) std::fill(h_x, h_x + D, 0.0);
      for (std::size_t k = 0; k < n_drivers; ++k) {
        const double g = space.d_driver[0][k * lanes + s];
        if (!along) {
          chain_rule(d, k, g, in.theta[s], in.x[s], to_theta, to_x);
          continue;
        }
        for (int m = d.mono_ptr[k]; m < d.mono_ptr[k + 1]; ++m)
          for (int i = d.var_ptr[m]; i < d.var_ptr[m + 1]; ++i) {
            const int var = d.var[i];
            const bool param = var < d.n_params;
            double* to = param ? to_theta : to_x;
            double* h = param ? h_theta : h_x;
            const int at = param ? var : var - d.n_params;
            // The coefficient of t^k moves with the variable as p_0, p_1, p_2 of the other factors, and with v as 0, p_0, p_1.
            const Taylor p = monomial_jet(d, m, in, s, i);
            for (int j = 0; j <= plan_.order; ++j) {
              const double by = space.d_driver[plan_.order - j][k * lanes + s];
              if (h) h[at] += by * p.of[j];
              if (to && j) to[at] += by * p.of[j - 1];
            }
          }
      }
    }
  }

  Layout plan_;
  Store<Space<R>> spaces_;
};

}  // namespace qp
