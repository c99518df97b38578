// The compiled form of a noisy model: runs of operations on the real vector of all Pauli strings' expectations.
//
// rho is held as r[Q] = Tr(rho U_Q) for all 4^n strings Q = (x, z), whose index has x_q in bit 2q and z_q in bit 2q + 1.  U_Q = i^f(Q) X^x Z^z
// with f(Q) = |x&z| mod 2 is Hermitian, and is the positive string P_Q = i^|x&z| X^x Z^z up to the sign (-1)^(|x&z| >> 1).  With w(A, B) the
// symplectic form (1 where A and B anticommute):
//
//   i U_P U_Q = (-1)^(z_P.x_Q + (f(P) ? 1 : f(Q))) U_(P^Q)   where they anticommute,
//     U_P U_Q = (-1)^(z_P.x_Q + f(P) f(Q))         U_(P^Q)   where they commute.
//
// f is a quadratic form with f(A ^ B) = f(A) + f(B) + w(A, B): on a coset it is a fixed table plus a linear form.  So all that an operation has to know
// of a vector of strings is a few parities, its signature, of which all but f are linear in the address.
//
// There are three operations, written here for the Schroedinger picture (observables go backwards through the transposes):
//   turn      exp(-i a P/2): where Q anticommutes with P, r[Q] <- cos(a) r[Q] + sin(a) s r[Q^P] with s the sign of i P Q
//   diagonal  r[Q] <- lambda(Q) r[Q], a product of functions of few parities w(., Q)
//   shear     r[Q] <- r[Q] + c s r[Q^C] where Q anticommutes with A and commutes with C, with s the sign of C Q
#pragma once

#include <numeric>
#include <stdexcept>

#include "../subspace.hpp"
#include "../vec.hpp"

namespace qp {

constexpr Mask kX = 0x5555555555555555ull;
inline Mask interleaved(Mask x, Mask z) {
  Mask q = 0;
  for (int i = 0; i < 32; ++i) q |= (x >> i & 1) << 2 * i | (z >> i & 1) << (2 * i + 1);
  return q;
}
inline unsigned anticommute(Mask a, Mask b) { return parity(a & ((b >> 1 & kX) | (b & kX) << 1)); }
inline unsigned form(Mask q) { return parity(q & q >> 1 & kX); }
inline bool negative(Mask q) { return std::popcount(q & q >> 1 & kX) & 2; }  // U_Q is minus the positive string

using V = Vec<double>;
constexpr int W = kWidth<double>, kLanes = kLaneBits<double>;

// What Python hands over, in circuit order; `after[k]`: channel k comes after so many rotations.
struct Channels {
  List<std::int32_t> after;
  List<std::uint8_t> affine;
  List<std::int32_t> string_ptr, coefficient;  // of a Pauli channel a coefficient a string; of an affine one a, b, c
  List<Mask> strings;                          // of an affine channel the images of X and Z
  List<std::int32_t> key;                      // strings of one key have one probability
  List<std::int8_t> sign;                      // affine: of the image of Z
  List<std::uint8_t> wanted;                   // by coefficient: whether its derivative is
};
struct Description {
  int n = 0, dimension = 0, most_diagonals = 0;
  List<Mask> turns;
  Channels channels;
};

// A channel, whose lambda is a function of its family's parities.
struct Member {
  bool affine;
  std::int32_t coefficient;
  List<std::uint32_t> combination;  // of a Pauli channel: each string's, of the family's
};
// Channels of the same few independent strings; map: from a pattern of the factor to their own.
struct Family {
  List<Mask> strings;
  List<Member> members;
  List<std::uint32_t> map;
  std::size_t patterns() const { return std::size_t{1} << strings.size(); }
};
// Families that share a space of few parities: one table of 2^bits products.
struct Factor {
  List<Mask> basis;  // the strings whose parities are the pattern's bits
  List<Family> families;
  std::uint32_t lane_pattern[W] = {};
  std::uint32_t table = 0, sums = 0;
  int shift = 0;
  bool wanted = false;
  std::uint32_t patterns() const { return std::uint32_t{1} << basis.size(); }
};

enum class Kind : std::uint8_t { kTurn, kDiagonal, kShear };

// The vectors an operation visits, k = low[i % 64] ^ high[i / 64] ^ offset, with their signatures.
struct Walk {
  List<std::uint32_t> low, high;
  List<std::uint8_t> low_sig, high_sig;
  void build(const List<std::uint32_t>& vectors, const List<std::uint8_t>& sigs) {
    const int bits = static_cast<int>(vectors.size()), some = std::min(bits, 6);
    low.assign(std::size_t{1} << some, 0); low_sig.assign(low.size(), 0);
    high.assign(std::size_t{1} << (bits - some), 0); high_sig.assign(high.size(), 0);
    for (int i = 0; i < bits; ++i) {
      auto& t = i < some ? low : high;
      auto& s = i < some ? low_sig : high_sig;
      const std::size_t bit = std::size_t{1} << (i < some ? i : i - some);
      for (std::size_t k = 0; k < bit; ++k) { t[bit + k] = t[k] ^ vectors[i]; s[bit + k] = static_cast<std::uint8_t>(s[k] ^ sigs[i]); }
    }
  }
};

// Bits of a signature.
constexpr unsigned kActive = 1, kSign = 2, kVariant = 4, kDestination = 8;

struct Op {
  Kind kind;
  Mask string = 0;       // P, or C of a shear
  Mask other = 0;        // A of a shear
  std::int32_t number = 0;  // the rotation, or the coefficient c
  double sign = 1;
  bool wanted = true;
  std::uint32_t sums = 0;  // where its derivatives are summed within its run
  // turns and shears
  std::uint32_t vector = 0;  // what it flips, of the local address
  int lanes = 0;
  bool whole = false, narrowed = false, by_form = false;  // activity is one of whole vectors; only active ones are walked; the sign has f(Q)
  std::uint32_t offset = 0;
  std::uint8_t offset_sig = 0;
  Walk walk;
  std::size_t table = 0;
  // diagonals
  std::uint32_t stage = 0;  // which of them, in the whole plan
  List<Factor> factors;
  Split pattern;           // of a local vector, all factors side by side
};

struct Run {
  Subspace space;
  List<Op> ops;
  List<std::uint8_t> forms;  // f of the local vectors, as the sign bit of a signature
  std::uint32_t n_chunks = 1, n_sums = 0, n_diagonals = 0, first_diagonal = 0;
  bool by_form = false;
};

constexpr int kFactorBits = 8, kWidestFactor = 16, kPatternBits = 64;
constexpr std::size_t kAhead = 96;  // operations that others may overtake

class Plan {
 public:
  Description d;
  int n_up;
  List<Run> runs;
  std::size_t turn_tables = 0, shear_tables = 0, diagonal_tables = 0;  // in vectors
  std::size_t n_coefficients;
  std::uint32_t n_diagonals = 0;

