// The final state and its derivatives along many directions at one theta, forwards: |psi> and |t_i> = sum_j v_ij d|psi>/d theta_j.
//
// A tangent is zero until the first pass that turns with its direction, and is turned like psi by every pass that does not: such
// passes, nearly all of them, are those of a plain sweep.  Where a pass does turn with the direction, a copy of psi goes through
// it together with the tangent (a dual pass).  Several directions share the sweep of psi as long as their blocks fit the cache.
#pragma once

#include "evaluate.hpp"

namespace qp {

template <class R> class TangentEvaluator {
 public:
  explicit TangentEvaluator(const Description& d) : plain_(d, 0), dual_(d, 1) {
    if (!plain_.lane_bits) throw std::logic_error("tangents: lanes must be addresses");
  }

  // directions: (n_directions, n_params); state: (2^n,) complex; tangents: (n_directions, 2^n) complex
  void evaluate(const Request& req, const double* directions, std::size_t n_directions, double* state, double* tangents, const std::function<void()>& check) {
    FlushSubnormals flush;
    const Inputs in{{req.theta}, {req.x}, {}, {}};
    Tables<R> tables;
    tables.prepare(plain_, in, 1, false);
    const std::size_t block = (std::size_t{2} << (plain_.runs.empty() ? plain_.n_up : plain_.runs[0].space.b)) * sizeof(Vec<R>);
    const std::size_t at_once = std::clamp<std::size_t>(kCacheBytes / block, 1, kMostAtOnce);
    const std::uint32_t tasks = static_cast<std::uint32_t>(std::max<std::size_t>(1, (n_directions + at_once - 1) / at_once));
    const bool outer = tasks > 1 && plain_.n_up <= 14;
    spread_groups(req.threads, tasks, outer, [&](std::uint32_t task, int worker, Pool* inner) {
      std::unique_ptr<Space> space = spaces_.take();
      const std::size_t first = std::min(n_directions, task * at_once), last = std::min(n_directions, first + at_once);
      const Crew crew(inner, worker == 0 ? check : std::function<void()>());
      sweep(req, tables, directions + first * plain_.d.n_params, last - first, *space, crew);
      if (task == 0) write_states<R>(plain_, req, &tables.angles, 0, 1, space->states[0].data(), state);
      for (std::size_t i = first; i < last; ++i) write_states<R>(plain_, req, &tables.angles, i, 1, space->states[1 + i - first].data(), tangents);
      if ((std::size_t{2} << plain_.n_up) * sizeof(Vec<R>) <= (std::size_t{8} << 20)) spaces_.give(std::move(space));
    });
  }

 private:
  static constexpr std::size_t kCacheBytes = 256 << 10, kMostAtOnce = 8;

  struct Direction {
    Angles angles;                   // only their tangents
    List<std::uint8_t> turns;        // [pass]
    std::size_t first = 0;           // pass that turns with it
  };
  struct Worker {
    Tables<R> tables;                // of dual passes; tangents are written where a pass wants them
    Array<Vec<R>> blocks;
  };
  struct Space {
    Array<Vec<R>> states[1 + kMostAtOnce];
    List<Direction> directions;
    List<Worker> workers;
  };

  void sweep(const Request& req, const Tables<R>& tables, const double* v, std::size_t n, Space& space, const Crew& crew) const {
    const std::size_t size = std::size_t{2} << plain_.n_up, n_params = plain_.d.n_params;
    space.states[0].reserve(size);
    start<R>(plain_, req, 0, 1, space.states[0].data(), crew);
    space.workers.resize(std::max<std::size_t>(space.workers.size(), crew.workers()));
    const List<double> still(plain_.d.n_inputs, 0.0);
    space.directions.resize(n);
    for (std::size_t i = 0; i < n; ++i) {
      space.states[1 + i].reserve(size);
      std::fill(space.states[1 + i].data(), space.states[1 + i].data() + size, Vec<R>{});
      const Inputs in{{req.theta}, {req.x}, {v + i * n_params}, {still.data()}};
      aim(in, tables.angles, space.directions[i]);
    }
    for (Worker& w : space.workers) w.tables.prepare(dual_, Inputs{{req.theta}, {req.x}, {v}, {still.data()}}, 1, false);
    for (const Run& run : plain_.runs) sweep_run(run, tables, n, space, crew);
  }

  void aim(const Inputs& in, const Angles& at, Direction& out) const {
    out.angles.columns = 1;
    out.angles.flip.reserve(std::max<std::size_t>(plain_.terms.size(), 1));
    std::copy(at.flip.data(), at.flip.data() + plain_.terms.size(), out.angles.flip.data());
    prepare_jets(dual_, in, out.angles);
    out.turns.assign(plain_.passes.size(), 0);
    out.first = plain_.passes.size();
    for (std::size_t p = plain_.passes.size(); p-- > 0;) {
      const Pass& pass = plain_.passes[p];
      for (std::uint32_t o = pass.first_op; o < pass.first_op + pass.n_ops; ++o)
        for (std::uint32_t k = plain_.ops[o].first_term; k < plain_.ops[o].first_term + plain_.ops[o].n_terms; ++k)
          if (out.angles.jet[0][k] != 0) { out.turns[p] = 1; out.first = p; }
    }
  }

  void sweep_run(const Run& run, const Tables<R>& tables, std::size_t n, Space& space, const Crew& crew) const {
    const std::size_t block = std::size_t{2} << run.space.b, apart = block + 10, end = run.first_pass + run.n_passes;
    crew.each(run.n_chunks, [&](std::uint32_t chunk, int number) {
      Worker& worker = space.workers[number];
      worker.blocks.reserve(apart * (n + 2));
      Vec<R>* const spare = worker.blocks.data() + apart * (n + 1);
      const std::uint32_t per = run.space.n_cosets / run.n_chunks;
      for (std::uint32_t coset = chunk * per; coset < (chunk + 1) * per; ++coset) {
        const std::uint32_t base = static_cast<std::uint32_t>(run.space.cosets(coset));
        Vec<R>* states[1 + kMostAtOnce] = {};
        const auto moves = [&](std::size_t k) { return k == 0 || space.directions[k - 1].first < end; };
        for (std::size_t k = 0; k <= n; ++k) {
          if (!moves(k)) continue;
          states[k] = run.space.identity ? space.states[k].data() : worker.blocks.data() + apart * k;
          if (!run.space.identity) gather<R>(run.space, base, space.states[k].data(), states[k]);
        }
        for (std::size_t p = run.first_pass; p < end; ++p) {
          TileArgs<R> plain = tile_args<R, kForward>(plain_, plain_.passes[p], tables, base);
          for (std::size_t i = 0; i < n; ++i) {
            const Direction& direction = space.directions[i];
            if (direction.turns[p]) {
              const Pass& pass = dual_.passes[p];
              for (std::uint32_t o = pass.first_op; o < pass.first_op + pass.n_ops; ++o)
                build_jets<R>(dual_, dual_.ops[o], direction.angles, worker.tables.vectors.data() + dual_.ops[o].tile.table);
              std::copy(states[0], states[0] + block, spare);
              TileArgs<R> both = tile_args<R, kForwardDual>(dual_, pass, worker.tables, base);
              both.state[0] = spare;
              both.state[1] = states[1 + i];
              tile_pass<R, kForwardDual>(pass.kind, both);
            } else if (direction.first < p) {
              plain.state[0] = states[1 + i];
              tile_pass<R, kForward>(plain_.passes[p].kind, plain);
            }
          }
          plain.state[0] = states[0];
          tile_pass<R, kForward>(plain_.passes[p].kind, plain);
        }
        if (!run.space.identity)
          for (std::size_t k = 0; k <= n; ++k)
            if (moves(k)) scatter<R, false>(run.space, base, states[k], space.states[k].data());
      }
    });
    crew.check();
  }

  Layout plain_, dual_;
  Store<Space> spaces_;
};

}  // namespace qp
