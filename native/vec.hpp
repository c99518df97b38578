// Vectors of lanes, and the few operations on them that the compiler cannot express by itself.
//
// A vector fills one register of the instruction set this file is compiled for: 64 bytes with AVX-512, 32 with AVX2,
// 16 elsewhere (SSE2, NEON).  All arithmetic is written with the GCC/Clang vector extension, so one source serves them all.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__) && defined(__AVX512DQ__)
#define QP_VECTOR_BYTES 64
#elif defined(__AVX2__) && defined(__FMA__)
#define QP_VECTOR_BYTES 32
#else
#define QP_VECTOR_BYTES 16
#endif

#define QP_INLINE inline __attribute__((always_inline))

namespace qp {

template <class R> struct Lanes;
template <> struct Lanes<double> {
  static constexpr int width = QP_VECTOR_BYTES / 8;
  typedef double type __attribute__((vector_size(QP_VECTOR_BYTES)));
  typedef std::int64_t itype __attribute__((vector_size(QP_VECTOR_BYTES)));
};
template <> struct Lanes<float> {
  static constexpr int width = QP_VECTOR_BYTES / 4;
  typedef float type __attribute__((vector_size(QP_VECTOR_BYTES)));
  typedef std::int32_t itype __attribute__((vector_size(QP_VECTOR_BYTES)));
};

template <class R> using Vec = typename Lanes<R>::type;
template <class R> using IVec = typename Lanes<R>::itype;
template <class R> constexpr int kWidth = Lanes<R>::width;
constexpr int log2_of(int w) { return w <= 1 ? 0 : 1 + log2_of(w / 2); }
template <class R> constexpr int kLaneBits = log2_of(kWidth<R>);

template <class R> QP_INLINE Vec<R> splat(R a) {
  Vec<R> v;
  for (int l = 0; l < kWidth<R>; ++l) v[l] = a;
  return v;
}

// permute(v, m)[l] = v[l xor m], with m as the index vector made by xor_index.
template <class R> struct Permutation { IVec<R> index; int mask; };

template <class R> QP_INLINE Permutation<R> xor_permutation(int mask) {
  Permutation<R> p;
  p.mask = mask;
#if QP_VECTOR_BYTES == 32
  // AVX2 permutes 32-bit words only: a double moves as two of them.
  if constexpr (sizeof(R) == 8) {
    std::int32_t words[8];
    for (int l = 0; l < 8; ++l) words[l] = ((((l >> 1) ^ mask) << 1) | (l & 1));
    std::memcpy(&p.index, words, sizeof words);
    return p;
  }
#endif
  for (int l = 0; l < kWidth<R>; ++l) p.index[l] = l ^ mask;
  return p;
}

template <class R> QP_INLINE Vec<R> permute(Vec<R> v, const Permutation<R>& p) {
#if QP_VECTOR_BYTES == 64
  if constexpr (sizeof(R) == 8)
    return (Vec<R>)_mm512_permutexvar_pd((__m512i)p.index, (__m512d)v);
  else
    return (Vec<R>)_mm512_permutexvar_ps((__m512i)p.index, (__m512)v);
#elif QP_VECTOR_BYTES == 32
  return (Vec<R>)_mm256_permutevar8x32_ps((__m256)v, (__m256i)p.index);
#else
  if constexpr (sizeof(R) == 8) {
    return p.mask ? __builtin_shufflevector(v, v, 1, 0) : v;
  } else {
    if (p.mask & 1) v = __builtin_shufflevector(v, v, 1, 0, 3, 2);
    if (p.mask & 2) v = __builtin_shufflevector(v, v, 2, 3, 0, 1);
    return v;
  }
#endif
}

// sin and cos of the remainder of a modulo pi/2, and the number of quarter turns taken out:
// a = quarter * pi/2 + r, |r| <= pi/4.  Three-part Cody-Waite reduction, polynomials of the Cephes library
// (S. Moshier); errors below 2 ulp.  Its parts of pi/2 are exact multiples up to |a| of some millions: beyond, the C library.
struct Reduced { double sin, cos; std::int64_t quarter; };

inline Reduced reduced_sincos_of_large(double a) {
  const double s = std::sin(a), c = std::cos(a);
  if (std::abs(s) <= std::abs(c)) return c > 0 ? Reduced{s, c, 0} : Reduced{-s, -c, 2};
  return s > 0 ? Reduced{-c, s, 1} : Reduced{c, -s, 3};
}

// A double, or a vector of them: r = a - k pi/2 with k the nearest integer, which is left in the low bits of `shifted`.
template <class V> struct Remainder { V shifted, sin, cos; };
template <class V> QP_INLINE Remainder<V> remainder_sincos(V a) {
  constexpr double shifter = 6755399441055744.0;  // adding 1.5 * 2^52 rounds to the nearest integer
  const V shifted = a * 0.63661977236758134308 + shifter, k = shifted - shifter;
  const V r = ((a - k * 1.57079625129699707031) - k * 7.54978941586159635336e-8) - k * 5.39030285815811905290e-15, z = r * r;
  return {shifted,
          (((((1.58962301576546568060e-10 * z - 2.50507477628578072866e-8) * z + 2.75573136213857245213e-6) * z
             - 1.98412698295895385996e-4) * z + 8.33333333332211858878e-3) * z - 1.66666666666666307295e-1) * z * r + r,
          (((((-1.13585365213876817300e-11 * z + 2.08757008419747316778e-9) * z - 2.75573141792967388112e-7) * z
             + 2.48015872888517045348e-5) * z - 1.38888888888730564116e-3) * z + 4.16666666666665929218e-2) * z * z - 0.5 * z + 1.0};
}

QP_INLINE Reduced reduced_sincos(double a) {
  if (std::abs(a) > 1e5) return reduced_sincos_of_large(a);
  const Remainder<double> m = remainder_sincos(a);
  std::int64_t bits;
  std::memcpy(&bits, &m.shifted, 8);
  return {m.sin, m.cos, bits & 3};
}

// Sine and cosine of every lane. Reduction and polynomials are those of `reduced_sincos`, and for floats the
// corresponding ones of the Cephes library (S. Moshier); lanes that are too large for them go through the C library.
template <class R> struct SinCos { Vec<R> sin, cos; };

template <class R> SinCos<R> sincos_of_large(Vec<R> a) {
  SinCos<R> r;
  for (int l = 0; l < kWidth<R>; ++l) {
    r.sin[l] = static_cast<R>(std::sin(static_cast<double>(a[l])));
    r.cos[l] = static_cast<R>(std::cos(static_cast<double>(a[l])));
  }
  return r;
}

template <class R> QP_INLINE SinCos<R> sincos(Vec<R> a) {
  constexpr bool wide = sizeof(R) == 8;
  constexpr R limit = wide ? R(1e5) : R(8000);
  const auto large = (a > limit) | (a < -limit) | (a != a);
  bool any = false;
  for (int l = 0; l < kWidth<R>; ++l) any |= large[l] != 0;
  if (__builtin_expect(any, 0)) return sincos_of_large<R>(a);
  IVec<R> bits;
  Vec<R> s, c;
  if constexpr (wide) {
    const Remainder<Vec<R>> m = remainder_sincos(a);
    bits = (IVec<R>)m.shifted;
    s = m.sin;
    c = m.cos;
  } else {
    const Vec<R> shifted = a * 0.63661977236758134308f + 12582912.0f, k = shifted - 12582912.0f;
    const Vec<R> r = ((a - k * 1.5703125f) - k * 4.837512969970703125e-4f) - k * 7.54978995489188216e-8f, z = r * r;
    bits = (IVec<R>)shifted;
    s = ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f) * z * r + r;
    c = ((2.443315711809948e-5f * z - 1.388731625493765e-3f) * z + 4.166664568298827e-2f) * z * z - 0.5f * z + 1.0f;
  }
  const auto odd = (bits & 1) != 0;
  const Vec<R> sine = odd ? c : s, cosine = odd ? s : c;
  SinCos<R> out;
  out.sin = (bits & 2) != 0 ? -sine : sine;
  out.cos = ((bits + 1) & 2) != 0 ? -cosine : cosine;
  return out;
}