  explicit Plan(Description description) : d(std::move(description)), n_up(std::max(2 * d.n - kLanes, 1)), n_coefficients(d.channels.wanted.size()) {
    List<Item> left = items();
    std::reverse(left.begin(), left.end());
    while (!left.empty()) take_run(left);
  }
  std::size_t vectors() const { return std::size_t{1} << n_up; }

 private:
  struct Item {
    Kind kind;
    Mask string, other;
    std::int32_t number;
    int channel;
    double sign;
    bool wanted;
  };

  bool wanted(int channel) const {
    const Channels& c = d.channels;
    const int count = c.affine[channel] ? 3 : c.string_ptr[channel + 1] - c.string_ptr[channel];
    for (int i = 0; i < count; ++i) if (c.wanted[c.coefficient[channel] + i]) return true;
    return false;
  }

  List<Item> items() const {
    List<Item> out;
    const Channels& c = d.channels;
    std::size_t k = 0;
    for (std::size_t m = 0; m <= d.turns.size(); ++m) {
      for (; k < c.after.size() && c.after[k] == static_cast<std::int32_t>(m); ++k) {
        const int channel = static_cast<int>(k);
        out.push_back({Kind::kDiagonal, 0, 0, 0, channel, 1, wanted(channel)});
        if (!c.affine[k]) continue;
        const Mask a = c.strings[c.string_ptr[k]], z = c.strings[c.string_ptr[k] + 1];
        const std::int32_t number = c.coefficient[k] + 2;
        out.push_back({Kind::kShear, z, a, number, channel, c.sign[k] * (negative(z) ? -1.0 : 1.0), c.wanted[number] != 0});
      }
      if (m < d.turns.size()) out.push_back({Kind::kTurn, d.turns[m], 0, static_cast<std::int32_t>(m), -1, negative(d.turns[m]) ? -1.0 : 1.0, true});
    }
    if (k < c.after.size()) throw std::logic_error("noise: channels out of order");
    return out;
  }

