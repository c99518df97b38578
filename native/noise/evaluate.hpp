// Values and gradients: r forwards through all runs, the observable's o backwards.
//
// r is turned back with o.  Weak damping is undone, within bounds (prepare_inverses); strong damping cannot be: there r is kept on the way forward.
// Runs form segments; within one all of these vectors are kept, and of the segments before the last only r at their start, from which they are computed
// again.
#pragma once

#include "../pool.hpp"
#include "block.hpp"

namespace qp {

struct Segment { std::size_t first, last, kept; };  // runs, and the vectors kept within

inline std::size_t most_within(const List<Segment>& segments) {
  std::size_t most = 0;
  for (const Segment& s : segments) most = std::max(most, s.kept);
  return most;
}
inline std::size_t kept_vectors(const List<Segment>& segments) { return most_within(segments) + std::max<std::size_t>(segments.size(), 1) - 1; }

// Segments that keep at most `most` vectors in all where that is possible, and else as few as possible; held[run]: within a run.
inline List<Segment> segments_of(const List<std::size_t>& held, std::size_t most) {
  const auto cut = [&](std::size_t room) {
    List<Segment> out;
    for (std::size_t i = 0; i < held.size(); ++i) {
      if (out.empty() || out.back().kept + held[i] > room) out.push_back({i, i, 0});
      out.back().last = i + 1;
      out.back().kept += held[i];
    }
    return out;
  };
  const std::size_t all = std::accumulate(held.begin(), held.end(), std::size_t{0});
  List<Segment> best = cut(all);
  for (std::size_t room = all; room > 0 && kept_vectors(best) > most;) {
    room = std::min(room - 1, room * 15 / 16);
    List<Segment> s = cut(room);
    if (kept_vectors(s) < kept_vectors(best)) best = std::move(s);
  }
  return best;
}

struct Request {
  std::size_t batch = 0, n_angles = 0, n_coefficients = 0, n_bloch = 0, n_start = 0, n_weights = 0;  // rows, 1 or the batch
  const double *angles = nullptr, *coefficients = nullptr;
  const double* bloch = nullptr;   // (rows, n, 3): of a product state, each qubit's <X>, <Y>, <Z>
  const double* start = nullptr;   // (rows, 4^n): Tr(rho P_Q) at x | z << n, if not a product
  std::size_t n_strings = 0;
  const Mask* strings = nullptr;   // interleaved
  const double* weights = nullptr; // (rows, strings)
};
struct Output {
  double* values = nullptr;        // (batch, strings)
  double *d_angles = nullptr, *d_coefficients = nullptr;
  double* adjoint = nullptr;       // (batch, 4^n): o at the start, as `start`
};

struct Worker {
  Array<V> block;   // of r and of o
  Array<V> sums;
  Array<std::uint8_t> forms;
};
struct Space {
  Array<V> r, o, kept, starts;
  Tables tables;
  List<Worker> workers;
  List<double> sums;                // [chunk][sum][lane]
  List<Segment> segments;
  List<std::uint32_t> slot;         // by stage: which of the vectors kept within its segment
  std::size_t bytes() const { return (r.size() + o.size() + kept.size() + starts.size()) * sizeof(V); }
};

class Evaluator {
 public:
  Evaluator(Description d, std::size_t most_kept) : plan_(std::move(d)), most_kept_(most_kept) {
    List<std::size_t> held;
    for (const Run& run : plan_.runs) held.push_back(run.n_diagonals);
    kept_ = kept_vectors(segments_of(held, most_kept_));
  }

  std::size_t vector_bytes() const { return plan_.vectors() * sizeof(V); }
  std::size_t kept() const { return kept_; }  // vectors beside r and o, wherever the channels are strong
  const Plan& plan() const { return plan_; }

  void run(const Request& req, const Output& out, int threads, const std::function<void()>& check) const {
    const bool outer = req.batch > 1 && threads > 1 && vector_bytes() <= (std::size_t{1} << 19);
    const std::uint32_t groups = outer ? static_cast<std::uint32_t>(std::min<std::size_t>(req.batch, kMostWorkers)) : 1;
    spread_groups(threads, groups, outer, [&](std::uint32_t g, int worker, Pool* inner) {
      const FlushSubnormals flush;
      const Crew crew(inner, worker == 0 ? check : std::function<void()>());
      auto space = spaces_.take();
      space->workers.resize(std::max<std::size_t>(space->workers.size(), crew.workers()));
      for (std::size_t s = req.batch * g / groups; s < req.batch * (g + 1) / groups; ++s) sample(req, out, s, *space, crew);
      if (space->bytes() <= kLeftBytes) spaces_.give(std::move(space));
    });
  }

