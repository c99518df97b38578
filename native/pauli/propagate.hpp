// Heisenberg propagation of a sum of Pauli strings through rotations exp(-i a_m P_m / 2), last rotation first.
//
// For each string Q that anticommutes with P, with R = +-i P Q:  O(Q), O(R) <- c O(Q) -+ s O(R), c O(R) +- s O(Q).  Every
// rotation merges first and truncates what it made afterwards.  A term may carry t(Q) >= max over m of |dO(Q)/da_m|,
//     t(Q) <- max(|c| t(Q) + |s| t(R), |dO(Q)/da|),     sqrt(sum of O^2) at most,
// and the ledger of a stage has the sums of |O| and of t of all that it dropped: these bound the errors of the value and of
// each derivative.
#pragma once

#include <array>
#include <numeric>
#include <stdexcept>

#include "graph.hpp"

namespace qp {

struct Rules {
  double least = 0;         // terms that are smaller are dropped
  bool by_tangent = false;  // smaller in |O| and in t, not in |O| alone
  double least_branch = 0;  // a branch of a smaller coefficient is not followed, unless that of its partner is
  bool keep_zeros = false;  // what was there stays, whatever its size
  std::size_t most_terms = 0;
  int most_weight = 0;      // 0: any
  bool keep_diagonal = false;  // whatever their weight
  double roulette = 0;      // smaller terms survive with probability size / roulette, and are as much larger then
  std::uint64_t seed = 0;
  std::size_t most_bytes = 0;
};

// Stages that are channels: `kind` of each stage; stage m owns the strings first_string[m] to first_string[m+1], with
// which a string anticommutes or not, one bit of its class each, and a factor for each class, from first[m] of the table.
struct Channels {
  const std::int32_t* kind;
  const std::int64_t *first_string, *first;
  const Word *x, *z;
  const double* table;
  std::size_t entries;
};

template <int W> struct Channel {
  std::vector<Gate<W>> bits;
  const double* factor;
  bool affine;

  Channel(const Channels& c, int m) : factor(c.table + c.first[m]), affine(c.kind[m] == kAffine) {
    for (auto k = static_cast<std::size_t>(c.first_string[m]); k < static_cast<std::size_t>(c.first_string[m + 1]); ++k) bits.emplace_back(c.x + k * W, c.z + k * W, 0.0, 0.0);
  }

  // f(slot, class) for those of the zone that anticommute with one of the strings at least.
  template <class F> void classify(const Zone<W>& zone, const F& f) const {
    Word masks[16];
    for (std::uint32_t base = 0; base < zone.slots(); base += 64) {
      Word any = 0;
      for (std::size_t k = 0; k < bits.size(); ++k) any |= masks[k] = zone.anticommuting(bits[k], base);
      for (; any; any &= any - 1) {
        const int i = std::countr_zero(any);
        unsigned kind = 0;
        for (std::size_t k = 0; k < bits.size(); ++k) kind |= static_cast<unsigned>(masks[k] >> i & 1) << k;
        f(static_cast<Slot>(base + static_cast<unsigned>(i)), static_cast<std::uint16_t>(kind));
      }
    }
  }
};

struct OutOfMemory { int stage; std::size_t terms, bytes; };

template <int W, bool T> class Propagation {
 public:
  Propagation(const Rules& rules, bool record) : rules_(rules), record_(record) {}

  double constant = 0;  // of the identity
  std::vector<Tally> ledger;
  std::size_t peak = 0, peak_bytes = 0;

  void run(const Word* ox, const Word* oz, const double* coefficient, std::size_t terms, const Word* px, const Word* pz, const Factor* factor,
           int stages, const Channels& channels, int threads, const std::function<void()>& pause) {
    const FlushSubnormals flush;
    const Lease lease(threads);
    pool_ = lease.pool();
    std::size_t first_zones = 1;
    while (terms > kZoneTerms * first_zones) first_zones *= 2;
    while (zones_.size() < first_zones) zones_.push_back(std::make_unique<Zone<W>>(T));
    for (std::size_t i = 0; i < terms; ++i) {
      String<W> q;
      std::copy(ox + i * W, ox + (i + 1) * W, q.w);
      std::copy(oz + i * W, oz + (i + 1) * W, q.w + W);
      if (q.weight() == 0) {
        constant += coefficient[i];
        if (record_) graph.start.push_back(kNowhere);
        continue;
      }
      const std::uint32_t z = zone_of(q, zones());
      const Slot slot = zones_[z]->insert(q, coefficient[i], 0);
      if (record_) graph.start.push_back(z << 16 | slot);
    }
    graph.kind.assign(channels.kind, channels.kind + stages);
    if (record_) {
      graph.stages = stages;
      graph.first.assign(channels.first, channels.first + stages);
      graph.table.assign(channels.table, channels.table + channels.entries);
      begin_epoch(0);
    }
    most_ = graph.affine() ? std::numeric_limits<double>::infinity() : euclidean(coefficient, terms);
    ledger.assign(stages, {});
    scratch_.resize(pool_ ? pool_->size() : 1);
    count();
    for (int j = 0; j < stages; ++j) {
      const int m = stages - 1 - j;
      const Gate<W> g(px + std::size_t(m) * W, pz + std::size_t(m) * W, factor[m].c, factor[m].s);
      split_if_full(j);
      if (channels.kind[m] == kRotation) {
        stage(g, j, nullptr);
      } else {
        const Channel<W> channel(channels, m);
        stage(g, j, &channel);
      }
      if (pause && (j & 15) == 0) pause();
    }
    if (record_) end_epoch();
    pool_ = nullptr;
  }

  std::size_t live() const { return live_; }
  std::size_t bytes() const { return bytes_; }
  std::uint32_t zones() const { return static_cast<std::uint32_t>(zones_.size()); }

  // The value in a product state of Bloch vectors (n, 3); with a graph, this is where its duals come from.
  double value(const double* bloch, int n, int threads) {
    String<W> no_x{};  // qubits whose Bloch vector is along Z: a string with x there has no overlap
    for (int q = 0; q < n; ++q)
      if (bloch[3 * q] == 0 && bloch[3 * q + 1] == 0) no_x.w[q / 64] |= Word{1} << (q % 64);
    std::vector<double> sums(zones_.size());
    std::vector<std::size_t> offset(zones_.size() + 1, 0);
    for (std::size_t z = 0; z < zones_.size(); ++z) offset[z + 1] = offset[z] + zones_[z]->slots();
    if (record_) graph.overlap.assign(offset.back(), 0.0);
    const Lease lease(live_ > 4096 ? threads : 1);
    share(lease.pool(), zones(), [&](std::uint32_t z, int) {
      const Zone<W>& zone = *zones_[z];
      double sum = 0, block = 0;
      for (std::uint32_t i = 1; i < zone.slots(); ++i) {
        if (i % kBlock == 0) sum += std::exchange(block, 0.0);
        const Slot slot = static_cast<Slot>(i);
        Word none = 0;
        for (int k = 0; k < W; ++k) none |= zone.column(k)[i] & no_x.w[k];
        if (none || !zone.alive(slot)) continue;
        double o = 1;
        for (int k = 0; k < W; ++k) {
          const Word x = zone.column(k)[i], zz = zone.column(W + k)[i];
          for (Word m = x | zz; m; m &= m - 1) {
            const int b = std::countr_zero(m);
            o *= bloch[3 * (64 * k + b) + (x >> b & 1 ? (zz >> b & 1 ? 1 : 0) : 2)];
          }
        }
        if (record_) graph.overlap[offset[z] + i] = o;
        block += o * zone.value()[i];
      }
      sums[z] = sum + block;
    });
    return std::accumulate(sums.begin(), sums.end(), constant);
  }

  Graph graph;

 private:
  struct List {  // of slots of a zone, each at most once
    std::unique_ptr<Slot[]> slots{new Slot[65536]};
    std::uint32_t n = 0;
    void clear() { n = 0; }
    bool empty() const { return n == 0; }
    QP_INLINE void push(Slot i) { slots[n++] = i; }
    const Slot* begin() const { return slots.get(); }
    const Slot* end() const { return slots.get() + n; }
  };
  struct Result {
    Slot low, high;
    std::uint16_t flags;
    double a, b, ta, tb;  // afterwards
    double fa, fb;        // what roulette multiplies by
  };
  struct Scratch {
    List low[2], high[2];
    std::vector<Result> results;
    std::vector<std::uint8_t> seen;  // of slots: paired already
    List lone_low, lone_high;  // whose branch is not followed, nor that of a partner if there is one
    List scaled[2];
    std::vector<Weighed> weighed[2];
    std::vector<Damped> kinds;
  };

  static constexpr std::size_t kZoneTerms = 12288;     // about what half of a second-level cache holds
  static constexpr std::size_t kWorthSharing = 6000;   // terms altogether

  void stage(const Gate<W>& g, int j, const Channel<W>* channel) {
    String<W> p;
    std::copy(g.p, g.p + 2 * W, p.w);
    if (rules_.most_bytes && 2 * (bytes_ + graph_bytes_) > rules_.most_bytes && !(channel && !channel->affine)) require_room(channel ? channel->bits[1] : g, j);
    const std::uint32_t other = zone_of(p, zones()), tasks = Graph::tasks(zones(), other);
    tallies_.assign(tasks, {});
    Counts* counts = nullptr;
    std::size_t at = 0;
    Epoch* const e = record_ ? &graph.epochs.back() : nullptr;
    if (e) {
      at = e->counts.size();
      e->counts.resize(at + tasks);
      counts = e->counts.data() + at;
    }
    share(live_ >= kWorthSharing ? pool_ : nullptr, tasks, [&](std::uint32_t task, int worker) {
      const Graph::Here h = Graph::here(other, task);
      Counts* const n = counts ? counts + task : nullptr;
      Stream* const stream = e ? &e->streams[h.zone[0]] : nullptr;
      if (channel) damp(*channel, g, h, scratch_[worker], tallies_[task], n, stream);
      else rotate(g, h, scratch_[worker], tallies_[task], n, stream, j);
    });
    for (std::uint32_t t = 0; t < tasks; ++t) Graph::add(ledger[j], tallies_[t]);
    count();
    if (rules_.most_terms && !channel && live_ > rules_.most_terms) keep_largest(other, tasks, counts, j);
    if (e) {
      std::uint32_t entries = 0;
      for (std::uint32_t t = 0; t < tasks; ++t) {
        const Counts& c = counts[t];
        for (int side = 0; side < 2; ++side) entries += c.scaled[side] + 2 * c.pairs[side] + c.weighed[side] + c.dropped[side] + c.damped[side];
      }
      if (!entries) e->counts.resize(at);
      e->stages.push_back({other, entries, entries ? static_cast<std::uint32_t>(at) : kNoCounts});
    }
    if (rules_.most_bytes && bytes_ + (record_ && (j & 15) == 0 ? graph_bytes_ = graph.bytes() + graph.work_bytes(live_) : graph_bytes_) > rules_.most_bytes)
      throw OutOfMemory{j, live_, bytes_ + graph_bytes_};
  }

  // Before a rotation may double what there is: every string that anticommutes may make one.
  void require_room(const Gate<W>& g, int j) {
    std::size_t more = 0;
    for (const auto& zone : zones_)
      for (std::uint32_t base = 0; base < zone->slots(); base += 64) more += static_cast<std::size_t>(std::popcount(zone->anticommuting(g, base)));
    if (record_) graph_bytes_ = graph.bytes() + graph.work_bytes(live_);
    const std::size_t each = live_ ? bytes_ / live_ + 1 : 0, needed = bytes_ + graph_bytes_ + more * (each + (record_ ? 8 : 0));
    if (needed > rules_.most_bytes) throw OutOfMemory{j, live_ + more, needed};
  }

  void rotate(const Gate<W>& g, const Graph::Here& h, Scratch& w, Tally& y, Counts* counts, Stream* stream, int j) {
    bool any = false;
    for (int side = 0; side < h.batches; ++side) any |= gather(g, *zones_[h.zone[side]], w.low[side], w.high[side]);
    if (!any) return;
    w.scaled[0].clear(); w.scaled[1].clear(); w.weighed[0].clear(); w.weighed[1].clear();
    for (int batch = 0; batch < h.batches; ++batch) {
      Zone<W>&low = *zones_[h.low(batch)], &high = *zones_[h.high(batch)];
      const int high_side = h.batches == 1 ? 0 : 1 - batch;
      w.results.clear();
      const std::size_t before = stream ? stream->pairs.size() : 0;
      pair_up(g, low, high, w.low[batch], w.high[high_side], w);
      if (rules_.least_branch > 0) {
        for (const Slot i : w.lone_low) scale(g, low, i, true, w.scaled[batch], y, stream);
        for (const Slot i : w.lone_high) scale(g, high, i, false, w.scaled[high_side], y, stream);
      }
      compute(g, low, high, w, y, j);
      apply(g, low, high, w, y, stream, batch, high_side);
      if (counts) counts->pairs[batch] = static_cast<std::uint16_t>(stream->pairs.size() - before);
    }
    if (stream)
      for (int side = 0; side < h.batches; ++side) {
        counts->scaled[side] = static_cast<std::uint16_t>(w.scaled[side].n);
        counts->weighed[side] = static_cast<std::uint16_t>(w.weighed[side].size());
        stream->scaled.insert(stream->scaled.end(), w.scaled[side].begin(), w.scaled[side].end());
        stream->weighed.insert(stream->weighed.end(), w.weighed[side].begin(), w.weighed[side].end());
      }
  }

  // A channel. Roulette waits for the next rotation.
  void damp(const Channel<W>& channel, const Gate<W>& g, const Graph::Here& h, Scratch& w, Tally& y, Counts* counts, Stream* stream) {
    for (int batch = 0; batch < h.batches; ++batch) {
      Zone<W>&low = *zones_[h.low(batch)], &high = *zones_[h.high(batch)];
      const std::size_t before = stream ? stream->pairs.size() : 0;
      w.kinds.clear();
      channel.classify(low, [&](Slot i, std::uint16_t kind) {
        if (channel.factor[kind] != 1 || (channel.affine && kind == kAlong)) w.kinds.push_back({i, kind});
      });
      unsigned damped = 0;
      for (const Damped d : w.kinds) {
        if (channel.affine && d.kind == kAlong) {
          feed(channel, g, low, high, d.slot, y, stream);
          continue;
        }
        const double a = low.value()[d.slot], ta = T ? low.tangent()[d.slot] : 0, f = channel.factor[d.kind];
        const double o = f * a, to = std::abs(f) * ta;
        y.o += std::abs(a);
        if constexpr (T) y.d += ta;
        if (stays(o, to)) {
          const double by = Graph::safe(f);
          low.value()[d.slot] = by * a;
          if constexpr (T) low.tangent()[d.slot] = rounded_up(std::abs(by) * ta);
          if (stream) stream->damped.push_back(d);
          ++damped;
          continue;
        }
        y.b += std::abs(o);
        if constexpr (T) y.t += to;
        low.erase(d.slot, low.string(d.slot));
        if (stream) stream->pairs.push_back({d.slot, d.kind, static_cast<std::uint16_t>(kLowBefore | kLone)});
      }
      if (!counts) continue;
      counts->pairs[batch] = static_cast<std::uint16_t>(stream->pairs.size() - before);
      counts->damped[batch] = static_cast<std::uint16_t>(damped);
    }
  }

  bool stays(double o, double t) const {
    const double s = size(o, t);
    return rules_.keep_zeros || (s > 0 && s >= rules_.least);
  }

  // A string of class kAlong: multiplied, and added to its product with the channel's string.
  void feed(const Channel<W>& channel, const Gate<W>& g, Zone<W>& low, Zone<W>& high, Slot i, Tally& y, Stream* stream) {
    const String<W> q = low.string(i), p = q ^ g.p;
    Slot k = high.find(p);
    const double a = low.value()[i], b = high.value()[k], ta = T ? low.tangent()[i] : 0, tb = T ? high.tangent()[k] : 0;
    std::uint16_t flags = static_cast<std::uint16_t>(kLowBefore | (k ? kHighBefore : 0));
    int e = g.phase - 1;  // of P Q, in quarter turns
    for (int v = 0; v < W; ++v) e += std::popcount(q.w[v] & q.w[W + v]) - std::popcount(p.w[v] & p.w[W + v]) + 2 * std::popcount(g.p[W + v] & q.w[v]);
    if ((e & 3) == 2) flags |= kMinus;
    const double f = channel.factor[kAlong], c = flags & kMinus ? -channel.factor[4] : channel.factor[4];
    const double to = f * a, fed = b + c * a, t_to = std::abs(f) * ta, t_fed = tb + std::abs(c) * ta;
    y.o += std::abs(a) + std::abs(b);
    if constexpr (T) y.d += ta + tb;
    if (stays(to, t_to)) flags |= kLowAfter;
    if (k ? stays(fed, t_fed) : born(fed, t_fed, p)) flags |= kHighAfter;
    if (!k && flags & kHighAfter) k = high.insert(p, 0, 0);  // first: the two have different slots
    if (flags & kHighAfter) {
      high.value()[k] = fed;
      if constexpr (T) high.tangent()[k] = rounded_up(t_fed);
    } else {
      y.b += std::abs(fed);
      if constexpr (T) y.t += t_fed;
      if (k) high.erase(k, p);
    }
    if (flags & kLowAfter) {
      low.value()[i] = to;
      if constexpr (T) low.tangent()[i] = rounded_up(t_to);
    } else {
      y.b += std::abs(to);
      if constexpr (T) y.t += t_to;
      low.erase(i, q);
    }
    if (stream) stream->pairs.push_back({i, k, flags});
  }

  // Whether a string that a channel makes is kept.
  bool born(double o, double t, const String<W>& q) const {
    const double s = size(o, t);
    if (!(s > 0) || s < rules_.least || std::abs(o) < rules_.least_branch) return false;
    return !rules_.most_weight || q.weight() <= rules_.most_weight || (rules_.keep_diagonal && q.diagonal());
  }

  static bool gather(const Gate<W>& g, const Zone<W>& zone, List& low, List& high) {
    low.clear();
    high.clear();
    for (std::uint32_t base = 0; base < zone.slots(); base += 64)
      if (const Word all = zone.anticommuting(g, base)) {
        const Word up = zone.high(g, base);
        for (Word m = all & ~up; m; m &= m - 1) low.push(static_cast<Slot>(base + std::countr_zero(m)));
        for (Word m = all & up; m; m &= m - 1) high.push(static_cast<Slot>(base + std::countr_zero(m)));
      }
    return !low.empty() || !high.empty();
  }

  static constexpr Slot kNone = Zone<W>::kNone;

  // The pairs of a low and a high term, of which one may be missing (slot 0).
  void pair_up(const Gate<W>& g, const Zone<W>& low, const Zone<W>& high, const List& lows, const List& highs, Scratch& w) {
    if (w.seen.empty()) w.seen.assign(65536, 0);
    std::uint8_t* const seen = w.seen.data();
    constexpr std::uint8_t kLow = 1, kHigh = 2;  // is still without a partner
    const auto add = [&](Slot i, Slot k) {
      const int flags = kUp | kDown | (i ? kLowBefore : 0) | (k ? kHighBefore : 0);
      w.results.push_back({i, k, static_cast<std::uint16_t>(flags), 0, 0, 0, 0, 1, 1});
    };
    const bool all = rules_.least_branch == 0;
    w.lone_low.clear();
    w.lone_high.clear();
    for (const Slot k : highs) seen[k] |= kHigh;
    for (const Slot i : lows) {
      if (!all && !follows(g, low.value()[i])) { seen[i] |= kLow; continue; }
      const Slot k = high.find(low.string(i) ^ g.p);
      seen[k] &= static_cast<std::uint8_t>(~kHigh);
      add(i, k);
    }
    for (const Slot k : highs) {
      if (!(seen[k] & kHigh)) continue;
      seen[k] &= static_cast<std::uint8_t>(~kHigh);
      if (!all && !follows(g, high.value()[k])) { w.lone_high.push(k); continue; }
      const Slot i = all ? kNone : low.find(high.string(k) ^ g.p);
      seen[i] &= static_cast<std::uint8_t>(~kLow);
      add(i, k);
    }
    if (all) return;
    for (const Slot i : lows)
      if (seen[i] & kLow) {
        seen[i] &= static_cast<std::uint8_t>(~kLow);
        w.lone_low.push(i);
      }
  }

  // A term whose branch is not followed.
  void scale(const Gate<W>& g, Zone<W>& zone, Slot i, bool is_low, List& scaled, Tally& y, Stream* stream) {
    const Factor f{g.c, g.s};
    const double a = zone.value()[i], t = T ? zone.tangent()[i] : 0;
    y.o += std::abs(a);
    if constexpr (T) y.d += t;
    drop_branch<T>(y, f, a, t);
    const double o = f.c * a, to = T ? std::max(std::abs(f.c) * t, std::abs(f.s * a)) : 0, s = size(o, to);
    if (rules_.keep_zeros || (s > 0 && s >= rules_.least)) {
      zone.value()[i] = o;
      if constexpr (T) zone.tangent()[i] = rounded_up(to);
      if (stream) scaled.push(i);
      return;
    }
    y.b += std::abs(o);
    if constexpr (T) y.t += to;
    zone.erase(i, zone.string(i));
    if (!stream) return;
    if (is_low) stream->pairs.push_back({i, kNone, kLowBefore});
    else stream->pairs.push_back({kNone, i, kHighBefore});
  }

  // Rotates, and says who is kept by the rules that look at one term only.
  void compute(const Gate<W>& g, const Zone<W>& low, const Zone<W>& high, Scratch& w, Tally& y, int j) {
    const Factor f{g.c, g.s};
    for (Result& r : w.results) {
      const double a = low.value()[r.low], b = high.value()[r.high];
      const double ta = T ? low.tangent()[r.low] : 0, tb = T ? high.tangent()[r.high] : 0;
      if (negative(g, low, high, r)) r.flags |= kMinus;
      y.o += std::abs(a) + std::abs(b);
      if constexpr (T) y.d += ta + tb;
      if (rules_.least_branch > 0) {
        const bool pair = (r.flags & kLowBefore) && (r.flags & kHighBefore);  // known as one: both are followed
        if (!pair && !follows(g, a)) { r.flags &= ~kUp; drop_branch<T>(y, f, a, ta); }
        if (!pair && !follows(g, b)) { r.flags &= ~kDown; drop_branch<T>(y, f, b, tb); }
      }
      const Rotated<T> made(f, r.flags, a, b, ta, tb, most_);
      r.a = made.low; r.b = made.high; r.ta = made.t_low; r.tb = made.t_high;
      if (kept(r.a, r.ta, r.flags & kLowBefore, low, r.low, g, high, r.high, r.fa, j)) r.flags |= kLowAfter;
      if (kept(r.b, r.tb, r.flags & kHighBefore, high, r.high, g, low, r.low, r.fb, j)) r.flags |= kHighAfter;
    }
  }

  // A pair of which neither branch is followed need not be known as one.
  bool follows(const Gate<W>& g, double from) const { return std::abs(g.s * from) >= rules_.least_branch; }

  double size(double o, double t) const { return rules_.by_tangent ? std::max(std::abs(o), t) : std::abs(o); }

  // Whether a term is kept; if it was not there before, its string is that of the partner times P.
  bool kept(double o, double t, bool before, const Zone<W>& own, Slot slot, const Gate<W>& g, const Zone<W>& of_partner, Slot partner, double& factor, int j) const {
    const double s = size(o, t);
    if (before && rules_.keep_zeros) return true;
    if (!(s > 0) || s < rules_.least) return false;
    if (!before && rules_.most_weight) {
      const String<W> q = of_partner.string(partner) ^ g.p;
      if (q.weight() > rules_.most_weight && !(rules_.keep_diagonal && q.diagonal())) return false;
    }
    if (s < rules_.roulette) {
      // A number of the string and the stage: threads and zones do not change it.
      const String<W> q = before ? own.string(slot) : of_partner.string(partner) ^ g.p;
      Word h = mixed(rules_.seed + 0x9e3779b97f4a7c15ull * static_cast<Word>(j + 1));
      for (int k = 0; k < 2 * W; ++k) h = mixed(h ^ q.w[k]) + 0x9e3779b97f4a7c15ull;
      if (static_cast<double>(h >> 11) * 0x1p-53 * rules_.roulette >= s) return false;
      factor = rules_.roulette / s;
    }
    return true;
  }

  // Whether i P low = -high.
  static bool negative(const Gate<W>& g, const Zone<W>& low, const Zone<W>& high, const Result& r) {
    int e = g.phase;
    for (const auto& a : g.parts) {
      Word x, z;
      if (r.flags & kLowBefore) { x = low.column(a.word)[r.low]; z = low.column(W + a.word)[r.low]; }
      else { x = high.column(a.word)[r.high] ^ a.x; z = high.column(W + a.word)[r.high] ^ a.z; }
      e += std::popcount(x & z) - std::popcount((x ^ a.x) & (z ^ a.z)) + 2 * std::popcount(a.z & x);
    }
    return (e & 3) == 2;
  }

  void apply(const Gate<W>& g, Zone<W>& low, Zone<W>& high, Scratch& w, Tally& y, Stream* stream, int low_side, int high_side) {
    for (Result& r : w.results) {
      const bool bl = r.flags & kLowBefore, bh = r.flags & kHighBefore, al = r.flags & kLowAfter, ah = r.flags & kHighAfter;
      if (!al) { y.b += std::abs(r.a); if constexpr (T) y.t += r.ta; }
      if (!ah) { y.b += std::abs(r.b); if constexpr (T) y.t += r.tb; }
      if (bl != al || bh != ah) {
        const String<W> q = bl ? low.string(r.low) : high.string(r.high) ^ g.p, p = q ^ g.p;
        // the new one first: the two of a pair have different slots
        if (!bl && al) r.low = low.insert(q, 0, 0);
        if (!bh && ah) r.high = high.insert(p, 0, 0);
        if (bl && !al) low.erase(r.low, q);
        if (bh && !ah) high.erase(r.high, p);
      }
      if (al) {
        low.value()[r.low] = r.a * r.fa;
        if constexpr (T) low.tangent()[r.low] = rounded_up(r.ta * r.fa);
      }
      if (ah) {
        high.value()[r.high] = r.b * r.fb;
        if constexpr (T) high.tangent()[r.high] = rounded_up(r.tb * r.fb);
      }
      if (!stream) continue;
      if (bl && al && !bh && !ah) w.scaled[low_side].push(r.low);
      else if (!bl && !al && bh && ah) w.scaled[high_side].push(r.high);
      else stream->pairs.push_back({r.low, r.high, r.flags});
      if (al && r.fa != 1) w.weighed[low_side].push_back({r.low, r.fa});
      if (ah && r.fb != 1) w.weighed[high_side].push_back({r.high, r.fb});
    }
  }

  // After a stage that left too many terms.
  void keep_largest(std::uint32_t other, std::uint32_t tasks, Counts* counts, int j) {
    std::vector<double> sizes;
    sizes.reserve(live_);
    const auto size_of = [&](const Zone<W>& z, std::uint32_t i) { return size(z.value()[i], T ? z.tangent()[i] : 0); };
    for (const auto& z : zones_)
      for (std::uint32_t i = 1; i < z->slots(); ++i)
        if (z->alive(static_cast<Slot>(i))) sizes.push_back(size_of(*z, i));
    std::size_t excess = live_ - (rules_.most_terms - rules_.most_terms / 32);
    std::nth_element(sizes.begin(), sizes.begin() + static_cast<std::ptrdiff_t>(excess), sizes.end());
    const double limit = sizes[excess];
    std::size_t at_limit = excess - static_cast<std::size_t>(std::count_if(sizes.begin(), sizes.begin() + static_cast<std::ptrdiff_t>(excess), [&](double s) { return s < limit; }));
    for (std::uint32_t t = 0; t < tasks; ++t) {
      const Graph::Here h = Graph::here(other, t);
      for (int side = 0; side < h.batches; ++side) {
        Zone<W>& z = *zones_[h.zone[side]];
        for (std::uint32_t i = 1; i < z.slots(); ++i) {
          const Slot slot = static_cast<Slot>(i);
          if (!z.alive(slot)) continue;
          const double s = size_of(z, i);
          if (s > limit || (s == limit && !at_limit)) continue;
          if (s == limit) --at_limit;
          ledger[j].b += std::abs(z.value()[i]);
          if constexpr (T) ledger[j].t += z.tangent()[i];
          z.erase(slot, z.string(slot));
          if (counts) {
            ++counts[t].dropped[side];
            graph.epochs.back().streams[h.zone[0]].dropped.push_back(slot);
          }
        }
      }
    }
    count();
  }

  static std::uint32_t zone_of(const String<W>& q, std::uint32_t zones) {
    static const auto masks = [] {
      std::array<String<W>, 16> m;
      for (int k = 0; k < 16; ++k)
        for (int i = 0; i < 2 * W; ++i) m[k].w[i] = mixed(0x9e3779b97f4a7c15ull * (1 + k * 2 * W + i) + 1);
      return m;
    }();
    std::uint32_t zone = 0;
    for (int k = 0; 1u << k < zones; ++k) {
      Word all = 0;
      for (int i = 0; i < 2 * W; ++i) all ^= q.w[i] & masks[k].w[i];
      zone |= static_cast<std::uint32_t>(std::popcount(all) & 1) << k;
    }
    return zone;
  }

  void split_if_full(int j) {
    for (;;) {
      bool full = live_ > kZoneTerms * zones_.size();
      for (const auto& z : zones_) full |= z->live() > Zone<W>::kMost;
      if (!full) return;
      if (zones_.size() >= 65536) throw std::length_error("zones");
      if (record_) end_epoch();
      const std::uint32_t half = zones();
      std::vector<std::unique_ptr<Zone<W>>> old = std::move(zones_);
      zones_.clear();
      for (std::uint32_t z = 0; z < 2 * half; ++z) zones_.push_back(std::make_unique<Zone<W>>(T, old[z % half]->live() / 2));
      Epoch* const e = record_ ? &graph.epochs.back() : nullptr;
      if (e) e->next.assign(e->offset.back(), kNowhere);
      for (std::uint32_t z = 0; z < half; ++z) {
        for (std::uint32_t i = 1; i < old[z]->slots(); ++i) {
          if (!old[z]->alive(static_cast<Slot>(i))) continue;
          const String<W> q = old[z]->string(static_cast<Slot>(i));
          const std::uint32_t to = zone_of(q, 2 * half);
          const Slot slot = zones_[to]->insert(q, old[z]->value()[i], 0);
          if constexpr (T) zones_[to]->tangent()[slot] = old[z]->tangent()[i];
          if (e) e->next[e->offset[z] + i] = to << 16 | slot;
        }
        old[z].reset();
      }
      if (record_) begin_epoch(j);
      count();
    }
  }

  void begin_epoch(int first) {
    Epoch e;
    e.first = first;
    e.zones = zones();
    e.streams.resize(e.zones);
    graph.epochs.push_back(std::move(e));
  }

  void end_epoch() {
    Epoch& e = graph.epochs.back();
    e.offset.assign(e.zones + 1, 0);
    for (std::uint32_t z = 0; z < e.zones; ++z) e.offset[z + 1] = e.offset[z] + zones_[z]->slots();
    const std::size_t k = graph.epochs.size();
    for (std::uint32_t& to : k == 1 ? graph.start : graph.epochs[k - 2].next)
      if (to != kNowhere) to = static_cast<std::uint32_t>(e.offset[to >> 16] + (to & 0xffff));
  }

  void count() {
    live_ = bytes_ = 0;
    for (const auto& z : zones_) {
      live_ += z->live();
      bytes_ += z->bytes();
    }
    if (live_ > peak) { peak = live_; peak_bytes = bytes_; }
  }

  Rules rules_;
  bool record_;
  std::vector<std::unique_ptr<Zone<W>>> zones_;
  std::vector<Scratch> scratch_;
  std::vector<Tally> tallies_;
  double most_ = 0;  // that a tangent can be
  std::size_t live_ = 0, bytes_ = 0, graph_bytes_ = 0;
  Pool* pool_ = nullptr;
};

}  // namespace qp