  // Whether the order of a turn about P and a channel does not matter.
  bool commutes(Mask p, int channel) const {
    const Channels& c = d.channels;
    const int first = c.string_ptr[channel], last = c.string_ptr[channel + 1];
    if (c.affine[channel]) return p == c.strings[first + 1] || !(anticommute(p, c.strings[first]) || anticommute(p, c.strings[first + 1]));
    // Strings that anticommute with P, in pairs j, j' = j P of one probability: of Q and QP each is hit by one of a pair.
    for (int j = first; j < last; ++j) {
      if (!anticommute(p, c.strings[j])) continue;
      if (last - first > 64) return false;
      int found = 0, same = 0;
      for (int i = first; i < last; ++i) {
        found += c.strings[i] == (c.strings[j] ^ p) && c.key[i] == c.key[j];
        same += c.strings[i] == c.strings[j] || c.strings[i] == (c.strings[j] ^ p);
      }
      if (found != 1 || same != 2) return false;
    }
    return true;
  }
  bool commutes(const Item& a, const Item& b) const {
    if (a.kind > b.kind) return commutes(b, a);
    if (a.kind == Kind::kTurn) {
      if (b.kind == Kind::kTurn) return !anticommute(a.string, b.string);
      return commutes(a.string, b.channel) || (b.kind == Kind::kShear && a.string == b.string);
    }
    if (b.kind == Kind::kDiagonal) return true;
    if (a.kind == Kind::kDiagonal) {
      const Channels& c = d.channels;
      for (int j = c.string_ptr[a.channel]; j < c.string_ptr[a.channel + 1]; ++j) if (anticommute(c.strings[j], b.string)) return false;
      return true;
    }
    return !(anticommute(a.string, b.string) || anticommute(a.string, b.other) || anticommute(a.other, b.string) || anticommute(a.other, b.other));
  }

  // Operations are taken into a run while what they flip spans no more than its dimensions; they overtake those they commute with.
  void take_run(List<Item>& left) {  // the next operation last
    List<Mask> echelon, basis;
    const int dimension = std::min(d.dimension, n_up);
    const bool all = dimension == n_up;
    const auto reduce = [&](Mask m) { for (const Mask e : echelon) m = std::min(m, m ^ e); return m; };
    const auto enter = [&](Mask m) {
      if (const Mask rest = reduce(m)) { echelon.push_back(rest); basis.push_back(m); return true; }
      return false;
    };
    // Large vectors are read in pieces of several lines.
    if (all) for (int q = 0; q < n_up; ++q) enter(Mask{1} << q);
    else if (n_up > 18 && dimension > 6) for (int q = 0; q < 2; ++q) enter(Mask{1} << q);
    List<Item> taken, skipped;
    int diagonals = 0;
    while (!left.empty() && skipped.size() < kAhead) {
      const Item item = left.back();
      left.pop_back();
      bool fits = item.kind != Kind::kDiagonal || diagonals < d.most_diagonals;
      for (std::size_t s = 0; fits && s < skipped.size(); ++s) fits = commutes(item, skipped[s]);
      if (fits && item.kind != Kind::kDiagonal) {
        const Mask up = item.string >> kLanes;
        if (reduce(up) && static_cast<int>(basis.size()) >= dimension) fits = false;
        else enter(up);
      }
      if (fits) diagonals += put(taken, item);
      else skipped.push_back(item);
    }
    left.insert(left.end(), skipped.rbegin(), skipped.rend());
    for (int q = 0; q < n_up && static_cast<int>(basis.size()) < dimension; ++q) enter(Mask{1} << q);
    if (static_cast<int>(basis.size()) == n_up) { basis.clear(); for (int q = 0; q < n_up; ++q) basis.push_back(Mask{1} << q); }
    for (Mask& m : basis) m <<= kLanes;
    build(taken, basis);
  }

  // Diagonals move back to the last one that nothing keeps them from; the number of new stages.
  int put(List<Item>& taken, const Item& item) const {
    if (item.kind == Kind::kDiagonal) {
      for (std::size_t i = taken.size(); i-- > 0 && taken.size() - i < kAhead;) {
        if (taken[i].kind == Kind::kDiagonal) { taken.insert(taken.begin() + static_cast<std::ptrdiff_t>(i) + 1, item); return 0; }
        if (!commutes(item, taken[i])) break;
      }
    }
    taken.push_back(item);
    return item.kind == Kind::kDiagonal;
  }