 private:
  static constexpr std::size_t kLeftBytes = std::size_t{256} << 20;  // larger spaces go back to the system
  static const double* row(const double* a, std::size_t rows, std::size_t s, std::size_t size) { return a ? a + (rows == 1 ? 0 : s) * size : nullptr; }

  void sample(const Request& req, const Output& out, std::size_t s, Space& space, const Crew& crew) const {
    const std::size_t n = plan_.vectors(), M = plan_.d.turns.size(), C = plan_.n_coefficients;
    const double* coefficients = row(req.coefficients, req.n_coefficients, s, C);
    space.tables.prepare(plan_, row(req.angles, req.n_angles, s, M), coefficients);
    const bool gradient = out.d_angles != nullptr;
    space.r.reserve(n);
    double* const r = reinterpret_cast<double*>(space.r.data());
    if (req.start) read(row(req.start, req.n_start, s, std::size_t{1} << 2 * plan_.d.n), r);
    else product(row(req.bloch, req.n_bloch, s, 3 * plan_.d.n), r);
    const List<Segment>& segments = space.segments;
    if (gradient) {
      divide(space);
      space.kept.reserve(std::max<std::size_t>(most_within(segments) * n, 1));
      space.starts.reserve(std::max<std::size_t>((std::max<std::size_t>(segments.size(), 1) - 1) * n, 1));
    } else {
      space.segments.assign(1, {0, plan_.runs.size(), 0});
    }
    for (std::size_t i = 0; i < segments.size(); ++i) {
      const bool last = i + 1 == segments.size();
      if (gradient && !last) copy(space.r.data(), space.starts.data() + i * n, crew);
      forward(segments[i], space, crew, gradient && last);
    }
    if (out.values)
      for (std::size_t t = 0; t < req.n_strings; ++t) out.values[s * req.n_strings + t] = r[req.strings[t]] * (negative(req.strings[t]) ? -1 : 1);
    if (!gradient) return;
    space.o.reserve(n);
    double* const o = reinterpret_cast<double*>(space.o.data());
    zero(space.o.data(), crew);
    const double* weights = row(req.weights, req.n_weights, s, req.n_strings);
    for (std::size_t t = 0; t < req.n_strings; ++t) o[req.strings[t]] += weights[t] * (negative(req.strings[t]) ? -1 : 1);
    double* const d_angles = out.d_angles + s * M;
    double* const d_coefficients = out.d_coefficients + s * C;
    std::fill(d_angles, d_angles + M, 0.0);
    std::fill(d_coefficients, d_coefficients + C, 0.0);
    for (std::size_t i = segments.size(); i-- > 0;) {
      if (i + 1 < segments.size()) {
        copy(space.starts.data() + i * n, space.r.data(), crew);
        forward(segments[i], space, crew, true);
      }
      for (std::size_t k = segments[i].last; k-- > segments[i].first;) backward(plan_.runs[k], space, crew, coefficients, d_angles, d_coefficients);
    }
    if (out.adjoint) write(o, out.adjoint + (s << 2 * plan_.d.n));
  }

  // Where r is kept.
  void divide(Space& space) const {
    space.tables.prepare_inverses(plan_);
    const auto& undone = space.tables.undone;
    List<std::size_t> held;
    for (const Run& run : plan_.runs) {
      const auto first = undone.begin() + run.first_diagonal;
      held.push_back(static_cast<std::size_t>(std::count(first, first + run.n_diagonals, 0)));
    }
    space.segments = segments_of(held, most_kept_);
    space.slot.assign(plan_.n_diagonals, 0);
    for (const Segment& s : space.segments) {
      std::uint32_t next = 0;
      for (std::size_t k = s.first; k < s.last; ++k)
        for (std::uint32_t i = 0; i < plan_.runs[k].n_diagonals; ++i) {
          const std::uint32_t stage = plan_.runs[k].first_diagonal + i;
          if (!undone[stage]) space.slot[stage] = next++;
        }
    }
  }
  V* kept_at(const Space& space, const Run& run, const Op& op, std::uint32_t coset) const {
    return space.kept.data() + space.slot[op.stage] * plan_.vectors() + (std::size_t{coset} << run.space.b);
  }

