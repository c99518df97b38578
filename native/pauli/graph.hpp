// What a propagation did, kept so that it can be done again at other angles, forwards and backwards, without strings.
//
// Stage j applies rotation M-1-j.  A stage is told zone pair by zone pair: `scaled` lists terms whose partner neither was
// there nor was kept, so that they are only multiplied by the cosine; `pairs` lists plane rotations with who was there before
// and who is kept; `weighed` what a random choice kept and multiplied; `dropped` what was dropped afterwards.  A slot that
// holds no term has coefficient and dual zero: forwards who is dropped becomes zero, backwards who was born does.
//
// A stage may be a channel instead of a rotation: `damped` lists terms that it multiplies by the factor of their class, and
// `pairs` those of class kAlong (low) that an affine channel besides adds to others (high), and those that it drops.
#pragma once

#include <algorithm>
#include <cmath>
#include <exception>
#include <functional>
#include <limits>

#include "../pool.hpp"
#include "terms.hpp"

namespace qp {

enum Flag : std::uint16_t {
  kMinus = 1,                         // i P low = -high
  kLowBefore = 2, kHighBefore = 4,    // was there
  kLowAfter = 8, kHighAfter = 16,     // is kept
  kUp = 32, kDown = 64,               // low -> high, high -> low is followed
  kLone = 128                         // of a channel: low alone, which it drops; `high` is its class
};
struct Pair { Slot low, high; std::uint16_t flags; };
struct Weighed { Slot slot; double factor; };
struct Damped { Slot slot; std::uint16_t kind; };

struct Counts { std::uint16_t scaled[2] = {}, pairs[2] = {}, weighed[2] = {}, dropped[2] = {}, damped[2] = {}; };

struct Stream {  // of the zone pairs with one first zone, in the order of stages
  std::vector<Slot> scaled, dropped;
  std::vector<Pair> pairs;
  std::vector<Weighed> weighed;
  std::vector<Damped> damped;
};

struct Stage {
  std::uint32_t other;    // a zone is paired with the zone xor this
  std::uint32_t entries;  // altogether
  std::uint32_t counts;   // where the stage's counts begin, one for each first zone; kNoCounts: it does nothing
};
constexpr std::uint32_t kNoCounts = 0xffffffffu;

struct Epoch {  // stages with one division into zones
  int first = 0;
  std::uint32_t zones = 1;
  std::vector<Stage> stages;
  std::vector<Counts> counts;
  std::vector<Stream> streams;
  std::vector<std::size_t> offset;     // of each zone's slots among all, and the number of all
  std::vector<std::uint32_t> next;     // where a slot goes when the epoch ends; kNowhere: it is empty
};
constexpr std::uint32_t kNowhere = 0xffffffffu;
constexpr std::size_t kBlock = 256;  // numbers are added up in blocks, so that roundings do not add up

// What stages are: rotations, channels that multiply strings by the factor of their class, or channels that besides add
// c times a string of class kAlong to its product with a given string, c being the last of the five factors.
enum Kind : std::int32_t { kRotation = 0, kDamping = 1, kAffine = 2 };
constexpr std::uint16_t kAlong = 2;

struct Factor { double c, s; };  // of a rotation, damping included
struct Tally { double b = 0, t = 0, o = 0, d = 0; };  // dropped |O| and t; rotated |O| and t

// f(i, worker) for i < n, over the pool if it is worth it; the first failure is thrown.
template <class F> void share(Pool* pool, std::uint32_t n, const F& f) {
  if (!pool || n < 2) {
    for (std::uint32_t i = 0; i < n; ++i) f(i, 0);
    return;
  }
  std::atomic<std::uint32_t> next{0};
  std::exception_ptr failure;
  std::mutex lock;
  const std::function<void(int)> work = [&](int worker) {
    try {
      for (std::uint32_t i; (i = next.fetch_add(1)) < n;) f(i, worker);
    } catch (...) {
      next.store(n);
      std::lock_guard<std::mutex> guard(lock);
      if (!failure) failure = std::current_exception();
    }
  };
  pool->run(work);
  if (failure) std::rethrow_exception(failure);
}

// sqrt(sum O(Q)^2) of an observable: no rotation enlarges it, nor does dropping, and no derivative by an angle is larger.
inline double euclidean(const double* coefficient, std::size_t terms) {
  double sum = 0;
  for (std::size_t i = 0; i < terms; ++i) sum += coefficient[i] * coefficient[i];
  return std::sqrt(sum) * (1 + 1e-9);
}

// The result of one rotation of a pair, with tangents if T, of which none is above `most`.
template <bool T> struct Rotated {
  double low, high, t_low = 0, t_high = 0;
  QP_INLINE Rotated(Factor f, std::uint16_t flags, double a, double b, double ta, double tb, double most) {
    const double s = flags & kMinus ? -f.s : f.s, c = flags & kMinus ? -f.c : f.c;
    const double up = flags & kUp ? 1.0 : 0.0, down = flags & kDown ? 1.0 : 0.0;
    low = f.c * a - down * (s * b);
    high = f.c * b + up * (s * a);
    if constexpr (T) {
      t_low = std::min(most, std::max(std::abs(f.c) * ta + down * (std::abs(f.s) * tb), std::abs(-f.s * a - down * (c * b))));
      t_high = std::min(most, std::max(std::abs(f.c) * tb + up * (std::abs(f.s) * ta), std::abs(-f.s * b + up * (c * a))));
    }
  }
};

// The ledger of a branch that is not followed.
template <bool T> QP_INLINE void drop_branch(Tally& y, Factor f, double from, double t) {
  y.b += std::abs(f.s * from);
  if constexpr (T) y.t += std::max(std::abs(f.s) * t, std::abs(f.c * from));
}

class Graph {
 public:
  std::vector<Epoch> epochs;
  std::vector<double> overlap;  // of the last epoch's slots with the input state
  std::vector<std::uint32_t> start;  // where the observable's terms are in the first epoch; kNowhere: the identity
  int stages = 0;
  std::vector<std::int32_t> kind;    // of stages, in the order of rotations
  std::vector<std::int64_t> first;   // where a stage's factors are in the table
  std::vector<double> table;
  static constexpr std::uint32_t kWorthSharing = 4000;  // entries of a stage

