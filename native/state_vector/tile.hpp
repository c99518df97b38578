// The innermost loop: a short program of rotations applied to four vectors (two tile bits) that stay in registers.
//
// With R_k = c (1 + t D), D = -i P and t = tan(angle/2), a rotation costs one multiply-add per real number; the cosines are
// multiplied back once per segment.  Backwards the same tile holds psi and lambda, reads dF/d(angle) = Re <lambda| D psi> and
// takes the rotation off both.  For Hessian-vector products and jets all of these are Taylor polynomials in t, cut off after t (duals)
// or t^2 (jets): with half-angles h_0 + h_1 t + h_2 t^2 a rotation is R_0 (1 + h_1 D t + (h_2 D - h_1^2/2) t^2).
#pragma once

#include <algorithm>
#include <utility>

#include "../vec.hpp"

namespace qp {

// kRead reads derivatives without taking the rotations off: enough for commuting rotations at the start of a circuit.
enum Mode { kForward = 0, kBackward = 1, kForwardDual = 2, kBackwardDual = 3, kForwardJet = 4, kBackwardJet = 5, kRead = 7 };
constexpr int kMaxGroup = 6;  // terms of a group with angles of their own; blocks.MAX_GROUP may not exceed it

constexpr bool is_backward(int mode) { return mode & 1; }
constexpr int kMaxOrder = 2;
constexpr int order_of(int mode) { return mode == kRead ? 0 : mode >> 1; }
// Buffers of a block, in this order: psi_0, lambda_0 (backwards), psi_1, lambda_1 (duals), psi_2, lambda_2 (jets).
constexpr int n_states(int mode) { return (is_backward(mode) ? 2 : 1) * (order_of(mode) + 1); }
constexpr int kMaxStates = n_states(kBackwardJet);

// One rotation, or one group of rotations with a common x mask that commute: what differs between tiles is only the
// *pattern*, the parities of the z masks at the tile's address, found in a field of the tile's signature.
struct TileOp {
  std::uint8_t code;          // single: X | K << 2 | real << 4 | permuted << 5; group: 64 + (X | real << 2 | permuted << 3)
  std::uint8_t shift;         // of the pattern within the signature
  std::uint8_t permutation;   // xor of lanes
  std::uint8_t stride;        // vectors per pattern in the table
  std::uint64_t pattern_mask;
  std::uint8_t element[4];    // pattern bits of the four elements of a tile
  std::uint32_t table;        // offset of the coefficients, in vectors
  std::uint32_t accumulator;  // offset of the accumulators, in vectors
  std::uint64_t active;       // group: patterns in which it rotates at all
};

template <class R> struct TileArgs {
  const TileOp* ops;
  int n_ops;
  std::uint32_t first_tile, n_tiles;  // tiles first_tile ... n_tiles - 1
  const std::uint64_t* sig_low;   // [64] signature of the low six bits of the tile number
  const std::uint64_t* sig_high;  // and of the others
  const std::uint32_t* addr_low;
  const std::uint32_t* addr_high;
  std::uint64_t sig_coset;
  std::uint32_t offset[4];        // addresses of the four elements relative to the tile
  const Vec<R>* tables;
  Vec<R>* accumulators;
  double* sums;                   // single precision: where accumulators are emptied into, in double
  std::uint32_t first_accumulator, n_accumulators;
  const Vec<R>* scale;            // null, or what to multiply by when storing
  Vec<R>* state[kMaxStates];
  bool skippable;                 // every op is a group that may be inactive
  std::uint32_t n_inner;          // tiles in a row with the same signature (pairs)
  const Permutation<R>* permutations;
};

template <class R> struct Tile { Vec<R> re[4], im[4]; };

template <class R, class F, int... E> QP_INLINE void unrolled(F&& f, std::integer_sequence<int, E...>) { (f(std::integral_constant<int, E>{}), ...); }
#define QP_FOR_ELEMENTS(body) unrolled<R>([&](auto element) QP_LAMBDA_INLINE { constexpr int e = decltype(element)::value; body }, std::make_integer_sequence<int, 4>{})
#define QP_LAMBDA_INLINE __attribute__((always_inline))

constexpr bool odd(int m) { return (((m >> 1) ^ m) & 1) != 0; }

// D psi for a single rotation, up to the sign of the pattern: partner amplitudes with their signs within the tile.
template <class R, int X, int K, bool REAL, bool PERM> struct Single {
  static QP_INLINE void partner(const Tile<R>& a, Tile<R>& p, const Permutation<R>& perm) {
    QP_FOR_ELEMENTS(
      if constexpr (PERM) { p.re[e] = permute<R>(a.re[e ^ X], perm); p.im[e] = permute<R>(a.im[e ^ X], perm); }
      else { p.re[e] = a.re[e ^ X]; p.im[e] = a.im[e ^ X]; });
  }
  // a += coefficient * D p
  static QP_INLINE void add(Tile<R>& a, const Tile<R>& p, Vec<R> coefficient) {
    QP_FOR_ELEMENTS(
      constexpr bool minus = odd(K & e);
      if constexpr (REAL) {
        if constexpr (minus) { a.re[e] += coefficient * p.re[e]; a.im[e] += coefficient * p.im[e]; }
        else { a.re[e] -= coefficient * p.re[e]; a.im[e] -= coefficient * p.im[e]; }
      } else {
        if constexpr (minus) { a.re[e] -= coefficient * p.im[e]; a.im[e] += coefficient * p.re[e]; }
        else { a.re[e] += coefficient * p.im[e]; a.im[e] -= coefficient * p.re[e]; }
      });
  }
  static QP_INLINE void subtract(Tile<R>& a, const Tile<R>& p, Vec<R> coefficient) {
    QP_FOR_ELEMENTS(
      constexpr bool minus = odd(K & e);
      if constexpr (REAL) {
        if constexpr (minus) { a.re[e] -= coefficient * p.re[e]; a.im[e] -= coefficient * p.im[e]; }
        else { a.re[e] += coefficient * p.re[e]; a.im[e] += coefficient * p.im[e]; }
      } else {
        if constexpr (minus) { a.re[e] += coefficient * p.im[e]; a.im[e] -= coefficient * p.re[e]; }
        else { a.re[e] -= coefficient * p.im[e]; a.im[e] += coefficient * p.re[e]; }
      });
  }
  // Re <b| D p>, lane by lane, onto two chains so that neither waits for the other
  static QP_INLINE void inner(const Tile<R>& b, const Tile<R>& p, Vec<R>& g, Vec<R>& h) {
    QP_FOR_ELEMENTS(
      constexpr bool minus = odd(K & e);
      if constexpr (REAL) {
        if constexpr (minus) { g += b.re[e] * p.re[e]; h += b.im[e] * p.im[e]; }
        else { g -= b.re[e] * p.re[e]; h -= b.im[e] * p.im[e]; }
      } else {
        if constexpr (minus) { g -= b.re[e] * p.im[e]; h += b.im[e] * p.re[e]; }
        else { g += b.re[e] * p.im[e]; h -= b.im[e] * p.re[e]; }
      });
  }
};

// The polynomial part of a rotation or of its inverse on the coefficients s[FIRST], s[FIRST + STEP], ...; `shift` adds a
// coefficient times D psi, and `curve` subtracts h_1^2/2 psi.
template <class R, int MODE, int FIRST, class Op, class Shift, class Curve> QP_INLINE void couple(Tile<R> (&s)[n_states(MODE)], const Permutation<R>& perm, Shift&& shift, Curve&& curve) {
  constexpr int order = order_of(MODE), step = is_backward(MODE) ? 2 : 1;
  Tile<R> q;
  if constexpr (order > 1) {
    Op::partner(s[FIRST + step], q, perm);
    shift(s[FIRST + 2 * step], q, std::integral_constant<int, 1>{});
  }
  Op::partner(s[FIRST], q, perm);
  shift(s[FIRST + step], q, std::integral_constant<int, 1>{});
  if constexpr (order > 1) {
    shift(s[FIRST + 2 * step], q, std::integral_constant<int, 2>{});
    curve(s[FIRST + 2 * step], s[FIRST]);
  }
}

#define QP_FOR_ORDERS(body) unrolled<R>([&](auto index) QP_LAMBDA_INLINE { constexpr int k = decltype(index)::value; body }, std::make_integer_sequence<int, order_of(MODE) + 1>{})

template <class R, int MODE, int CODE> QP_INLINE void single_op(Tile<R> (&s)[n_states(MODE)], const TileArgs<R>& args, const TileOp& op, std::uint64_t sig) {
  using Op = Single<R, CODE & 3, (CODE >> 2) & 3, (CODE >> 4) & 1, (CODE >> 5) & 1>;
  const unsigned p = static_cast<unsigned>(sig >> op.shift) & 1u;
  const Vec<R>* table = args.tables + op.table + p * op.stride;
  const Permutation<R>& perm = args.permutations[op.permutation];
  const Vec<R> t = table[0];
  Tile<R> q;
  Op::partner(s[0], q, perm);
  if constexpr (MODE == kForward) {
    Op::add(s[0], q, t);
  } else if constexpr (MODE == kBackward) {
    Vec<R> g{}, h{};
    Op::inner(s[1], q, g, h);
    args.accumulators[op.accumulator + p] += g + h;
    Op::subtract(s[0], q, t);
    Op::partner(s[1], q, perm);
    Op::subtract(s[1], q, t);
  } else if constexpr (MODE == kRead) {
    Vec<R> g{}, h{};
    Op::inner(s[1], q, g, h);
    args.accumulators[op.accumulator + p] += g + h;
  } else {
    constexpr int slots = order_of(MODE) + 1;
    const auto shift = [&](Tile<R>& a, const Tile<R>& moved, auto power) QP_LAMBDA_INLINE {
      if constexpr (is_backward(MODE)) Op::subtract(a, moved, table[power]);
      else Op::add(a, moved, table[power]);
    };
    const auto curve = [&](Tile<R>& a, const Tile<R>& from) QP_LAMBDA_INLINE {
      const Vec<R> half = splat<R>(R(0.5)) * table[1] * table[1];
      QP_FOR_ELEMENTS(a.re[e] -= half * from.re[e]; a.im[e] -= half * from.im[e];);
    };
    if constexpr (!is_backward(MODE)) {
      Op::add(s[0], q, t);
      QP_FOR_ORDERS(if constexpr (k > 0) { Op::partner(s[k], q, perm); Op::add(s[k], q, t); });
      couple<R, MODE, 0, Op>(s, perm, shift, curve);
    } else {
      // the coefficient of t^k of Re <lambda|D psi>
      Vec<R> g[slots] = {}, h[slots] = {};
      QP_FOR_ORDERS(
        if constexpr (k > 0) Op::partner(s[2 * k], q, perm);
        unrolled<R>([&](auto j) QP_LAMBDA_INLINE { Op::inner(s[2 * j + 1], q, g[k + j], h[k + j]); }, std::make_integer_sequence<int, slots - k>{});
        Op::subtract(s[2 * k], q, t););
      QP_FOR_ORDERS(args.accumulators[op.accumulator + slots * p + k] += g[k] + h[k];);
      couple<R, MODE, 0, Op>(s, perm, shift, curve);
      QP_FOR_ORDERS(Op::partner(s[2 * k + 1], q, perm); Op::subtract(s[2 * k + 1], q, t););
      couple<R, MODE, 1, Op>(s, perm, shift, curve);
    }
  }
}

// A group: the table holds cos and sin of half the summed angle for every pattern, and its other coefficients h_1, h_2.
template <class R, int MODE, int CODE> QP_INLINE void group_op(Tile<R> (&s)[n_states(MODE)], const TileArgs<R>& args, const TileOp& op, std::uint64_t sig) {
  constexpr bool REAL = (CODE >> 2) & 1;
  using Op = Single<R, CODE & 3, 0, REAL, (CODE >> 3) & 1>;
  const unsigned p = static_cast<unsigned>((sig >> op.shift) & op.pattern_mask);
  const unsigned pe[4] = {p ^ op.element[0], p ^ op.element[1], p ^ op.element[2], p ^ op.element[3]};
  if (!(((op.active >> pe[0]) | (op.active >> pe[1]) | (op.active >> pe[2]) | (op.active >> pe[3])) & 1)) return;
  const Vec<R>* table = args.tables + op.table;
  const Permutation<R>& perm = args.permutations[op.permutation];
  const int stride = op.stride;
  Vec<R> c[4], d[4];
  QP_FOR_ELEMENTS(c[e] = table[pe[e] * stride]; d[e] = table[pe[e] * stride + 1];);
  auto rotate = [&](Tile<R>& a, const Tile<R>& q, auto direction) QP_LAMBDA_INLINE {
    constexpr bool plus = decltype(direction)::value > 0;
    QP_FOR_ELEMENTS(
      if constexpr (REAL == plus) {
        if constexpr (REAL) { a.re[e] = c[e] * a.re[e] - d[e] * q.re[e]; a.im[e] = c[e] * a.im[e] - d[e] * q.im[e]; }
        else { a.re[e] = c[e] * a.re[e] - d[e] * q.im[e]; a.im[e] = c[e] * a.im[e] + d[e] * q.re[e]; }
      } else {
        if constexpr (REAL) { a.re[e] = c[e] * a.re[e] + d[e] * q.re[e]; a.im[e] = c[e] * a.im[e] + d[e] * q.im[e]; }
        else { a.re[e] = c[e] * a.re[e] + d[e] * q.im[e]; a.im[e] = c[e] * a.im[e] - d[e] * q.re[e]; }
      });
  };
  auto shift = [&](Tile<R>& a, const Tile<R>& q, auto power) QP_LAMBDA_INLINE {
    QP_FOR_ELEMENTS(
      const Vec<R> w = table[pe[e] * stride + 1 + power];
      if constexpr (REAL != is_backward(MODE)) {
        if constexpr (REAL) { a.re[e] -= w * q.re[e]; a.im[e] -= w * q.im[e]; }
        else { a.re[e] -= w * q.im[e]; a.im[e] += w * q.re[e]; }
      } else {
        if constexpr (REAL) { a.re[e] += w * q.re[e]; a.im[e] += w * q.im[e]; }
        else { a.re[e] += w * q.im[e]; a.im[e] -= w * q.re[e]; }
      });
  };
  auto curve = [&](Tile<R>& a, const Tile<R>& from) QP_LAMBDA_INLINE {
    QP_FOR_ELEMENTS(
      const Vec<R> w = table[pe[e] * stride + 2];
      const Vec<R> half = splat<R>(R(0.5)) * w * w;
      a.re[e] -= half * from.re[e]; a.im[e] -= half * from.im[e];);
  };
  auto weigh = [&](const Tile<R>& b, const Tile<R>& q, int slot, int slots) QP_LAMBDA_INLINE {
    Vec<R>* acc = args.accumulators + op.accumulator + slot;
    QP_FOR_ELEMENTS(
      if constexpr (REAL) acc[pe[e] * slots] -= b.re[e] * q.re[e] + b.im[e] * q.im[e];
      else acc[pe[e] * slots] += b.re[e] * q.im[e] - b.im[e] * q.re[e];);
  };
  constexpr std::integral_constant<int, 1> on{};
  constexpr std::integral_constant<int, -1> off{};
  Tile<R> q;
  Op::partner(s[0], q, perm);
  if constexpr (MODE == kForward) {
    rotate(s[0], q, on);
  } else if constexpr (MODE == kBackward) {
    weigh(s[1], q, 0, 1);
    rotate(s[0], q, off);
    Op::partner(s[1], q, perm);
    rotate(s[1], q, off);
  } else if constexpr (MODE == kRead) {
    weigh(s[1], q, 0, 1);
  } else if constexpr (!is_backward(MODE)) {
    rotate(s[0], q, on);
    QP_FOR_ORDERS(if constexpr (k > 0) { Op::partner(s[k], q, perm); rotate(s[k], q, on); });
    couple<R, MODE, 0, Op>(s, perm, shift, curve);
  } else {
    constexpr int slots = order_of(MODE) + 1;
    QP_FOR_ORDERS(
      if constexpr (k > 0) Op::partner(s[2 * k], q, perm);
      unrolled<R>([&](auto j) QP_LAMBDA_INLINE { weigh(s[2 * j + 1], q, k + j, slots); }, std::make_integer_sequence<int, slots - k>{});
      rotate(s[2 * k], q, off););
    couple<R, MODE, 0, Op>(s, perm, shift, curve);
    QP_FOR_ORDERS(Op::partner(s[2 * k + 1], q, perm); rotate(s[2 * k + 1], q, off););
    couple<R, MODE, 1, Op>(s, perm, shift, curve);
  }
}

#define QP_CASE(code) case code: single_op<R, MODE, code>(s, args, op, sig); break;
#define QP_CASES4(code) QP_CASE(code) QP_CASE(code + 1) QP_CASE(code + 2) QP_CASE(code + 3)
#define QP_CASES16(code) QP_CASES4(code) QP_CASES4(code + 4) QP_CASES4(code + 8) QP_CASES4(code + 12)
#define QP_GROUP(code) case 64 + code: group_op<R, MODE, code>(s, args, op, sig); break;
#define QP_GROUPS4(code) QP_GROUP(code) QP_GROUP(code + 1) QP_GROUP(code + 2) QP_GROUP(code + 3)

// Single precision: partial sums stay short and are emptied into doubles.
constexpr std::uint32_t kEmptiedEvery = 32;

template <class R> QP_INLINE void empty(const TileArgs<R>& args) {
  for (std::uint32_t a = 0; a < args.n_accumulators; ++a) {
    for (int l = 0; l < kWidth<R>; ++l) args.sums[a * kWidth<R> + l] += static_cast<double>(args.accumulators[args.first_accumulator + a][l]);
    args.accumulators[args.first_accumulator + a] = Vec<R>{};
  }
}

template <class R, int S> QP_INLINE void load(const TileArgs<R>& args, std::uint32_t address, Tile<R> (&s)[S]) {
  unrolled<R>([&](auto k) QP_LAMBDA_INLINE {
    QP_FOR_ELEMENTS(
      const Vec<R>* from = args.state[k] + 2 * static_cast<std::size_t>(address ^ args.offset[e]);
      s[k].re[e] = from[0]; s[k].im[e] = from[1];);
  }, std::make_integer_sequence<int, S>{});
}

template <class R, int S> QP_INLINE void store(const TileArgs<R>& args, std::uint32_t address, Tile<R> (&s)[S]) {
  if (args.scale) {
    const Vec<R> f = *args.scale;
    unrolled<R>([&](auto k) QP_LAMBDA_INLINE { QP_FOR_ELEMENTS(s[k].re[e] *= f; s[k].im[e] *= f;); }, std::make_integer_sequence<int, S>{});
  }
  unrolled<R>([&](auto k) QP_LAMBDA_INLINE {
    QP_FOR_ELEMENTS(
      Vec<R>* to = args.state[k] + 2 * static_cast<std::size_t>(address ^ args.offset[e]);
      to[0] = s[k].re[e]; to[1] = s[k].im[e];);
  }, std::make_integer_sequence<int, S>{});
}

// Visits every tile: load, body, scale, store.  `wanted(signature)` says whether a tile has anything to do.
// `args` must be a local copy, or every store would make the compiler read it again.
template <class R, int MODE, class Wanted, class Body> QP_INLINE void for_tiles(const TileArgs<R>& args, Wanted&& wanted, Body&& body) {
  for (std::uint32_t i = args.first_tile; i < args.n_tiles; ++i) {
    const std::uint64_t sig = args.sig_low[i & 63] ^ args.sig_high[i >> 6] ^ args.sig_coset;
    if (wanted(sig) || args.scale) {
      const std::uint32_t address = args.addr_low[i & 63] ^ args.addr_high[i >> 6];
      Tile<R> s[n_states(MODE)];
      load<R>(args, address, s);
      body(s, sig);
      if constexpr (MODE != kRead) store<R>(args, address, s);
    }
    if constexpr (is_backward(MODE) && sizeof(R) == 4) {
      if (i % kEmptiedEvery == kEmptiedEvery - 1 || i + 1 == args.n_tiles) empty<R>(args);
    }
  }
}

inline unsigned active_in(const TileOp& op, std::uint64_t sig) {
  const unsigned p = static_cast<unsigned>((sig >> op.shift) & op.pattern_mask);
  return static_cast<unsigned>(((op.active >> (p ^ op.element[0])) | (op.active >> (p ^ op.element[1])) | (op.active >> (p ^ op.element[2])) | (op.active >> (p ^ op.element[3]))) & 1);
}

// Any program at all.  The switch keeps the tile in the first-level cache rather than in registers.
template <class R, int MODE> void general_pass(const TileArgs<R>& given) {
  const TileArgs<R> args = given;
  auto wanted = [&](std::uint64_t sig) QP_LAMBDA_INLINE {
    if (!args.skippable) return true;
    for (int k = 0; k < args.n_ops; ++k) if (active_in(args.ops[k], sig)) return true;
    return false;
  };
  for_tiles<R, MODE>(args, wanted, [&](auto& s, std::uint64_t sig) QP_LAMBDA_INLINE {
    const TileOp* first = is_backward(MODE) ? args.ops + args.n_ops - 1 : args.ops;
    for (int k = 0; k < args.n_ops; ++k) {
      const TileOp& op = is_backward(MODE) ? first[-k] : first[k];
      switch (op.code) {
        QP_CASES16(0) QP_CASES16(16) QP_CASES16(32) QP_CASES16(48)
        QP_GROUPS4(0) QP_GROUPS4(4) QP_GROUPS4(8) QP_GROUPS4(12)
        default: __builtin_unreachable();
      }
    }
  });
}

// Diagonal groups: the phases are multiplied first, psi and lambda once; w = Im(conj(lambda) psi) serves all derivatives.
template <class R, int MODE> QP_INLINE void diagonal_ops(Tile<R> (&s)[n_states(MODE)], const TileArgs<R>& args, int first, int last, std::uint64_t sig) {
  Vec<R> w[4], c[4], d[4];
  if constexpr (is_backward(MODE)) { QP_FOR_ELEMENTS(w[e] = s[1].re[e] * s[0].im[e] - s[1].im[e] * s[0].re[e];); }
  auto one = [&](const TileOp& op, auto begins) QP_LAMBDA_INLINE {
    const unsigned p = static_cast<unsigned>((sig >> op.shift) & op.pattern_mask);
    const Vec<R>* const table = args.tables + op.table;
    Vec<R>* const acc = args.accumulators + op.accumulator;
    QP_FOR_ELEMENTS(
      const unsigned at = p ^ op.element[e];
      if constexpr (is_backward(MODE)) acc[at] += w[e];
      if constexpr (MODE != kRead) {
        const Vec<R> tc = table[2 * at]; const Vec<R> td = table[2 * at + 1];
        if constexpr (decltype(begins)::value) {
          c[e] = tc; d[e] = td;
        } else {
          const Vec<R> keep = c[e];
          c[e] = keep * tc - d[e] * td;
          d[e] = keep * td + d[e] * tc;
        }
      });
  };
  one(args.ops[first], std::true_type{});
  for (int k = first + 1; k < last; ++k) one(args.ops[k], std::false_type{});
  if constexpr (MODE != kRead) unrolled<R>([&](auto k) QP_LAMBDA_INLINE {
    QP_FOR_ELEMENTS(
      const Vec<R> re = s[k].re[e]; const Vec<R> im = s[k].im[e];
      if constexpr (is_backward(MODE)) { s[k].re[e] = c[e] * re - d[e] * im; s[k].im[e] = c[e] * im + d[e] * re; }
      else { s[k].re[e] = c[e] * re + d[e] * im; s[k].im[e] = c[e] * im - d[e] * re; });
  }, std::make_integer_sequence<int, n_states(MODE)>{});
}

template <class R, int MODE> void diagonal_pass(const TileArgs<R>& args) {
  const TileArgs<R> own = args;
  for_tiles<R, MODE>(own, [](std::uint64_t) QP_LAMBDA_INLINE { return true; }, [&](auto& s, std::uint64_t sig) QP_LAMBDA_INLINE {
    diagonal_ops<R, MODE>(s, own, 0, own.n_ops, sig);
  });
}

// A single rotation whose coefficient and sums are in registers.
template <class R, int MODE, int CODE> QP_INLINE void turn(Tile<R> (&s)[n_states(MODE)], Vec<R> t, Vec<R>& g, Vec<R>& h) {
  using Op = Single<R, CODE & 3, (CODE >> 2) & 3, (CODE >> 4) & 1, false>;
  Tile<R> q;
  const Permutation<R> none{};
  Op::partner(s[0], q, none);
  if constexpr (!is_backward(MODE)) {
    Op::add(s[0], q, t);
  } else {
    Op::inner(s[1], q, g, h);
    if constexpr (MODE != kRead) {
      Op::subtract(s[0], q, t);
      Op::partner(s[1], q, none);
      Op::subtract(s[1], q, t);
    }
  }
}

// Adds the sum of a derivative over tiles of one pattern to what is known of it.
template <class R> QP_INLINE void keep(const TileArgs<R>& args, const TileOp& op, unsigned pattern, Vec<R> sum) {
  if constexpr (sizeof(R) == 4) {
    double* to = args.sums + std::size_t{op.accumulator + pattern - args.first_accumulator} * kWidth<R>;
    for (int l = 0; l < kWidth<R>; ++l) to[l] += static_cast<double>(sum[l]);
  } else {
    args.accumulators[op.accumulator + pattern] += sum;
  }
}

// Two single rotations along the two dimensions of the tile: tiles of one signature follow each other.
template <class R, int MODE, int A, int B> void pair_pass(const TileArgs<R>& given) {
  const TileArgs<R> args = given;
  const TileOp a = args.ops[0], b = args.ops[B < 0 ? 0 : 1];
  const std::uint32_t step = sizeof(R) == 4 && is_backward(MODE) ? std::min(args.n_inner, kEmptiedEvery) : args.n_inner;
  for (std::uint32_t first = args.first_tile; first < args.n_tiles; first += step) {
    const std::uint64_t sig = args.sig_low[first & 63] ^ args.sig_high[first >> 6] ^ args.sig_coset;
    const unsigned pa = static_cast<unsigned>(sig >> a.shift) & 1u, pb = static_cast<unsigned>(sig >> b.shift) & 1u;
    const Vec<R> ta = args.tables[a.table + pa * a.stride], tb = args.tables[b.table + pb * b.stride];
    Vec<R> ga{}, ha{}, gb{}, hb{};
    for (std::uint32_t i = first; i < first + step; ++i) {
      const std::uint32_t address = args.addr_low[i & 63] ^ args.addr_high[i >> 6];
      Tile<R> s[n_states(MODE)];
      load<R>(args, address, s);
      if constexpr (!is_backward(MODE)) turn<R, MODE, A>(s, ta, ga, ha);
      if constexpr (B >= 0) turn<R, MODE, B>(s, tb, gb, hb);
      if constexpr (is_backward(MODE)) turn<R, MODE, A>(s, ta, ga, ha);
      if constexpr (MODE != kRead) store<R>(args, address, s);
    }
    if constexpr (is_backward(MODE)) {
      keep<R>(args, a, pa, ga + ha);
      if constexpr (B >= 0) keep<R>(args, b, pb, gb + hb);
    }
  }
}

// The same with diagonal groups after them.
template <class R, int MODE, int A, int B> void pair_and_diagonal_pass(const TileArgs<R>& given) {
  constexpr int mixing = B < 0 ? 1 : 2;
  const TileArgs<R> args = given;
  const TileOp a = args.ops[0], b = args.ops[mixing - 1];
  for_tiles<R, MODE>(args, [](std::uint64_t) QP_LAMBDA_INLINE { return true; }, [&](auto& s, std::uint64_t sig) QP_LAMBDA_INLINE {
    if constexpr (!is_backward(MODE)) single_op<R, MODE, A>(s, args, a, sig);
    if constexpr (is_backward(MODE)) diagonal_ops<R, MODE>(s, args, mixing, args.n_ops, sig);
    if constexpr (B >= 0) single_op<R, MODE, B>(s, args, b, sig);
    if constexpr (is_backward(MODE)) single_op<R, MODE, A>(s, args, a, sig);
    if constexpr (!is_backward(MODE)) diagonal_ops<R, MODE>(s, args, mixing, args.n_ops, sig);
  });
}

// One group of rotations with x in the tile.
template <class R, int MODE, int CODE> void group_pass(const TileArgs<R>& args) {
  const TileOp op = args.ops[0];
  const TileArgs<R> own = args;
  for_tiles<R, MODE>(own, [&](std::uint64_t sig) QP_LAMBDA_INLINE { return active_in(op, sig); },
    [&](auto& s, std::uint64_t sig) QP_LAMBDA_INLINE { group_op<R, MODE, CODE>(s, own, op, sig); });
}

// Rotations that mix lanes only.
template <class R, int MODE> void lane_pass(const TileArgs<R>& args) {
  const TileArgs<R> own = args;
  const int n_ops = own.n_ops;
  auto one = [&](auto& s, const TileOp& op, std::uint64_t sig, auto real) QP_LAMBDA_INLINE {
    using Op = Single<R, 0, 0, decltype(real)::value, true>;
    const unsigned p = static_cast<unsigned>(sig >> op.shift) & 1u;
    const Permutation<R> perm = own.permutations[op.permutation];
    const Vec<R>* const table = own.tables + op.table;
    Tile<R> q;
    Op::partner(s[0], q, perm);
    if constexpr (is_backward(MODE)) {
      Vec<R> g{};
      QP_FOR_ELEMENTS(
        Vec<R> w;
        if constexpr (decltype(real)::value) w = -(s[1].re[e] * q.re[e] + s[1].im[e] * q.im[e]);
        else w = s[1].re[e] * q.im[e] - s[1].im[e] * q.re[e];
        g += w * splat<R>(op.element[e] ? R(-1) : R(1)););
      own.accumulators[op.accumulator + p] += g;
    }
    if constexpr (MODE != kRead) unrolled<R>([&](auto k) QP_LAMBDA_INLINE {
      if constexpr (k > 0) Op::partner(s[k], q, perm);
      QP_FOR_ELEMENTS(
        const Vec<R> t = table[p ^ op.element[e]];
        if constexpr (decltype(real)::value) {
          if constexpr (is_backward(MODE)) { s[k].re[e] += t * q.re[e]; s[k].im[e] += t * q.im[e]; }
          else { s[k].re[e] -= t * q.re[e]; s[k].im[e] -= t * q.im[e]; }
        } else {
          if constexpr (is_backward(MODE)) { s[k].re[e] -= t * q.im[e]; s[k].im[e] += t * q.re[e]; }
          else { s[k].re[e] += t * q.im[e]; s[k].im[e] -= t * q.re[e]; }
        });
    }, std::make_integer_sequence<int, n_states(MODE)>{});
  };
  for_tiles<R, MODE>(own, [](std::uint64_t) QP_LAMBDA_INLINE { return true; }, [&](auto& s, std::uint64_t sig) QP_LAMBDA_INLINE {
    // Runs of one kind in loops of their own, so that no branch stands between two of them.
    const TileOp* op = is_backward(MODE) ? own.ops + n_ops - 1 : own.ops;
    const TileOp* const end = is_backward(MODE) ? own.ops - 1 : own.ops + n_ops;
    constexpr int step = is_backward(MODE) ? -1 : 1;
    while (op != end) {
      for (; op != end && (op->code >> 4 & 1); op += step) one(s, *op, sig, std::true_type{});
      for (; op != end && !(op->code >> 4 & 1); op += step) one(s, *op, sig, std::false_type{});
    }
  });
}

// A few rotations of one type that mix lanes only: vectors of one signature follow each other, each visited by itself, and
// coefficients and sums are in registers.
constexpr std::uint32_t kFewLaneOps = 4;

template <class R, int MODE, int N, bool REAL> void few_lanes_pass(const TileArgs<R>& given) {
  const TileArgs<R> args = given;
  constexpr int S = n_states(MODE);
  const std::uint32_t step = sizeof(R) == 4 && is_backward(MODE) ? std::min(args.n_inner, 4 * kEmptiedEvery) : args.n_inner;
  Permutation<R> perm[N];
  for (int k = 0; k < N; ++k) perm[k] = args.permutations[args.ops[k].permutation];
  for (std::uint32_t first = args.first_tile; first < args.n_tiles; first += step) {
    const std::uint64_t sig = args.sig_low[first & 63] ^ args.sig_high[first >> 6] ^ args.sig_coset;
    Vec<R> t[N], g[N], h[N];
    for (int k = 0; k < N; ++k) {
      t[k] = args.tables[args.ops[k].table + (static_cast<unsigned>(sig >> args.ops[k].shift) & 1u) * args.ops[k].stride];
      g[k] = h[k] = Vec<R>{};
    }
    for (std::uint32_t i = first; i < first + step; ++i) {
      const std::size_t at = 2 * static_cast<std::size_t>(args.addr_low[i & 63] ^ args.addr_high[i >> 6]);
      Vec<R> re[S], im[S];
      for (int s = 0; s < S; ++s) { re[s] = args.state[s][at]; im[s] = args.state[s][at + 1]; }
      unrolled<R>([&](auto number) QP_LAMBDA_INLINE {
        constexpr int k = is_backward(MODE) ? N - 1 - decltype(number)::value : decltype(number)::value;
        for (int s = 0; s < S; ++s) {
          const Vec<R> qr = permute<R>(re[s], perm[k]), qi = permute<R>(im[s], perm[k]);
          if (is_backward(MODE) && s == 0) {
            if constexpr (REAL) { g[k] -= re[S - 1] * qr; h[k] -= im[S - 1] * qi; }
            else { g[k] += re[S - 1] * qi; h[k] -= im[S - 1] * qr; }
          }
          if constexpr (MODE == kRead) break;
          else if constexpr (REAL == is_backward(MODE)) {
            if constexpr (REAL) { re[s] += t[k] * qr; im[s] += t[k] * qi; }
            else { re[s] += t[k] * qi; im[s] -= t[k] * qr; }
          } else {
            if constexpr (REAL) { re[s] -= t[k] * qr; im[s] -= t[k] * qi; }
            else { re[s] -= t[k] * qi; im[s] += t[k] * qr; }
          }
        }
      }, std::make_integer_sequence<int, N>{});
      if constexpr (MODE != kRead) {
        if (args.scale) for (int s = 0; s < S; ++s) { re[s] *= *args.scale; im[s] *= *args.scale; }
        for (int s = 0; s < S; ++s) { args.state[s][at] = re[s]; args.state[s][at + 1] = im[s]; }
      }
    }
    if constexpr (is_backward(MODE))
      for (int k = 0; k < N; ++k) keep<R>(args, args.ops[k], static_cast<unsigned>(sig >> args.ops[k].shift) & 1u, g[k] + h[k]);
  }
}

template <class R, int MODE, bool REAL> void few_lanes_pass_of(const TileArgs<R>& args) {
  switch (args.n_ops) {
    case 1: return few_lanes_pass<R, MODE, 1, REAL>(args);
    case 2: return few_lanes_pass<R, MODE, 2, REAL>(args);
    case 3: return few_lanes_pass<R, MODE, 3, REAL>(args);
    default: return few_lanes_pass<R, MODE, 4, REAL>(args);
  }
}

// Which of these a pass can use.  Duals and jets always take the general one.
enum class PassKind : std::uint8_t { kGeneral, kPair, kGroup, kLane, kFewLanes, kDiagonal, kTable };

template <class R, int MODE, int A, int B> void pair_pass_ab(const TileArgs<R>& args) {
  if (args.n_ops > (B < 0 ? 1 : 2)) return pair_and_diagonal_pass<R, MODE, A, B>(args);
  return pair_pass<R, MODE, A, B>(args);
}

template <class R, int MODE, int A> void pair_pass_a(const TileArgs<R>& args) {
  if (args.n_ops == 1 || args.ops[1].code >= 64) return pair_pass_ab<R, MODE, A, -1>(args);
  // codes with X = 2: K's second bit is the kind (real: odd), its first is free
  switch (args.ops[1].code) {
    case 2 | 0 << 2: return pair_pass_ab<R, MODE, A, 2 | 0 << 2>(args);
    case 2 | 1 << 2: return pair_pass_ab<R, MODE, A, 2 | 1 << 2>(args);
    case 2 | 2 << 2 | 16: return pair_pass_ab<R, MODE, A, 2 | 2 << 2 | 16>(args);
    case 2 | 3 << 2 | 16: return pair_pass_ab<R, MODE, A, 2 | 3 << 2 | 16>(args);
    default: __builtin_unreachable();
  }
}

template <class R, int MODE> void tile_pass(PassKind kind, const TileArgs<R>& args) {
  if constexpr (order_of(MODE) > 0) {
    general_pass<R, MODE>(args);
  } else {
    switch (kind) {
      case PassKind::kPair:
        switch (args.ops[0].code) {
          case 1 | 0 << 2: return pair_pass_a<R, MODE, 1 | 0 << 2>(args);
          case 1 | 2 << 2: return pair_pass_a<R, MODE, 1 | 2 << 2>(args);
          case 1 | 1 << 2 | 16: return pair_pass_a<R, MODE, 1 | 1 << 2 | 16>(args);
          case 1 | 3 << 2 | 16: return pair_pass_a<R, MODE, 1 | 3 << 2 | 16>(args);
          default: __builtin_unreachable();
        }
      case PassKind::kGroup:
        switch (args.ops[0].code - 64) {
          case 1: return group_pass<R, MODE, 1>(args);
          case 5: return group_pass<R, MODE, 5>(args);
          case 9: return group_pass<R, MODE, 9>(args);
          case 13: return group_pass<R, MODE, 13>(args);
          default: return general_pass<R, MODE>(args);
        }
      case PassKind::kLane: return lane_pass<R, MODE>(args);
      case PassKind::kFewLanes:
        return args.ops[0].code >> 4 & 1 ? few_lanes_pass_of<R, MODE, true>(args) : few_lanes_pass_of<R, MODE, false>(args);
      case PassKind::kDiagonal: return diagonal_pass<R, MODE>(args);
      default: return general_pass<R, MODE>(args);
    }
  }
}

}  // namespace qp