  // r of a product state.
  void product(const double* bloch, double* r) const {
    const std::size_t size = plan_.vectors() * W;
    std::fill(r, r + size, 0.0);
    r[0] = 1;
    bool diagonal = true;
    std::size_t have = 1;
    for (int q = 0; q < plan_.d.n; ++q, have *= 4) {
      const double x = bloch[3 * q], y = bloch[3 * q + 1], z = bloch[3 * q + 2];
      if (x == 0 && y == 0 && diagonal) {
        for (std::size_t i = 0; i < have; ++i) r[2 * have + i] = z * r[i];
        continue;
      }
      diagonal = false;
      for (std::size_t i = 0; i < have; ++i) {
        r[have + i] = x * r[i];
        r[2 * have + i] = z * r[i];
        r[3 * have + i] = y * r[i];
      }
    }
    if (!diagonal) for (std::size_t i = 0; i < have; ++i) if (negative(i)) r[i] = -r[i];
  }
  static std::size_t spread(std::size_t x, int n) {
    std::size_t q = 0;
    for (int i = 0; i < n; ++i) q |= (x >> i & 1) << 2 * i;
    return q;
  }
  template <class F> void natural(const F& f) const {  // f(index x | z << n, our index, sign)
    const std::size_t d = std::size_t{1} << plan_.d.n;
    List<std::size_t> at(d);
    for (std::size_t x = 0; x < d; ++x) at[x] = spread(x, plan_.d.n);
    for (std::size_t z = 0; z < d; ++z)
      for (std::size_t x = 0; x < d; ++x) f(x | z << plan_.d.n, at[x] | at[z] << 1, std::popcount(x & z) & 2 ? -1.0 : 1.0);
  }
  void read(const double* start, double* r) const {
    std::fill(r, r + plan_.vectors() * W, 0.0);
    natural([&](std::size_t i, std::size_t q, double sign) { r[q] = sign * start[i]; });
  }
  void write(const double* o, double* out) const {
    natural([&](std::size_t i, std::size_t q, double sign) { out[i] = sign * o[q]; });
  }

  template <class F> void pieces(const Crew& crew, const F& f) const {
    const std::size_t n = plan_.vectors();
    const std::uint32_t chunks = n >= 65536 ? 64 : 1;
    crew.each(chunks, [&](std::uint32_t c, int) { f(n * c / chunks, n * (c + 1) / chunks); });
  }
  void copy(const V* from, V* to, const Crew& crew) const {
    pieces(crew, [&](std::size_t a, std::size_t b) { std::copy(from + a, from + b, to + a); });
  }
  void zero(V* to, const Crew& crew) const {
    pieces(crew, [&](std::size_t a, std::size_t b) { std::fill(to + a, to + b, V{}); });
  }

  static const std::uint8_t* forms(const Run& run, Mask base, Worker& worker) {
    if (!run.by_form) return nullptr;
    // f(B ^ v) = f(B) + f(v) + w(v, B)
    const std::size_t n = run.forms.size();
    worker.forms.reserve(n);
    List<Mask> images;
    for (const Mask w : run.space.basis) images.push_back(anticommute(w, base) * kSign);
    const Split linear(images);
    const unsigned all = form(base) * kSign;
    for (std::size_t k = 0; k < n; ++k) worker.forms[k] = static_cast<std::uint8_t>(run.forms[k] ^ linear(k) ^ all);
    return worker.forms.data();
  }
  static void gather(const Run& run, std::size_t base, const V* from, V* block) {
    for (std::size_t k = 0, n = std::size_t{1} << run.space.b; k < n; ++k) block[k] = from[run.space.gather(k) ^ base];
  }
  static void scatter(const Run& run, std::size_t base, const V* block, V* to) {
    for (std::size_t k = 0, n = std::size_t{1} << run.space.b; k < n; ++k) to[run.space.gather(k) ^ base] = block[k];
  }