  bool affine() const { return std::find(kind.begin(), kind.end(), kAffine) != kind.end(); }

  std::size_t bytes() const {
    std::size_t total = overlap.capacity() * 8 + start.capacity() * 4;
    for (const Epoch& e : epochs) {
      total += e.stages.capacity() * sizeof(Stage) + e.counts.capacity() * sizeof(Counts) + e.next.capacity() * 4;
      for (const Stream& s : e.streams)
        total += 2 * (s.scaled.capacity() + s.dropped.capacity()) + sizeof(Pair) * s.pairs.capacity() + sizeof(Weighed) * s.weighed.capacity() + sizeof(Damped) * s.damped.capacity();
    }
    return total;
  }
  // Of one replay with its gradient, when the last epoch has this many slots.
  std::size_t work_bytes(std::size_t slots) const {
    std::size_t total = 16 * entries(true) + 36 * slots;
    for (const Epoch& e : epochs)
      if (!e.offset.empty()) total += 36 * e.offset.back();
    return total;
  }
  std::size_t entries(bool pairs) const {
    std::size_t total = 0;
    for (const Epoch& e : epochs)
      for (const Stream& s : e.streams) total += pairs ? s.pairs.size() : s.scaled.size();
    return total;
  }
  void seal() {
    for (Epoch& e : epochs) {
      e.stages.shrink_to_fit();
      e.counts.shrink_to_fit();
      for (Stream& s : e.streams) {
        s.scaled.shrink_to_fit();
        s.dropped.shrink_to_fit();
        s.pairs.shrink_to_fit();
        s.weighed.shrink_to_fit();
        s.damped.shrink_to_fit();
      }
    }
  }

  struct Work {  // what one replay at a time needs; kept from call to call
    struct Cursor { std::size_t scaled = 0, pairs = 0, weighed = 0, dropped = 0, damped = 0; };
    struct OfEpoch {
      std::vector<double> value, dual, product;  // of slots; product: coefficient times dual, a term's own for ever but for rotations
      std::vector<double> major;                 // of slots: the largest that a unit coefficient can be wrong by at the end
      std::vector<float> tangent;
      std::vector<std::vector<std::pair<double, double>>> before;  // of streams: pairs before their rotations
      std::vector<Cursor> cursor;
    };
    std::vector<OfEpoch> epochs;
    std::vector<double> sums, bounds;
    std::vector<Tally> tallies;
  };

