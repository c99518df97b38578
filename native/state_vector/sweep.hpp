// Sweeps over runs, and observables: everything that touches whole states.
#pragma once

#include <exception>
#include <functional>
#include <mutex>

#include "angles.hpp"
#include "../pool.hpp"

namespace qp {

// The compiled coefficients of one evaluation.
template <class R> struct Tables {
  Angles angles;
  List<TileOp> ops;
  Array<Vec<R>> vectors, scales;
  List<Phases<R>> phases;  // of the plan's uses of tables
  bool unwind = false;  // backwards: all the way to the start of the circuit
  Mask origin = 0;      // address bits above those of the plan, where its states are a part of larger ones
  void prepare(const Layout& plan, const Inputs& in, int columns, bool to_the_start, Frame before = {}) {
    unwind = to_the_start || plan.order;
    prepare_angles(plan, in, columns, unwind, before, angles);
    build_tables<R>(plan, angles, ops, vectors, scales);
    phases.resize(plan.uses.size());
    for (std::size_t k = 0; k < plan.uses.size(); ++k) {
      const std::size_t at = plan.ops[plan.uses[k]].first_term;
      const Term& t = plan.terms[at];
      phases[k].prepare(*plan.d.diagonals[plan.d.table[t.rotation]], 0.5 * t.coefficient * angles.driver[t.driver], angles.table_frame[k]);
      for (int j = 0; j < plan.order; ++j) phases[k].half_jet[j] = angles.jet[j][at];
    }
  }
};

// Scratch of one thread.
template <class R> struct Scratch {
  Array<Vec<R>> block;         // up to six states of a block
  Array<Vec<R>> accumulators;
  List<TileArgs<R>> stretch;   // what its passes are told
};

template <class R> struct Space {  // states, tables and scratch of one evaluation at a time
  Array<Vec<R>> state[kMaxStates];
  Tables<R> tables;
  Array<Vec<R>> obs_tables;
  List<double> diagonal_weights;  // of the strings that are tables
  Mask flips = 0;                 // of the Pauli frame at the end, for these
  List<Scratch<R>> scratch;
  Array<double> sums;          // [chunk][accumulator][lane]
  Array<double> obs_sums;
  List<double> chunk_values;
  Array<double> d_driver[kMaxOrder + 1];  // of the coefficient of t^(order - k) of <O>: the derivative of that of t^order
};

template <class R> const Permutation<R>* permutations() {
  static const auto table = [] {
    static Permutation<R> t[kWidth<R>];
    for (int m = 0; m < kWidth<R>; ++m) t[m] = xor_permutation<R>(m);
    return &t[0];
  }();
  return table;
}

template <class R> QP_INLINE void gather(const Subspace& v, std::uint32_t base, const Vec<R>* from, Vec<R>* block) {
  const Permutation<R>* perm = permutations<R>();
  const std::size_t n = std::size_t{1} << v.b;
  for (std::size_t k = 0; k < n; ++k) {
    const Mask a = v.gather(k);
    const Vec<R>* src = from + 2 * static_cast<std::size_t>(static_cast<std::uint32_t>(a) ^ base);
    if (v.swaps_lanes) { block[2 * k] = permute<R>(src[0], perm[a >> 32]); block[2 * k + 1] = permute<R>(src[1], perm[a >> 32]); }
    else { block[2 * k] = src[0]; block[2 * k + 1] = src[1]; }
  }
}

template <class R, bool ADD> QP_INLINE void scatter(const Subspace& v, std::uint32_t base, const Vec<R>* block, Vec<R>* to) {
  const Permutation<R>* perm = permutations<R>();
  const std::size_t n = std::size_t{1} << v.b;
  for (std::size_t k = 0; k < n; ++k) {
    const Mask a = v.gather(k);
    Vec<R>* dst = to + 2 * static_cast<std::size_t>(static_cast<std::uint32_t>(a) ^ base);
    Vec<R> re = block[2 * k], im = block[2 * k + 1];
    if (v.swaps_lanes) { re = permute<R>(re, perm[a >> 32]); im = permute<R>(im, perm[a >> 32]); }
    if constexpr (ADD) { dst[0] += re; dst[1] += im; } else { dst[0] = re; dst[1] = im; }
  }
}

// From the block of one run to that of the next (BACK: to that of the one before).
template <class R, bool BACK> QP_INLINE void move_block(const Run& next, const Vec<R>* from, Vec<R>* to) {
  const Permutation<R>* perm = permutations<R>();
  const std::size_t n = std::size_t{1} << next.space.b;
  for (std::size_t k = 0; k < n; ++k) {
    const Mask place = next.before(k);
    const std::size_t other = 2 * static_cast<std::size_t>(static_cast<std::uint32_t>(place));
    const Permutation<R>& swap = perm[place >> 32];
    const std::size_t here = BACK ? 2 * k : other, there = BACK ? other : 2 * k;
    const Vec<R> re = permute<R>(from[here], swap), im = permute<R>(from[here + 1], swap);
    to[there] = re;
    to[there + 1] = im;
  }
}

// What a pass over the coset of `base` is told; the states and where derivatives go are for the caller to fill in.
template <class R, int MODE> QP_INLINE TileArgs<R> tile_args(const Layout& plan, const Pass& pass, const Tables<R>& tables, std::uint32_t base) {
  TileArgs<R> args;
  args.ops = tables.ops.data() + pass.first_op;
  args.n_ops = static_cast<int>(pass.n_ops);
  args.first_tile = 0;
  args.n_tiles = pass.n_tiles;
  args.sig_low = pass.sig.low.data();
  args.sig_high = pass.sig.high.data();
  args.addr_low = pass.addr_low.data();
  args.addr_high = pass.addr_high.data();
  args.sig_coset = 0;
  if (const Mask whole = Mask{base} << plan.lane_bits | tables.origin) {
    for (std::size_t i = 0; i < pass.pattern_z.size(); ++i) args.sig_coset |= Mask{parity(pass.pattern_z[i] & whole)} << i;
  }
  std::copy(pass.offset, pass.offset + 4, args.offset);
  args.tables = tables.vectors.data();
  args.accumulators = nullptr;
  args.sums = nullptr;
  args.first_accumulator = pass.accumulator;
  args.n_accumulators = pass.n_accumulators;
  args.scale = (is_backward(MODE) ? pass.segment_first : pass.segment_last) ? &tables.scales[pass.segment] : nullptr;
  args.skippable = pass.skippable;
  args.n_inner = pass.n_inner;
  args.permutations = permutations<R>();
  return args;
}

// A pass that is a table, on the coset of `base`.
template <class R, int MODE> void table_pass(const Phases<R>& phases, const Subspace& space, std::uint32_t base, const TileArgs<R>& args) {
  constexpr int W = kWidth<R>, slots = order_of(MODE) + 1;
  double found[slots * W] = {};
  of_format(phases.table->format(), [&](auto format) {
    constexpr Diagonal::Format FORMAT = decltype(format)::value;
    if (space.identity) turn_table<R, MODE, FORMAT>(phases, space.lane_bits, args, [](std::uint32_t k) QP_LAMBDA_INLINE { return Mask{k}; }, found);
    else turn_table<R, MODE, FORMAT>(phases, space.lane_bits, args, [&](std::uint32_t k) QP_LAMBDA_INLINE { return space.gather(k) ^ base; }, found);
  });
  if constexpr (is_backward(MODE)) {
    for (int i = 0; i < slots * W; ++i) {
      if constexpr (sizeof(R) == 4) args.sums[i] += found[i];
      else args.accumulators[args.first_accumulator + i / W][i % W] += found[i];
    }
  }
}

// One run on all states of a mode.  Backwards the derivatives of its angles are added to d_driver.
template <class R, int MODE> void sweep_run(const Layout& plan, std::size_t number_of_run, const Tables<R>& tables, Space<R>& space, const Crew& crew) {
  constexpr int S = n_states(MODE), W = kWidth<R>;
  const Run& run = plan.runs[number_of_run];
  const Run* const after = number_of_run + 1 < plan.runs.size() ? &plan.runs[number_of_run + 1] : nullptr;
  const std::size_t block = std::size_t{2} << run.space.b;
  const std::size_t n_acc = run.accumulators;
  if (is_backward(MODE)) space.sums.reserve(std::max<std::size_t>(1, n_acc * W * run.n_chunks));
  crew.each(run.n_chunks, [&](std::uint32_t chunk, int worker) {
    Scratch<R>& scratch = space.scratch[worker];
    // Blocks of psi and lambda start at different lines of a page: equal ones would compete for the same cache sets.
    const std::size_t apart = block + 10;
    scratch.block.reserve(2 * apart * S);  // of this run, and of a neighbour
    scratch.accumulators.reserve(std::max<std::size_t>(n_acc, 1));
    double* sums = is_backward(MODE) ? space.sums.data() + n_acc * W * chunk : nullptr;
    if (is_backward(MODE)) {
      std::fill(scratch.accumulators.data(), scratch.accumulators.data() + n_acc, Vec<R>{});
      std::fill(sums, sums + n_acc * W, 0.0);
    }
    const std::uint32_t per = run.space.n_cosets / run.n_chunks;
    for (std::uint32_t coset = chunk * per; coset < (chunk + 1) * per; ++coset) {
      const std::uint32_t base = static_cast<std::uint32_t>(run.space.cosets(coset));
      const auto held = [&](std::size_t r, int k) {
        return plan.runs[r].space.identity ? space.state[k].data() : scratch.block.data() + apart * (S * (r & 1) + k);
      };
      Vec<R>* states[kMaxStates] = {};
      for (int k = 0; k < S; ++k) {
        states[k] = held(number_of_run, k);
        if (is_backward(MODE) && after && after->joined) move_block<R, true>(*after, held(number_of_run + 1, k), states[k]);
        else if (!is_backward(MODE) && run.joined) move_block<R, false>(run, held(number_of_run - 1, k), states[k]);
        else if (!run.space.identity) gather<R>(run.space, base, space.state[k].data(), states[k]);
      }
      const auto told = [&](std::uint32_t number) {
        const Pass& pass = plan.passes[number];
        TileArgs<R> args = tile_args<R, MODE>(plan, pass, tables, base);
        args.accumulators = scratch.accumulators.data();
        // tile ops count accumulators from the start of the run; emptying walks those of this pass
        if (sizeof(R) == 4 && is_backward(MODE)) args.sums = sums + std::size_t{pass.accumulator} * W;
        for (int k = 0; k < S; ++k) args.state[k] = states[k];
        return args;
      };
      const auto turn = [&](std::uint32_t number, const TileArgs<R>& args) {
        const Pass& pass = plan.passes[number];
        const Phases<R>* const phases = pass.kind == PassKind::kTable ? &tables.phases[plan.ops[pass.first_op].phases] : nullptr;
        if constexpr (MODE == kBackward) {
          if (!tables.unwind && number < plan.n_read_only)
            return phases ? table_pass<R, kRead>(*phases, run.space, base, args) : tile_pass<R, kRead>(pass.kind, args);
        }
        if (phases) table_pass<R, MODE>(*phases, run.space, base, args);
        else tile_pass<R, MODE>(pass.kind, args);
      };
      for (std::size_t j = 0; j < run.stretches.size(); ++j) {
        const Stretch& s = run.stretches[is_backward(MODE) ? run.stretches.size() - 1 - j : j];
        const auto number = [&s](std::uint32_t i) { return s.first_pass + (is_backward(MODE) ? s.n_passes - 1 - i : i); };
        if (s.n_pieces == 1) {
          for (std::uint32_t i = 0; i < s.n_passes; ++i) turn(number(i), told(number(i)));
          continue;
        }
        scratch.stretch.clear();
        for (std::uint32_t i = 0; i < s.n_passes; ++i) scratch.stretch.push_back(told(number(i)));
        for (std::uint32_t piece = 0; piece < s.n_pieces; ++piece)
          for (std::uint32_t i = 0; i < s.n_passes; ++i) {
            TileArgs<R>& args = scratch.stretch[i];
            const std::uint32_t tiles = plan.passes[number(i)].n_tiles / s.n_pieces;
            args.first_tile = piece * tiles;
            args.n_tiles = args.first_tile + tiles;
            turn(number(i), args);
          }
      }
      const bool done = MODE == kBackward && run.first_pass == 0 && !tables.unwind;  // nobody reads the states any more
      const bool goes_on = is_backward(MODE) ? run.joined : after && after->joined;
      if (!run.space.identity && !done && !goes_on)
        for (int k = 0; k < S; ++k) scatter<R, false>(run.space, base, states[k], space.state[k].data());
    }
    if (is_backward(MODE) && sizeof(R) == 8)
      for (std::size_t i = 0; i < n_acc; ++i)
        for (int l = 0; l < W; ++l) sums[i * W + l] = static_cast<double>(scratch.accumulators[i][l]);
  });
  if constexpr (is_backward(MODE)) {
    double* sums = space.sums.data();
    for (std::uint32_t c = 1; c < run.n_chunks; ++c)
      for (std::size_t i = 0; i < n_acc * W; ++i) sums[i] += sums[c * n_acc * W + i];
    for (int k = 0; k <= order_of(MODE); ++k) collect_derivatives<W>(plan, run, tables.angles, sums, k, space.d_driver[k].data());
  }
  crew.check();
}

template <class R, int MODE> void sweep(const Layout& plan, const Tables<R>& tables, Space<R>& space, const Crew& crew) {
  if (is_backward(MODE)) {
    const std::size_t n = (plan.d.mono_ptr.size() - 1) * (plan.lane_bits ? 1 : kWidth<R>);
    for (int k = 0; k <= order_of(MODE); ++k) {
      space.d_driver[k].reserve(std::max<std::size_t>(n, 1));
      std::fill(space.d_driver[k].data(), space.d_driver[k].data() + n, 0.0);
    }
    for (std::size_t r = plan.runs.size(); r-- > 0;) sweep_run<R, MODE>(plan, r, tables, space, crew);
  } else {
    for (std::size_t r = 0; r < plan.runs.size(); ++r) sweep_run<R, MODE>(plan, r, tables, space, crew);
  }
}

// Sign of the Pauli frame on an observable string, for one column.
inline int frame_sign(const Angles& a, Mask x, Mask z, int column) {
  if (a.columns == 1) return parity(x & a.frame_z_mask) ^ parity(z & a.frame_x_mask) ? -1 : 1;
  std::uint32_t f = 0;
  for (Mask m = x; m; m &= m - 1) f ^= a.frame_z[std::countr_zero(m)];
  for (Mask m = z; m; m &= m - 1) f ^= a.frame_x[std::countr_zero(m)];
  return f >> column & 1 ? -1 : 1;
}

// weights[column][string]: the coefficient of every Pauli string in the effective observable sum_k w_k O_k.
template <class R> void build_obs_tables(const Layout& plan, const Angles& a, const double* weights, int weight_columns, Array<Vec<R>>& tables) {
  constexpr int W = kWidth<R>;
  tables.reserve(std::max<std::size_t>(plan.obs_table_size, 1));
  const std::size_t n_strings = plan.d.obs_x.size();
  for (const Bucket& b : plan.buckets) {
    const std::uint32_t patterns = 1u << b.pattern_basis.size();
    double sum[64][W] = {};
    for (std::uint32_t k = 0; k < b.n_terms; ++k) {
      const ObsTerm& t = plan.obs_terms[b.first_term + k];
      const Mask x = plan.d.obs_x[t.string], z = plan.d.obs_z[t.string];
      double v[W];
      const int one = frame_sign(a, x, z, 0);
      const double* sign = lane_signs<W>(z, plan.lane_bits);
      for (int l = 0; l < W; ++l) {
        const int wc = weight_columns == 1 ? 0 : l;
        v[l] = t.sign * sign[l] * weights[wc * n_strings + t.string] * (a.columns == 1 ? one : frame_sign(a, x, z, l));
      }
      for (std::uint32_t p = 0; p < patterns; ++p) {
        const double s = parity(p & t.pattern) ? -1.0 : 1.0;
        for (int l = 0; l < W; ++l) sum[p][l] += s * v[l];
      }
    }
    for (std::uint32_t p = 0; p < patterns; ++p)
      for (int l = 0; l < W; ++l) tables[b.table + p][l] = static_cast<R>(sum[p][l]);
  }
}

inline unsigned bucket_pattern(const Layout& plan, const Bucket& b, std::uint32_t base, Mask origin) {
  unsigned p = 0;
  for (std::size_t i = 0; i < b.pattern_basis.size(); ++i) p |= parity(b.pattern_basis[i] & (Mask{base} << plan.lane_bits | origin)) << i;
  return p;
}

// What apply_table does, on the whole state: sum[lane] is Re <bra|C psi>.
template <class R> void each_of_table(const Layout& plan, Space<R>& space, std::int32_t table, const Crew& crew, double weight, bool fresh, const Vec<R>* bra, const Vec<R>* psi,
                                      Vec<R>* lambda, double* sum) {
  constexpr int W = kWidth<R>;
  const std::size_t n = std::size_t{1} << plan.n_up;
  const std::uint32_t chunks = static_cast<std::uint32_t>(std::min<std::size_t>(64, std::max<std::size_t>(1, n >> 9)));
  space.chunk_values.assign(std::size_t{chunks} * W, 0.0);
  const Diagonal& diagonal = *plan.d.diagonals[table];
  crew.each(chunks, [&](std::uint32_t c, int) {
    of_format(diagonal.format(), [&](auto format) {
      apply_table<R, decltype(format)::value>(diagonal, space.flips, weight, fresh, n / chunks * c, n / chunks * (c + 1), plan.lane_bits,
                                              permutations<R>(), bra, psi, lambda, space.chunk_values.data() + std::size_t{c} * W);
    });
  });
  std::fill(sum, sum + W, 0.0);
  for (std::uint32_t c = 0; c < chunks; ++c)
    for (int l = 0; l < W; ++l) sum[l] += space.chunk_values[std::size_t{c} * W + l];
  crew.check();
}

// lambda = O psi for the observable in the tables, or added to it (`more`); returns <psi|lambda> lane by lane in `value`, unless `more`.
template <class R> void apply_observable(const Layout& plan, Space<R>& space, const Vec<R>* psi, Vec<R>* lambda, const Crew& crew, double* value, bool more = false) {
  constexpr int W = kWidth<R>;
  constexpr std::uint32_t quads_at_once = 16;  // lambda of these stays in the first-level cache
  const Permutation<R>* perm = permutations<R>();
  std::fill(value, value + W, 0.0);
  bool first_run = !more;
  const bool tables = !plan.d.obs_table.empty();
  if (plan.obs_runs.empty() && !more && !tables) std::fill(lambda, lambda + (std::size_t{2} << plan.n_up), Vec<R>{});
  for (const ObsRun& run : plan.obs_runs) {
    const std::size_t block = std::size_t{2} << run.space.b;
    space.chunk_values.assign(std::size_t{run.n_chunks} * W, 0.0);
    crew.each(run.n_chunks, [&](std::uint32_t chunk, int worker) {
      Scratch<R>& scratch = space.scratch[worker];
      scratch.block.reserve(2 * block);
      Vec<R>* out = scratch.block.data() + block;
      double total[W] = {};
      const std::uint32_t per = run.space.n_cosets / run.n_chunks;
      for (std::uint32_t coset = chunk * per; coset < (chunk + 1) * per; ++coset) {
        const std::uint32_t base = static_cast<std::uint32_t>(run.space.cosets(coset));
        const Vec<R>* in = psi;
        if (!run.space.identity) { gather<R>(run.space, base, psi, scratch.block.data()); in = scratch.block.data(); }
        Vec<R>* to = run.space.identity ? lambda : out;
        const std::uint32_t quads = 1u << (run.space.b - 2);
        const bool fresh = !run.space.identity || !more;
        const std::uint32_t end = run.first_group + run.n_groups;
        for (std::uint32_t q0 = 0; q0 < quads; q0 += quads_at_once) {
          const std::uint32_t q1 = std::min(quads, q0 + quads_at_once);
          // As many groups at once as have few enough buckets: lambda stays in registers over these.
          for (std::uint32_t g0 = run.first_group, g1; g0 < end; g0 = g1) {
            const std::uint32_t first_bucket = plan.groups[g0].first_bucket;
            unsigned at[32];
            std::uint32_t n = 0;
            for (g1 = g0; g1 < end && n + plan.groups[g1].n_buckets <= 32; ++g1) n += plan.groups[g1].n_buckets;
            for (std::uint32_t k = 0; k < n; ++k) {
              const Bucket& b = plan.buckets[first_bucket + k];
              at[k] = bucket_pattern(plan, b, base, space.tables.origin) ^ b.high[q0 >> 6];
            }
            for (std::uint32_t q = q0; q < q1; ++q) {
              Vec<R> re[4] = {}, im[4] = {};
              if (g0 != run.first_group || !fresh) QP_FOR_ELEMENTS(re[e] = to[8 * q + 2 * e]; im[e] = to[8 * q + 2 * e + 1];);
              const unsigned* pattern = at;
              for (std::uint32_t g = g0; g < g1; ++g) {
                const ObsGroup& group = plan.groups[g];
                const Bucket* const buckets = plan.buckets.data() + group.first_bucket;
                const auto coefficient = [&](std::uint32_t k, int e) QP_LAMBDA_INLINE {
                  return space.obs_tables[buckets[k].table + (pattern[k] ^ buckets[k].low[q & 63] ^ buckets[k].element[e])];
                };
                const Permutation<R>& swap = perm[group.lanes];
                const bool one = group.n_buckets == 1 && !buckets[0].imaginary;
                Vec<R> c[4] = {}, d[4] = {};
                if (one) {
                  QP_FOR_ELEMENTS(c[e] = coefficient(0, e););
                } else {
                  for (std::uint32_t k = 0; k < group.n_buckets; ++k) {
                    if (buckets[k].imaginary) { QP_FOR_ELEMENTS(d[e] += coefficient(k, e);); }
                    else { QP_FOR_ELEMENTS(c[e] += coefficient(k, e);); }
                  }
                }
                QP_FOR_ELEMENTS(
                  const Vec<R>* src = in + 2 * std::size_t{(4 * q + e) ^ group.x};
                  Vec<R> r = src[0]; Vec<R> i = src[1];
                  if (group.lanes) { r = permute<R>(r, swap); i = permute<R>(i, swap); }
                  re[e] += c[e] * r; im[e] += c[e] * i;
                  if (!one) { re[e] -= d[e] * i; im[e] += d[e] * r; });
                pattern += group.n_buckets;
              }
              QP_FOR_ELEMENTS(to[8 * q + 2 * e] = re[e]; to[8 * q + 2 * e + 1] = im[e];);
            }
          }
          Vec<R> sum{};
          for (std::uint32_t k = 8 * q0; k < 8 * q1; ++k) sum += to[k] * in[k];
          for (int l = 0; l < W; ++l) total[l] += static_cast<double>(sum[l]);
        }
        if (!run.space.identity) {
          if (first_run) scatter<R, false>(run.space, base, out, lambda);
          else scatter<R, true>(run.space, base, out, lambda);
        }
      }
      std::copy(total, total + W, space.chunk_values.data() + std::size_t{chunk} * W);
    });
    for (std::uint32_t c = 0; c < run.n_chunks; ++c)
      for (int l = 0; l < W; ++l) value[l] += space.chunk_values[std::size_t{c} * W + l];
    first_run = false;
    crew.check();
  }
  for (std::size_t k = 0; k < plan.d.obs_table.size(); ++k) {
    double sum[W];
    each_of_table<R>(plan, space, plan.d.obs_table[k], crew, space.diagonal_weights[k], first_run, psi, psi, lambda, sum);
    for (int l = 0; l < W; ++l) value[l] += space.diagonal_weights[k] * sum[l];
    first_run = false;
  }
}

// Re <bra|P|psi> of every Pauli string, lane by lane: strings[string][lane] (before the frame's signs).
template <class R> void expectations(const Layout& plan, Space<R>& space, const Vec<R>* bra, const Vec<R>* psi, const Crew& crew, List<double>& strings) {
  constexpr int W = kWidth<R>;
  const Permutation<R>* perm = permutations<R>();
  strings.assign(plan.d.obs_x.size() * W, 0.0);
  for (const ObsRun& run : plan.obs_runs) {
    const std::uint32_t first_bucket = plan.groups[run.first_group].first_bucket;
    const ObsGroup& last = plan.groups[run.first_group + run.n_groups - 1];
    const std::uint32_t last_bucket = last.first_bucket + last.n_buckets;
    const std::uint32_t first_acc = plan.buckets[first_bucket].accumulator;
    const std::size_t n_acc = plan.buckets[last_bucket - 1].accumulator + (std::size_t{1} << plan.buckets[last_bucket - 1].pattern_basis.size()) - first_acc;
    const std::size_t block = std::size_t{2} << run.space.b;
    space.obs_sums.reserve(n_acc * W * run.n_chunks);
    crew.each(run.n_chunks, [&](std::uint32_t chunk, int worker) {
      Scratch<R>& scratch = space.scratch[worker];
      scratch.block.reserve(2 * block);
      scratch.accumulators.reserve(64);
      double* sums = space.obs_sums.data() + n_acc * W * chunk;
      std::fill(sums, sums + n_acc * W, 0.0);
      const std::uint32_t per = run.space.n_cosets / run.n_chunks;
      for (std::uint32_t coset = chunk * per; coset < (chunk + 1) * per; ++coset) {
        const std::uint32_t base = static_cast<std::uint32_t>(run.space.cosets(coset));
        const Vec<R>*in = psi, *other = bra;
        if (!run.space.identity) {
          gather<R>(run.space, base, psi, scratch.block.data());
          if (bra != psi) gather<R>(run.space, base, bra, scratch.block.data() + block);
          in = scratch.block.data();
          other = bra == psi ? in : in + block;
        }
        const std::uint32_t quads = 1u << (run.space.b - 2);
        for (std::uint32_t g = run.first_group; g < run.first_group + run.n_groups; ++g) {
          const ObsGroup& group = plan.groups[g];
          const Permutation<R>& swap = perm[group.lanes];
          for (std::uint32_t k = group.first_bucket; k < group.first_bucket + group.n_buckets; ++k) {
            const Bucket& b = plan.buckets[k];
            const unsigned pb = bucket_pattern(plan, b, base, space.tables.origin);
            const std::uint32_t patterns = 1u << b.pattern_basis.size();
            double* out = sums + std::size_t{b.accumulator - first_acc} * W;
            Vec<R>* acc = scratch.accumulators.data();
            for (std::uint32_t q0 = 0; q0 < quads; q0 += 64) {
              const std::uint32_t q1 = std::min(quads, q0 + 64);
              std::fill(acc, acc + patterns, Vec<R>{});
              const unsigned ph = pb ^ b.high[q0 >> 6];
              for (std::uint32_t q = q0; q < q1; ++q) {
                const unsigned p = ph ^ b.low[q & 63];
                for (std::uint32_t e = 0; e < 4; ++e) {
                  const Vec<R>* own = other + 2 * std::size_t{4 * q + e};
                  const Vec<R>* src = in + 2 * std::size_t{(4 * q + e) ^ group.x};
                  Vec<R> a = src[0], c = src[1];
                  if (group.lanes) { a = permute<R>(a, swap); c = permute<R>(c, swap); }
                  acc[p ^ b.element[e]] += b.imaginary ? own[1] * a - own[0] * c : own[0] * a + own[1] * c;
                }
              }
              for (std::uint32_t p = 0; p < patterns; ++p)
                for (int l = 0; l < W; ++l) out[p * W + l] += static_cast<double>(acc[p][l]);
            }
          }
        }
      }
    });
    double* sums = space.obs_sums.data();
    for (std::uint32_t c = 1; c < run.n_chunks; ++c)
      for (std::size_t i = 0; i < n_acc * W; ++i) sums[i] += sums[c * n_acc * W + i];
    for (std::uint32_t k = first_bucket; k < last_bucket; ++k) {
      const Bucket& b = plan.buckets[k];
      for (std::uint32_t t = b.first_term; t < b.first_term + b.n_terms; ++t) {
        const ObsTerm& term = plan.obs_terms[t];
        const double* lanes = lane_signs<W>(plan.d.obs_z[term.string], plan.lane_bits);
        for (std::uint32_t p = 0; p < 1u << b.pattern_basis.size(); ++p) {
          const double s = (parity(p & term.pattern) ? -1.0 : 1.0) * term.sign;
          for (int l = 0; l < W; ++l) strings[std::size_t(term.string) * W + l] += s * lanes[l] * sums[(std::size_t{b.accumulator - first_acc} + p) * W + l];
        }
      }
    }
    crew.check();
  }
  for (std::size_t k = 0; k < plan.d.obs_table.size(); ++k)
    each_of_table<R>(plan, space, plan.d.obs_table[k], crew, 0.0, false, bra, psi, nullptr, strings.data() + (plan.d.first_table() + k) * W);
}

}  // namespace qp