  void build(const List<Item>& taken, const List<Mask>& basis) {
    Run run{Subspace(basis.data(), static_cast<int>(basis.size()), n_up, kLanes), {}, {}, 1, 0, 0, n_diagonals, false};
    run.n_chunks = chunks_of(run.space.n_cosets);
    for (std::size_t i = 0; i < taken.size(); ++i) {
      const Item& item = taken[i];
      if (item.kind == Kind::kDiagonal) {
        Op op{};
        op.kind = item.kind;
        List<int> channels;
        for (; i < taken.size() && taken[i].kind == Kind::kDiagonal; ++i) channels.push_back(taken[i].channel);
        --i;
        for (const int channel : channels) {
          if (!add(op, channel)) {  // no more pattern bits: another stage
            finish(run, op);
            op = Op{};
            op.kind = Kind::kDiagonal;
            if (!add(op, channel)) throw std::logic_error("noise: a channel of too many parities");
          }
        }
        finish(run, op);
      } else {
        Op op{};
        op.kind = item.kind;
        op.string = item.string; op.other = item.other; op.number = item.number; op.sign = item.sign; op.wanted = item.wanted;
        walk(run, op);
      }
    }
    if (run.by_form) {
      run.forms.resize(std::size_t{1} << run.space.b);
      for (std::size_t k = 0; k < run.forms.size(); ++k) run.forms[k] = static_cast<std::uint8_t>(form(run.space.gather(k) << kLanes) * kSign);
    }
    runs.push_back(std::move(run));
  }

  // Adds a channel to the factors of a stage; false if it has no room.
  bool add(Op& op, int channel) const {
    const Channels& c = d.channels;
    const int first = c.string_ptr[channel], last = c.string_ptr[channel + 1];
    Member member{c.affine[channel] != 0, c.coefficient[channel], {}};
    List<Mask> own, echelon, how;
    const auto combination = [&](Mask m) {
      Mask used = 0;
      for (std::size_t e = 0; e < echelon.size(); ++e) if ((m ^ echelon[e]) < m) { m ^= echelon[e]; used ^= how[e]; }
      if (m) { echelon.push_back(m); how.push_back(used ^ Mask{1} << own.size()); used = Mask{1} << own.size(); return std::pair{used, true}; }
      return std::pair{used, false};
    };
    for (int j = first; j < last; ++j) {
      const auto [used, fresh] = combination(c.strings[j]);
      if (fresh) own.push_back(c.strings[j]);
      if (own.size() > kWidestFactor) return false;
      member.combination.push_back(static_cast<std::uint32_t>(used));
    }
    int bits = 0;
    for (const Factor& f : op.factors) bits += static_cast<int>(f.basis.size());
    Factor* best = nullptr;
    int fewest = 1 << 20;
    for (Factor& f : op.factors) {
      List<Mask> e;
      int fresh = 0;
      for (const Mask m : f.basis) grow(e, m);
      for (const Mask m : own) fresh += grow(e, m);
      if (static_cast<int>(f.basis.size()) + fresh <= kFactorBits && fresh < fewest) { best = &f; fewest = fresh; }
    }
    const int more = best ? fewest : static_cast<int>(own.size());
    if (bits + more > kPatternBits) return false;
    if (!best) { op.factors.emplace_back(); best = &op.factors.back(); }
    List<Mask> e;
    for (const Mask m : best->basis) grow(e, m);
    for (const Mask m : own) if (grow(e, m)) best->basis.push_back(m);
    best->wanted = best->wanted || wanted(channel);
    auto family = std::find_if(best->families.begin(), best->families.end(), [&](const Family& f) { return f.strings == own; });
    if (family == best->families.end()) family = best->families.insert(family, Family{own, {}, {}});
    family->members.push_back(std::move(member));
    return true;
  }
  static bool grow(List<Mask>& echelon, Mask m) {
    for (const Mask e : echelon) m = std::min(m, m ^ e);
    if (m) echelon.push_back(m);
    return m != 0;
  }