  // coefficient: of the observable's terms.  Value and, if asked for, d/da of all rotations, in the order of rotations, and the ledger (stages).
  double replay(Work& w, const double* coefficient, const Factor* factor, double* gradient, Tally* ledger, double* posterior, int threads, const std::function<void()>& pause) const {
    const FlushSubnormals flush;
    const Lease lease(threads);
    Pool* const pool = lease.pool();
    w.epochs.resize(epochs.size());
    const double value = ledger ? forwards<true>(w, coefficient, factor, gradient, ledger, pool, pause) : forwards<false>(w, coefficient, factor, gradient, nullptr, pool, pause);
    if (gradient) {
      if (posterior) backwards<true>(w, factor, gradient, posterior, pool, pause);
      else backwards<false>(w, factor, gradient, nullptr, pool, pause);
    }
    return value;
  }

  // A factor that is zero would lose what the derivative needs: products of coefficient and dual stand for both.
  static double safe(double f) { return std::abs(f) < 1e-30 ? (std::signbit(f) ? -1e-30 : 1e-30) : f; }
  static Factor safe(Factor f) { return {safe(f.c), f.s}; }

  // The zones of one pair of zones at one stage; a batch is the low terms of one and the high terms of the other.
  struct Here {
    std::uint32_t zone[2];
    int batches;
    std::uint32_t low(int batch) const { return zone[batch]; }
    std::uint32_t high(int batch) const { return batches == 1 ? zone[0] : zone[1 - batch]; }
  };
  static std::uint32_t tasks(std::uint32_t zones, std::uint32_t other) { return other ? zones / 2 : zones; }
  static Here here(std::uint32_t other, std::uint32_t task) {
    if (!other) return {{task, task}, 1};
    // the zones whose highest bit of `other` is 0, in order
    const std::uint32_t top = std::bit_floor(other), a = (task & ~(top - 1)) << 1 | (task & (top - 1));
    return {{a, a ^ other}, 2};
  }

 private:

  template <bool T> double forwards(Work& w, const double* coefficient, const Factor* factor, bool keep, Tally* ledger, Pool* pool, const std::function<void()>& pause) const {
    const double most = affine() ? std::numeric_limits<double>::infinity() : T ? euclidean(coefficient, start.size()) : 0;
    double constant = 0;
    for (std::size_t k = 0; k < epochs.size(); ++k) {
      const Epoch& e = epochs[k];
      auto& we = w.epochs[k];
      const std::size_t n = e.offset.back();
      if (k == 0) {
        we.value.assign(n, 0.0);
        for (std::size_t i = 0; i < start.size(); ++i) {
          if (start[i] == kNowhere) constant += coefficient[i];
          else we.value[start[i]] = coefficient[i];
        }
        if constexpr (T) we.tangent.assign(n, 0.0f);
      } else {
        const Epoch& last = epochs[k - 1];
        auto& wl = w.epochs[k - 1];
        we.value.assign(n, 0.0);
        if constexpr (T) we.tangent.assign(n, 0.0f);
        for (std::size_t i = 0; i < last.next.size(); ++i) {
          if (last.next[i] == kNowhere) continue;
          we.value[last.next[i]] = wl.value[i];
          if constexpr (T) we.tangent[last.next[i]] = wl.tangent[i];
        }
      }
      we.cursor.assign(e.zones, {});
      we.before.resize(e.zones);
      if (keep)
        for (std::uint32_t z = 0; z < e.zones; ++z) we.before[z].resize(e.streams[z].pairs.size());
      w.tallies.resize(std::max<std::size_t>(w.tallies.size(), e.zones));
      for (std::size_t j = 0; j < e.stages.size(); ++j) {
        const Stage& st = e.stages[j];
        const int stage = e.first + int(j);
        if (ledger) ledger[stage] = {};
        if (st.counts == kNoCounts) continue;
        const int m = stages - 1 - stage;
        const Factor f = safe(factor[m]);
        const std::uint32_t n_tasks = tasks(e.zones, st.other);
        const auto job = [&](std::uint32_t task, int) {
          const Counts& n_of = e.counts[st.counts + task];
          w.tallies[task] = {};
          const Here h = here(st.other, task);
          if (kind[m] != kRotation) forward_channel<T>(e, we, h, n_of, table.data() + first[m], keep, w.tallies[task]);
          else forward_task<T>(e, we, h, n_of, f, keep, most, w.tallies[task]);
        };
        share(st.entries >= kWorthSharing ? pool : nullptr, n_tasks, job);
        if constexpr (T)
          for (std::uint32_t t = 0; t < n_tasks; ++t) add(ledger[stage], w.tallies[t]);
        if (pause && (stage & 63) == 0) pause();
      }
    }
    const auto& we = w.epochs.back();
    double total = constant;
    for (std::size_t i = 0; i < overlap.size(); i += kBlock) {
      double sum = 0;
      for (std::size_t l = i; l < std::min(overlap.size(), i + kBlock); ++l) sum += we.value[l] * overlap[l];
      total += sum;
    }
    return total;
  }

