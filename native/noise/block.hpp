// What one operation does to the vectors of one coset.
#pragma once

#include "tables.hpp"

namespace qp {

inline const Permutation<double>* permutations() {
  static const auto table = [] {
    static Permutation<double> t[W];
    for (int m = 0; m < W; ++m) t[m] = xor_permutation<double>(m);
    return &t[0];
  }();
  return table;
}

// Of one coset: its base, f of its vectors as the sign bit of a signature, and its vectors of r and o.
struct Coset {
  Mask base = 0;
  const std::uint8_t* forms = nullptr;
  V *r = nullptr, *o = nullptr;
};

// visit(k, signature) for every vector that an operation walks over.
template <class Visit> QP_INLINE void over(const Op& op, const Coset& coset, const Visit& visit) {
  unsigned sig = Plan::signature(op, coset.base) ^ (op.kind == Kind::kTurn && form(op.string) ? kSign : 0);
  std::uint32_t offset = 0;
  if (op.kind == Kind::kTurn && op.whole && !(sig & kActive)) {
    if (!op.narrowed) return;
    offset = op.offset;
    sig ^= op.offset_sig;
  }
  const Walk& w = op.walk;
  const std::uint8_t* const forms = op.by_form ? coset.forms : nullptr;
  const std::size_t n_high = w.high.size(), n_low = w.low.size();
  const std::uint32_t* const low = w.low.data();
  const std::uint8_t* const low_sig = w.low_sig.data();
  for (std::size_t h = 0; h < n_high; ++h) {
    const std::uint32_t k0 = w.high[h] ^ offset;
    const unsigned s0 = w.high_sig[h] ^ sig;
    if (forms) {
      for (std::size_t i = 0; i < n_low; ++i) { const std::uint32_t k = low[i] ^ k0; visit(k, (low_sig[i] ^ s0) ^ forms[k]); }
    } else {
      for (std::size_t i = 0; i < n_low; ++i) visit(low[i] ^ k0, low_sig[i] ^ s0);
    }
  }
}

template <bool LANES> QP_INLINE V swapped(V v, const Permutation<double>& p) {
  if constexpr (LANES) return permute<double>(v, p);
  else return v;
}

template <bool LANES> void turn(const Op& op, const TurnTable& t, const Coset& c) {
  const Permutation<double> swap = permutations()[op.lanes];
  V* const r = c.r;
  const std::uint32_t other = op.vector;
  if (!other) {
    over(op, c, [&](std::uint32_t k, unsigned s) { r[k] = t.cosine[s & kActive] * r[k] + t.sine[s] * permute<double>(r[k], swap); });
    return;
  }
  over(op, c, [&](std::uint32_t k, unsigned s) {
    const V u = r[k], v = swapped<LANES>(r[k ^ other], swap), cos = t.cosine[s & kActive], sin = t.sine[s];
    r[k] = cos * u + sin * v;
    r[k ^ other] = swapped<LANES>(cos * v - sin * u, swap);
  });
}

// Both vectors back to before the turn; the sum is <o, dR/da r>.
template <bool LANES> V turn_back(const Op& op, const TurnTable& t, const Coset& c) {
  const Permutation<double> swap = permutations()[op.lanes];
  V *const r = c.r, *const o = c.o;
  const std::uint32_t other = op.vector;
  V sum{};
  if (!other) {
    over(op, c, [&](std::uint32_t k, unsigned s) {
      const V cos = t.cosine[s & kActive], sin = t.sine[s], ru = r[k], ou = o[k], rv = permute<double>(ru, swap);
      sum += t.unit[s] * ou * rv;
      r[k] = cos * ru - sin * rv;
      o[k] = cos * ou - sin * permute<double>(ou, swap);
    });
    return sum;
  }
  over(op, c, [&](std::uint32_t k, unsigned s) {
    const V cos = t.cosine[s & kActive], sin = t.sine[s];
    const V ru = r[k], rv = swapped<LANES>(r[k ^ other], swap), ou = o[k], ov = swapped<LANES>(o[k ^ other], swap);
    sum += t.unit[s] * (ou * rv - ov * ru);
    r[k] = cos * ru - sin * rv;
    o[k] = cos * ou - sin * ov;
    r[k ^ other] = swapped<LANES>(cos * rv + sin * ru, swap);
    o[k ^ other] = swapped<LANES>(cos * ov + sin * ou, swap);
  });
  return sum;
}

inline void shear(const Op& op, const ShearTable& t, const Coset& c) {
  const Permutation<double> swap = permutations()[op.lanes];
  V* const r = c.r;
  const std::uint32_t other = op.vector;
  over(op, c, [&](std::uint32_t k, unsigned s) {
    if (!other) { r[k] += t.up[s] * permute<double>(r[k], swap); return; }
    const V u = r[k], v = permute<double>(r[k ^ other], swap);
    r[k] = u + t.up[s] * v;
    r[k ^ other] = permute<double>(v + t.down[s] * u, swap);
  });
}

// What a shear added to r is taken away, exactly up to rounding: its source has not changed.
inline V shear_back(const Op& op, const ShearTable& t, const Coset& c) {
  const Permutation<double> swap = permutations()[op.lanes];
  V *const r = c.r, *const o = c.o;
  const std::uint32_t other = op.vector;
  V sum{};
  over(op, c, [&](std::uint32_t k, unsigned s) {
    if (!other) {
      const V rv = permute<double>(r[k], swap);
      sum += t.unit_up[s] * o[k] * rv;
      r[k] -= t.up[s] * rv;
      o[k] += permute<double>(t.up[s] * o[k], swap);
      return;
    }
    const V ru = r[k], rv = permute<double>(r[k ^ other], swap), ou = o[k], ov = permute<double>(o[k ^ other], swap);
    sum += t.unit_up[s] * ou * rv + t.unit_down[s] * ov * ru;
    r[k] = ru - t.up[s] * rv;
    r[k ^ other] = permute<double>(rv - t.down[s] * ru, swap);
    o[k] = ou + t.down[s] * ov;
    o[k ^ other] = permute<double>(ov + t.up[s] * ou, swap);
  });
  return sum;
}

// visit(k, f0, f1, ...): the pattern of every vector.
template <class Visit> QP_INLINE void patterns(const Op& op, const Run& run, const Coset& c, const Visit& visit) {
  Mask base = 0;
  for (const Factor& f : op.factors) base |= Plan::pattern_of(f.basis, c.base) << f.shift;
  const std::size_t n = std::size_t{1} << run.space.b, inner = std::min<std::size_t>(n, 64);
  for (std::size_t h = 0; h < n; h += inner) {
    const Mask high = op.pattern.high[h >> 6] ^ base;
    for (std::size_t i = 0; i < inner; ++i) visit(h + i, op.pattern.low[i] ^ high);
  }
}

// The product of a stage's factors for one pattern; FEW: their number, or 0 for any.
template <int FEW> struct Product {
  const V* table[FEW ? FEW : 1];
  int shift[FEW ? FEW : 1];
  Mask mask[FEW ? FEW : 1];
  const Op& op;
  const Tables& tables;
  bool inverse;
  Product(const Op& op_, const Tables& t, bool inverse_) : op(op_), tables(t), inverse(inverse_) {
    for (int i = 0; i < FEW; ++i) {
      table[i] = of(op.factors[i]);
      shift[i] = op.factors[i].shift;
      mask[i] = op.factors[i].patterns() - 1;
    }
  }
  QP_INLINE V operator()(Mask pattern) const {
    V v;
    if constexpr (FEW != 0) {
      v = table[0][pattern & mask[0]];
      for (int i = 1; i < FEW; ++i) v *= table[i][pattern >> shift[i] & mask[i]];
    } else {
      v = splat<double>(1.0);
      for (const Factor& f : op.factors) v *= of(f)[pattern >> f.shift & (f.patterns() - 1)];
    }
    return v;
  }
  const V* of(const Factor& f) const { return inverse ? tables.inverse(f) : tables.diagonal(f); }
};

template <class Job> QP_INLINE void for_factors(const Op& op, const Tables& tables, bool inverse, const Job& job) {
  switch (op.factors.size()) {
    case 1: return job(Product<1>(op, tables, inverse));
    case 2: return job(Product<2>(op, tables, inverse));
    case 3: return job(Product<3>(op, tables, inverse));
    case 4: return job(Product<4>(op, tables, inverse));
    default: return job(Product<0>(op, tables, inverse));
  }
}

// r as it was before goes to `kept`, if there is one.
inline void diagonal(const Op& op, const Run& run, const Tables& tables, const Coset& c, V* kept) {
  V* const r = c.r;
  for_factors(op, tables, false, [&](const auto& product) {
    if (kept) patterns(op, run, c, [&](std::size_t k, Mask p) { const V v = r[k]; kept[k] = v; r[k] = v * product(p); });
    else patterns(op, run, c, [&](std::size_t k, Mask p) { r[k] *= product(p); });
  });
}

// r to before the stage, through its inverse.
inline void undo_diagonal(const Op& op, const Run& run, const Tables& tables, const Coset& c) {
  V* const r = c.r;
  for_factors(op, tables, true, [&](const auto& inverse) { patterns(op, run, c, [&](std::size_t k, Mask p) { r[k] *= inverse(p); }); });
}

// o to before the stage; c.r is r before it.  sums[factor][pattern] get the derivatives by the factors' products.
inline void diagonal_back(const Op& op, const Run& run, const Tables& tables, const Coset& c, V* sums) {
  V *const r = c.r, *const o = c.o;
  if (!op.wanted) {
    for_factors(op, tables, false, [&](const auto& product) { patterns(op, run, c, [&](std::size_t k, Mask p) { o[k] *= product(p); }); });
    return;
  }
  const std::size_t count = op.factors.size();
  patterns(op, run, c, [&](std::size_t k, Mask p) {
    V lambda[kPatternBits], before = o[k] * r[k], all = splat<double>(1.0);
    for (std::size_t i = 0; i < count; ++i) {
      const Factor& f = op.factors[i];
      lambda[i] = tables.diagonal(f)[p >> f.shift & (f.patterns() - 1)];
      all *= lambda[i];
    }
    for (std::size_t i = 0; i < count; ++i) {
      const Factor& f = op.factors[i];
      if (f.wanted) {
        V w = before;
        for (std::size_t j = i + 1; j < count; ++j) w *= lambda[j];
        sums[f.sums - op.sums + (p >> f.shift & (f.patterns() - 1))] += w;
      }
      before *= lambda[i];
    }
    o[k] *= all;
  });
}

}  // namespace qp