  // job(chunk, coset number, coset, worker) for every coset of a run, with r (and o) gathered.
  template <class Job> static void cosets(const Run& run, Space& space, const Crew& crew, bool both, const Job& job) {
    const std::size_t block = std::size_t{1} << run.space.b, apart = block + 10;  // not at one place of a page: see state_vector/sweep.hpp
    crew.each(run.n_chunks, [&](std::uint32_t chunk, int w) {
      Worker& worker = space.workers[w];
      if (!run.space.identity) worker.block.reserve(both ? 2 * apart : apart);
      worker.sums.reserve(std::max<std::size_t>(run.n_sums, 1));
      if (both) std::fill(worker.sums.data(), worker.sums.data() + run.n_sums, V{});
      const std::uint32_t per = run.space.n_cosets / run.n_chunks;
      for (std::uint32_t i = chunk * per; i < (chunk + 1) * per; ++i) {
        if (w == 0) crew.check();
        const std::size_t base = run.space.cosets(i);
        Coset c;
        c.base = Mask{base} << kLanes;
        c.forms = forms(run, c.base, worker);
        if (run.space.identity) {
          c.r = space.r.data();
          c.o = space.o.data();
        } else {
          c.r = worker.block.data();
          gather(run, base, space.r.data(), c.r);
          if (both) { c.o = worker.block.data() + apart; gather(run, base, space.o.data(), c.o); }
        }
        job(i, c, worker);
        if (!run.space.identity) {
          scatter(run, base, c.r, space.r.data());
          if (both) scatter(run, base, c.o, space.o.data());
        } else if (c.r != space.r.data()) {
          std::copy(c.r, c.r + block, space.r.data());
        }
      }
      if (both)
        for (std::uint32_t i = 0; i < run.n_sums; ++i) {
          // each lane apart: patterns differ between lanes
          for (int l = 0; l < W; ++l) space.sums[(std::size_t{chunk} * run.n_sums + i) * W + l] = worker.sums[i][l];
        }
    });
  }

  void forward(const Segment& segment, Space& space, const Crew& crew, bool keep) const {
    for (std::size_t k = segment.first; k < segment.last; ++k) {
      const Run& run = plan_.runs[k];
      cosets(run, space, crew, false, [&](std::uint32_t number, Coset& c, Worker&) {
        for (const Op& op : run.ops) {
          if (op.kind == Kind::kTurn) {
            if (op.lanes) turn<true>(op, space.tables.turn(op), c);
            else turn<false>(op, space.tables.turn(op), c);
          } else if (op.kind == Kind::kShear) {
            shear(op, space.tables.shear(op), c);
          } else {
            diagonal(op, run, space.tables, c, keep && !space.tables.undone[op.stage] ? kept_at(space, run, op, number) : nullptr);
          }
        }
      });
    }
  }

  void backward(const Run& run, Space& space, const Crew& crew, const double* coefficients, double* d_angles, double* d_coefficients) const {
    space.sums.resize(std::max(space.sums.size(), std::size_t{run.n_chunks} * run.n_sums * W));
    cosets(run, space, crew, true, [&](std::uint32_t number, Coset& c, Worker& worker) {
      for (std::size_t i = run.ops.size(); i-- > 0;) {
        const Op& op = run.ops[i];
        V* const sums = worker.sums.data() + op.sums;
        if (op.kind == Kind::kTurn) {
          *sums += op.lanes ? turn_back<true>(op, space.tables.turn(op), c) : turn_back<false>(op, space.tables.turn(op), c);
        } else if (op.kind == Kind::kShear) {
          *sums += shear_back(op, space.tables.shear(op), c);
        } else {
          if (space.tables.undone[op.stage]) undo_diagonal(op, run, space.tables, c);
          else c.r = kept_at(space, run, op, number);  // and turned back there: nobody needs it again
          diagonal_back(op, run, space.tables, c, sums);
        }
      }
    });
    const std::size_t stride = std::size_t{run.n_sums} * W;
    double* const sums = space.sums.data();
    for (std::uint32_t c = 1; c < run.n_chunks; ++c)
      for (std::size_t i = 0; i < stride; ++i) sums[i] += sums[c * stride + i];
    List<double> products;
    for (const Op& op : run.ops) {
      if (op.kind == Kind::kDiagonal) {
        for (const Factor& f : op.factors) {
          if (!f.wanted) continue;
          products.assign(f.patterns(), 0.0);
          for (std::uint32_t p = 0; p < f.patterns(); ++p)
            for (int l = 0; l < W; ++l) products[p ^ f.lane_pattern[l]] += sums[(f.sums + p) * W + l];
          Tables::pull_back(f, coefficients, products, d_coefficients);
        }
      } else {
        double total = 0;
        for (int l = 0; l < W; ++l) total += sums[op.sums * W + l];
        (op.kind == Kind::kTurn ? d_angles : d_coefficients)[op.number] += op.sign * total;
      }
    }
  }

  Plan plan_;
  std::size_t most_kept_, kept_ = 0;
  mutable Store<Space> spaces_;
};

}  // namespace qp