 public:
  static void add(Tally& to, const Tally& y) { to.b += y.b; to.t += y.t; to.o += y.o; to.d += y.d; }

 private:
  template <bool T> static void forward_task(const Epoch& e, Work::OfEpoch& we, const Here& h, const Counts& n, Factor f, bool keep, double most, Tally& y) {
    const std::uint32_t first = h.zone[0];
    const Stream& s = e.streams[first];
    Work::Cursor& at = we.cursor[first];
    for (int side = 0; side < h.batches; ++side) {
      double* const v = we.value.data() + e.offset[h.zone[side]];
      const Slot* const list = s.scaled.data() + at.scaled;
      if constexpr (T) {
        float* const t = we.tangent.data() + e.offset[h.zone[side]];
        for (unsigned i = 0; i < n.scaled[side]; ++i) {
          const Slot q = list[i];
          const double a = v[q], ta = t[q];
          y.o += std::abs(a); y.d += ta;
          drop_branch<T>(y, f, a, ta);
          t[q] = rounded_up(std::max(std::abs(f.c) * ta, std::abs(f.s * a)));
          v[q] = f.c * a;
        }
      } else {
        for (unsigned i = 0; i < n.scaled[side]; ++i) v[list[i]] *= f.c;
      }
      at.scaled += n.scaled[side];
    }
    for (int batch = 0; batch < h.batches; ++batch) {
      double* const low = we.value.data() + e.offset[h.low(batch)];
      double* const high = we.value.data() + e.offset[h.high(batch)];
      float* const t_low = T ? we.tangent.data() + e.offset[h.low(batch)] : nullptr;
      float* const t_high = T ? we.tangent.data() + e.offset[h.high(batch)] : nullptr;
      const Pair* const pair = s.pairs.data() + at.pairs;
      auto* const before = keep ? we.before[first].data() + at.pairs : nullptr;
      for (unsigned i = 0; i < n.pairs[batch]; ++i) {
        const Pair p = pair[i];
        const double a = low[p.low], b = high[p.high];
        const double ta = T ? t_low[p.low] : 0, tb = T ? t_high[p.high] : 0;
        if (keep) before[i] = {a, b};
        const Rotated<T> r(f, p.flags, a, b, ta, tb, most);
        const bool keep_low = p.flags & kLowAfter, keep_high = p.flags & kHighAfter;
        low[p.low] = keep_low ? r.low : 0.0;
        high[p.high] = keep_high ? r.high : 0.0;
        if constexpr (T) {
          y.o += std::abs(a) + std::abs(b); y.d += ta + tb;
          t_low[p.low] = keep_low ? rounded_up(r.t_low) : 0.0f;
          t_high[p.high] = keep_high ? rounded_up(r.t_high) : 0.0f;
          if (!keep_low) { y.b += std::abs(r.low); y.t += r.t_low; }
          if (!keep_high) { y.b += std::abs(r.high); y.t += r.t_high; }
          if (!(p.flags & kUp)) drop_branch<T>(y, f, a, ta);
          if (!(p.flags & kDown)) drop_branch<T>(y, f, b, tb);
        }
      }
      at.pairs += n.pairs[batch];
    }
    for (int side = 0; side < h.batches; ++side) {
      double* const v = we.value.data() + e.offset[h.zone[side]];
      float* const t = T ? we.tangent.data() + e.offset[h.zone[side]] : nullptr;
      for (unsigned i = 0; i < n.weighed[side]; ++i) {
        const Weighed& g = s.weighed[at.weighed + i];
        v[g.slot] *= g.factor;
        if constexpr (T) t[g.slot] = rounded_up(t[g.slot] * g.factor);
      }
      at.weighed += n.weighed[side];
      for (unsigned i = 0; i < n.dropped[side]; ++i) {
        const Slot q = s.dropped[at.dropped + i];
        if constexpr (T) { y.b += std::abs(v[q]); y.t += t[q]; t[q] = 0; }
        v[q] = 0;
      }
      at.dropped += n.dropped[side];
    }
  }