// `reduced_sincos` of many numbers at once, the quarter turns modulo 4; where `whole` is -1 (elsewhere 0) they are put back: sin and cos of
// a itself.  All arrays reach to the next multiple of kAtOnce.
constexpr std::size_t kAtOnce = 8;
inline void reduced_sincos(const double* a, const std::int64_t* whole, std::size_t n, double* sines, double* cosines, std::int64_t* quarters) {
  typedef double V __attribute__((vector_size(8 * kAtOnce)));
  typedef std::int64_t I __attribute__((vector_size(8 * kAtOnce)));
  I large = {};
  for (std::size_t i = 0; i < n; i += kAtOnce) {
    V x;
    I back;
    std::memcpy(&x, a + i, sizeof x);
    std::memcpy(&back, whole + i, sizeof back);
    large |= (x > 1e5) | (x < -1e5);
    const Remainder<V> m = remainder_sincos(x);
    const V s = m.sin, c = m.cos;
    const I q = (I)m.shifted & 3;
    const I odd = -(q & 1) & back, sign = (back & (q & 2)) << 62;
    const V si = (V)((((I)s & ~odd) | ((I)c & odd)) ^ sign), co = (V)((((I)c & ~odd) | ((I)(-s) & odd)) ^ sign);
    std::memcpy(sines + i, &si, sizeof si);
    std::memcpy(cosines + i, &co, sizeof co);
    std::memcpy(quarters + i, &q, sizeof q);
  }
  std::int64_t any = 0;
  for (std::size_t l = 0; l < kAtOnce; ++l) any |= large[l];
  for (std::size_t i = 0; any && i < n; ++i) {
    if (!(std::abs(a[i]) > 1e5)) continue;
    const Reduced r = reduced_sincos_of_large(a[i]);
    double s = r.sin, c = r.cos;
    if (whole[i] && (r.quarter & 1)) { s = r.cos; c = -r.sin; }
    if (whole[i] && (r.quarter & 2)) { s = -s; c = -c; }
    sines[i] = s; cosines[i] = c; quarters[i] = r.quarter & 3;
  }
}