  void finish(Run& run, Op& op) {
    List<Mask> strings;
    op.wanted = false;
    op.sums = run.n_sums;
    for (Factor& f : op.factors) {
      f.shift = static_cast<int>(strings.size());
      strings.insert(strings.end(), f.basis.begin(), f.basis.end());
      f.table = static_cast<std::uint32_t>(diagonal_tables);
      diagonal_tables += f.patterns();
      op.wanted = op.wanted || f.wanted;
      if (f.wanted) { f.sums = run.n_sums; run.n_sums += f.patterns(); }
      for (int l = 0; l < W; ++l)
        for (std::size_t i = 0; i < f.basis.size(); ++i) f.lane_pattern[l] |= anticommute(f.basis[i], l) << i;
      for (Family& family : f.families) {
        List<std::uint32_t> masks;
        for (const Mask s : family.strings) masks.push_back(combination_of(f.basis, s));
        family.map.assign(f.patterns(), 0);
        for (std::uint32_t p = 0; p < f.patterns(); ++p)
          for (std::size_t i = 0; i < masks.size(); ++i) family.map[p] |= parity(p & masks[i]) << i;
      }
    }
    List<Mask> images;
    for (const Mask w : run.space.basis) images.push_back(pattern_of(strings, w));
    op.pattern = Split(images);
    op.stage = n_diagonals++;
    ++run.n_diagonals;
    run.ops.push_back(std::move(op));
  }
  static std::uint32_t combination_of(const List<Mask>& basis, Mask m) {
    List<Mask> echelon, how;
    for (std::size_t i = 0; i <= basis.size(); ++i) {
      Mask v = i < basis.size() ? basis[i] : m, used = 0;
      for (std::size_t e = 0; e < echelon.size(); ++e) if ((v ^ echelon[e]) < v) { v ^= echelon[e]; used ^= how[e]; }
      if (i == basis.size()) return static_cast<std::uint32_t>(used);
      echelon.push_back(v);
      how.push_back(used ^ Mask{1} << i);
    }
    return 0;
  }

 public:
  static Mask pattern_of(const List<Mask>& strings, Mask q) {
    Mask p = 0;
    for (std::size_t i = 0; i < strings.size(); ++i) p |= Mask{anticommute(strings[i], q)} << i;
    return p;
  }
  // The linear part of a signature.
  static std::uint8_t signature(const Op& op, Mask q) {
    unsigned s = anticommute(op.string, q) * kActive | parity(op.string >> 1 & kX & q) * kSign;
    if (kLanes & 1) s |= (q >> kLanes & 1) * kVariant;  // the partner of the highest lane bit
    if (op.kind == Kind::kShear) s |= anticommute(op.other, q) * kDestination;
    return static_cast<std::uint8_t>(s);
  }

 private:
  void walk(Run& run, Op& op) {
    const auto local = run.space.locate(op.string);
    op.vector = local.vector;
    op.lanes = local.lanes;
    op.by_form = (op.kind == Kind::kTurn) != form(op.string);
    run.by_form = run.by_form || op.by_form;
    op.whole = true;
    for (int l = 0; l < W; ++l) op.whole = op.whole && !anticommute(op.string, l);
    const int b = run.space.b;
    const int pivot = op.vector ? 31 - std::countl_zero(op.vector) : -1;
    List<std::uint8_t> sigs;
    std::uint32_t active = 0;
    for (int i = 0; i < b; ++i) { sigs.push_back(signature(op, run.space.basis[i])); active |= std::uint32_t{sigs[i] & kActive} << i; }
    int second = -1;
    if (op.kind == Kind::kTurn && op.whole && active) {
      const std::uint32_t rest = pivot < 0 ? active : active & ~(std::uint32_t{1} << pivot);
      second = 31 - std::countl_zero(rest);
      op.narrowed = true;
      op.offset = std::uint32_t{1} << second;
      op.offset_sig = sigs[second];
    }
    List<std::uint32_t> vectors;
    List<std::uint8_t> own;
    for (int i = 0; i < b; ++i) {
      if (i == pivot || i == second) continue;
      const bool both = second >= 0 && (active >> i & 1);
      vectors.push_back(std::uint32_t{1} << i | (both ? std::uint32_t{1} << second : 0));
      own.push_back(static_cast<std::uint8_t>(sigs[i] ^ (both ? sigs[second] : 0)));
    }
    op.walk.build(vectors, own);
    op.sums = run.n_sums++;
    std::size_t& tables = op.kind == Kind::kTurn ? turn_tables : shear_tables;
    op.table = tables;
    tables += op.kind == Kind::kTurn ? 18 : 64;
    run.ops.push_back(std::move(op));
  }
};

}  // namespace qp