  template <bool T> static void forward_channel(const Epoch& e, Work::OfEpoch& we, const Here& h, const Counts& n, const double* factor, bool keep, Tally& y) {
    const std::uint32_t first = h.zone[0];
    const Stream& s = e.streams[first];
    Work::Cursor& at = we.cursor[first];
    for (int batch = 0; batch < h.batches; ++batch) {
      double* const low = we.value.data() + e.offset[h.low(batch)];
      double* const high = we.value.data() + e.offset[h.high(batch)];
      float* const t_low = T ? we.tangent.data() + e.offset[h.low(batch)] : nullptr;
      float* const t_high = T ? we.tangent.data() + e.offset[h.high(batch)] : nullptr;
      auto* const before = keep ? we.before[first].data() + at.pairs : nullptr;
      for (unsigned i = 0; i < n.pairs[batch]; ++i) {
        const Pair p = s.pairs[at.pairs + i];
        const bool lone = p.flags & kLone;
        const double a = low[p.low], b = lone ? 0.0 : high[p.high];
        const double ta = T ? t_low[p.low] : 0, tb = T && !lone ? t_high[p.high] : 0;
        if (keep) before[i] = {a, b};
        const double f = lone ? factor[p.high] : factor[kAlong], c = lone ? 0.0 : p.flags & kMinus ? -factor[4] : factor[4];
        const double to = f * a, fed = b + c * a, t_to = std::abs(f) * ta, t_fed = tb + std::abs(c) * ta;
        const bool keep_low = p.flags & kLowAfter, keep_high = p.flags & kHighAfter;
        low[p.low] = keep_low ? to : 0.0;
        if (!lone) high[p.high] = keep_high ? fed : 0.0;
        if constexpr (T) {
          y.o += std::abs(a) + std::abs(b); y.d += ta + tb;
          t_low[p.low] = keep_low ? rounded_up(t_to) : 0.0f;
          if (!lone) t_high[p.high] = keep_high ? rounded_up(t_fed) : 0.0f;
          if (!keep_low) { y.b += std::abs(to); y.t += t_to; }
          if (!lone && !keep_high) { y.b += std::abs(fed); y.t += t_fed; }
        }
      }
      at.pairs += n.pairs[batch];
      for (unsigned i = 0; i < n.damped[batch]; ++i) {
        const Damped d = s.damped[at.damped + i];
        const double f = safe(factor[d.kind]);
        if constexpr (T) {
          y.o += std::abs(low[d.slot]); y.d += t_low[d.slot];
          t_low[d.slot] = rounded_up(std::abs(f) * t_low[d.slot]);
        }
        low[d.slot] *= f;
      }
      at.damped += n.damped[batch];
    }
  }