// Doubles for the W lanes of a vector of either type, in as many registers as they fill.
template <int W> struct Doubles {
  static constexpr int N = W / kWidth<double>;
  Vec<double> part[N];
  template <class F> static QP_INLINE Doubles each(F&& f) {
    Doubles r;
    for (int i = 0; i < N; ++i) r.part[i] = f(i);
    return r;
  }
  static QP_INLINE Doubles all(double a) { return each([&](int) { return splat<double>(a); }); }
  static QP_INLINE Doubles load(const double* from) {
    Doubles r;
    std::memcpy(&r, from, sizeof r);
    return r;
  }
  template <class R> QP_INLINE void store(Vec<R>& to) const {
    typedef R Piece __attribute__((vector_size(sizeof(R) * kWidth<double>)));
    for (int i = 0; i < N; ++i) {
      const Piece piece = __builtin_convertvector(part[i], Piece);
      std::memcpy(reinterpret_cast<char*>(&to) + i * sizeof piece, &piece, sizeof piece);
    }
  }
  double operator[](int l) const { return part[l / kWidth<double>][l % kWidth<double>]; }
  friend QP_INLINE Doubles operator+(const Doubles& a, const Doubles& b) { return each([&](int i) { return a.part[i] + b.part[i]; }); }
  friend QP_INLINE Doubles operator-(const Doubles& a, const Doubles& b) { return each([&](int i) { return a.part[i] - b.part[i]; }); }
  friend QP_INLINE Doubles operator*(const Doubles& a, const Doubles& b) { return each([&](int i) { return a.part[i] * b.part[i]; }); }
  friend QP_INLINE Doubles operator/(const Doubles& a, const Doubles& b) { return each([&](int i) { return a.part[i] / b.part[i]; }); }
};

// Per-column numbers over the lanes: one column serves all.
template <int W> QP_INLINE Doubles<W> spread(const double* from, int columns) {
  return columns == 1 ? Doubles<W>::all(from[0]) : Doubles<W>::load(from);
}

}  // namespace qp