  template <bool B> static void backward_channel(const Epoch& e, Work::OfEpoch& we, const Here& h, const Counts& n, const double* factor) {
    const std::uint32_t first = h.zone[0];
    const Stream& s = e.streams[first];
    Work::Cursor& at = we.cursor[first];
    for (int batch = h.batches; batch-- > 0;) {
      const std::size_t low = e.offset[h.low(batch)], high = e.offset[h.high(batch)];
      double *const d_low = we.dual.data() + low, *const d_high = we.dual.data() + high;
      double *const p_low = we.product.data() + low, *const p_high = we.product.data() + high;
      double *const m_low = B ? we.major.data() + low : nullptr, *const m_high = B ? we.major.data() + high : nullptr;
      at.damped -= n.damped[batch];
      for (unsigned i = n.damped[batch]; i-- > 0;) {
        const Damped d = s.damped[at.damped + i];
        const double f = safe(factor[d.kind]);
        d_low[d.slot] *= f;
        if constexpr (B) {
          we.value[low + d.slot] *= 1 / f;
          m_low[d.slot] = std::min(1 + std::abs(d_low[d.slot]), std::abs(f) * m_low[d.slot]);
        }
      }
      at.pairs -= n.pairs[batch];
      const auto* const before = we.before[first].data() + at.pairs;
      for (unsigned i = n.pairs[batch]; i-- > 0;) {
        const Pair p = s.pairs[at.pairs + i];
        const bool lone = p.flags & kLone;
        const auto [a, b] = before[i];
        const double f = lone ? factor[p.high] : factor[kAlong], c = lone ? 0.0 : p.flags & kMinus ? -factor[4] : factor[4];
        const double da = p.flags & kLowAfter ? d_low[p.low] : 0.0, db = lone || !(p.flags & kHighAfter) ? 0.0 : d_high[p.high];
        const double na = f * da + c * db, nb = p.flags & kHighBefore ? db : 0.0;
        if constexpr (B) {
          const double wa = p.flags & kLowAfter ? m_low[p.low] : 1.0, wb = lone || p.flags & kHighAfter ? (lone ? 0.0 : m_high[p.high]) : 1.0;
          m_low[p.low] = std::min(1 + std::abs(na), std::abs(f) * wa + std::abs(c) * wb);
          we.value[low + p.low] = a;
          if (!lone) {
            m_high[p.high] = std::min(1 + std::abs(nb), wb);
            we.value[high + p.high] = b;
          }
        }
        d_low[p.low] = na; p_low[p.low] = a * na;
        if (!lone) { d_high[p.high] = nb; p_high[p.high] = b * nb; }
      }
    }
  }

  // dF/da_m = sum over pairs of (d rotation) . dual; a term that is only scaled adds -tan(a_m) times coefficient * dual, which
  // is the same before and after.  With B also the majorant: posterior[m] = sum over what rotation m makes of |d| * majorant.
  template <bool B> void backwards(Work& w, const Factor* factor, double* gradient, double* posterior, Pool* pool, const std::function<void()>& pause) const {
    for (std::size_t k = epochs.size(); k-- > 0;) {
      const Epoch& e = epochs[k];
      auto& we = w.epochs[k];
      const std::size_t n = e.offset.back();
      we.dual.assign(n, 0.0);
      we.product.assign(n, 0.0);
      if constexpr (B) we.major.assign(n, 0.0);
      if (k + 1 == epochs.size()) {
        for (std::size_t i = 0; i < overlap.size(); ++i) {
          we.dual[i] = overlap[i];
          we.product[i] = overlap[i] * we.value[i];
        }
      } else {
        auto& wn = w.epochs[k + 1];
        for (std::size_t i = 0; i < e.next.size(); ++i) {
          if (e.next[i] == kNowhere) continue;
          we.dual[i] = wn.dual[e.next[i]];
          we.product[i] = wn.product[e.next[i]];
          if constexpr (B) we.major[i] = wn.major[e.next[i]];
        }
        wn.dual.clear();
      }
      w.sums.resize(std::max<std::size_t>(w.sums.size(), e.zones));
      w.bounds.resize(w.sums.size());
      for (std::size_t j = e.stages.size(); j-- > 0;) {
        const Stage& st = e.stages[j];
        const int stage = e.first + int(j), m = stages - 1 - stage;
        gradient[m] = 0;
        if (B) posterior[m] = 0;
        if (st.counts == kNoCounts) continue;
        const Factor f = safe(factor[m]);
        const std::uint32_t n_tasks = tasks(e.zones, st.other);
        share(st.entries >= kWorthSharing ? pool : nullptr, n_tasks, [&](std::uint32_t task, int) {
          const Counts& n_of = e.counts[st.counts + task];
          if (kind[m] != kRotation) {
            backward_channel<B>(e, we, here(st.other, task), n_of, table.data() + first[m]);
            w.sums[task] = w.bounds[task] = 0;
            return;
          }
          w.sums[task] = backward_task<B>(e, we, here(st.other, task), n_of, f, B ? &w.bounds[task] : nullptr);
        });
        for (std::uint32_t t = 0; t < n_tasks; ++t) {
          gradient[m] += w.sums[t];
          if constexpr (B) posterior[m] += w.bounds[t];
        }
        if (pause && (stage & 63) == 0) pause();
      }
    }
  }

  template <bool B> static double backward_task(const Epoch& e, Work::OfEpoch& we, const Here& h, const Counts& n, Factor f, double* bound) {
    const std::uint32_t first = h.zone[0];
    const Stream& s = e.streams[first];
    Work::Cursor& at = we.cursor[first];
    double pairs_sum = 0, scaled_sum = 0, major_sum = 0;
    const double cosine = std::abs(f.c), sine = std::abs(f.s);
    for (int side = h.batches; side-- > 0;) {
      at.dropped -= n.dropped[side];
      at.weighed -= n.weighed[side];
      double* const dual = we.dual.data() + e.offset[h.zone[side]];
      for (unsigned i = n.weighed[side]; i-- > 0;) {
        const Weighed& g = s.weighed[at.weighed + i];
        dual[g.slot] *= g.factor;
      }
    }
    for (int batch = h.batches; batch-- > 0;) {
      at.pairs -= n.pairs[batch];
      const std::size_t low = e.offset[h.low(batch)], high = e.offset[h.high(batch)];
      double *const d_low = we.dual.data() + low, *const d_high = we.dual.data() + high;
      double *const p_low = we.product.data() + low, *const p_high = we.product.data() + high;
      double *const m_low = B ? we.major.data() + low : nullptr, *const m_high = B ? we.major.data() + high : nullptr;
      const Pair* const pair = s.pairs.data() + at.pairs;
      const auto* const before = we.before[first].data() + at.pairs;
      for (unsigned i = n.pairs[batch]; i-- > 0;) {
        const Pair p = pair[i];
        const auto [a, b] = before[i];
        const double da = d_low[p.low], db = d_high[p.high];
        const double sc = p.flags & kMinus ? -f.c : f.c, ss = p.flags & kMinus ? -f.s : f.s;
        const double up = p.flags & kUp ? 1.0 : 0.0, down = p.flags & kDown ? 1.0 : 0.0;
        pairs_sum += -f.s * (a * da + b * db) + sc * (up * (a * db) - down * (b * da));
        const double na = p.flags & kLowBefore ? f.c * da + up * (ss * db) : 0.0;
        const double nb = p.flags & kHighBefore ? f.c * db - down * (ss * da) : 0.0;
        d_low[p.low] = na; d_high[p.high] = nb;
        p_low[p.low] = a * na; p_high[p.high] = b * nb;
        if constexpr (B) {
          // what is dropped, or reached by a branch that is not followed, has majorant 1
          const double wa = p.flags & kLowAfter ? m_low[p.low] : 1.0, wb = p.flags & kHighAfter ? m_high[p.high] : 1.0;
          const double wu = up != 0 ? wb : 1.0, wd = down != 0 ? wa : 1.0;
          major_sum += std::abs(f.s * a) * wa + std::abs(f.c * a) * wu + std::abs(f.s * b) * wb + std::abs(f.c * b) * wd;
          m_low[p.low] = std::min(1 + std::abs(na), cosine * wa + sine * wu);
          m_high[p.high] = std::min(1 + std::abs(nb), cosine * wb + sine * wd);
          we.value[low + p.low] = a;
          we.value[high + p.high] = b;
        }
      }
    }
    for (int side = h.batches; side-- > 0;) {
      at.scaled -= n.scaled[side];
      const std::size_t base = e.offset[h.zone[side]];
      double *const dual = we.dual.data() + base, *const product = we.product.data() + base;
      const Slot* const list = s.scaled.data() + at.scaled;
      double sum[4] = {};
      unsigned i = 0;
      for (; i + 4 <= n.scaled[side]; i += 4)
        for (unsigned l = 0; l < 4; ++l) {
          const Slot q = list[i + l];
          sum[l] += product[q];
          dual[q] *= f.c;
        }
      for (; i < n.scaled[side]; ++i) { sum[0] += product[list[i]]; dual[list[i]] *= f.c; }
      scaled_sum += (sum[0] + sum[1]) + (sum[2] + sum[3]);
      if constexpr (B) {
        double *const value = we.value.data() + base, *const major = we.major.data() + base;
        const double back = 1 / f.c;
        for (unsigned k = 0; k < n.scaled[side]; ++k) {
          const Slot q = list[k];
          value[q] *= back;
          major_sum += std::abs(value[q]) * (sine * major[q] + cosine);
          major[q] = std::min(1 + std::abs(dual[q]), cosine * major[q] + sine);
        }
      }
    }
    if constexpr (B) *bound = major_sum;
    return pairs_sum - f.s / f.c * scaled_sum;
  }
};

}  // namespace qp
