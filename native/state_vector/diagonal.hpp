// Sums of diagonal Pauli strings as tables: C(j) = sum_k c_k (-1)^{|z_k & j|} for every basis index j, a Walsh-Hadamard transform of
// the coefficients at their masks; and what a rotation exp(-i u C / 2) does with one.
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <numeric>
#include <stdexcept>

#include "../memory.hpp"
#include "../pool.hpp"
#include "../subspace.hpp"
#include "../vec.hpp"
#include "tile.hpp"

namespace qp {

// Where the coefficients are whole multiples of one number the values are few: low + step * code, codes of one or two bytes, whose
// sine and cosine are looked up.  Otherwise the values themselves.
class Diagonal {
 public:
  enum class Format : std::uint8_t { kBytes, kWords, kDoubles };

  Diagonal(const Mask* z, const double* c, std::size_t n_terms, int bits, int threads, const std::function<void()>& check) : bits_(bits) {
    const std::size_t size = std::size_t{1} << bits;
    Array<double> values;
    values.reserve(size);
    const Lease lease(threads);
    const Crew crew(lease.pool(), check);
    const double unit = common_unit(c, n_terms);
    const std::uint32_t chunks = bits > 16 ? 64 : 1;
    const std::size_t per = size / chunks;
    crew.each(chunks, [&](std::uint32_t k, int) { std::fill(values.data() + per * k, values.data() + per * (k + 1), 0.0); });
    for (std::size_t k = 0; k < n_terms; ++k) {
      if (z[k] >> bits) throw std::logic_error("diagonal: mask beyond the state");
      values[z[k]] += unit > 0 ? std::round(c[k] / unit) : c[k];
    }
    transform(values.data(), bits, crew);
    // Smallest and largest value, chunk by chunk.
    List<double> lows(chunks), highs(chunks);
    crew.each(chunks, [&](std::uint32_t k, int) {
      double low = std::numeric_limits<double>::infinity(), high = -low;
      for (std::size_t j = per * k; j < per * (k + 1); ++j) { low = std::min(low, values[j]); high = std::max(high, values[j]); }
      lows[k] = low;
      highs[k] = high;
    });
    const double low = *std::min_element(lows.begin(), lows.end()), high = *std::max_element(highs.begin(), highs.end());
    largest_ = std::max(std::abs(low), std::abs(high)) * (unit > 0 ? unit : 1.0);
    if (unit > 0) {
      List<std::int64_t> steps(chunks);
      crew.each(chunks, [&](std::uint32_t k, int) {
        std::int64_t g = 0;
        for (std::size_t j = per * k; j < per * (k + 1) && g != 1; ++j) {
          const auto d = static_cast<std::int64_t>(values[j] - low);
          if (g ? d % g : d) g = std::gcd(g, d);
        }
        steps[k] = g;
      });
      std::int64_t step = 0;
      for (const std::int64_t g : steps) step = std::gcd(step, g);
      step = std::max<std::int64_t>(step, 1);
      const double count = (high - low) / static_cast<double>(step) + 1;
      // A table of sines must be small beside the state.
      if (count <= 256 || (count <= 65536 && count * 4 <= static_cast<double>(size))) {
        n_codes_ = static_cast<std::uint32_t>(count);
        low_ = low * unit;
        step_ = static_cast<double>(step) * unit;
        format_ = count <= 256 ? Format::kBytes : Format::kWords;
        const double scale = 1.0 / static_cast<double>(step);
        if (format_ == Format::kBytes) bytes_.reserve(size);
        else words_.reserve(size);
        crew.each(chunks, [&](std::uint32_t k, int) {
          for (std::size_t j = per * k; j < per * (k + 1); ++j) {
            const double code = (values[j] - low) * scale + 0.5;
            if (format_ == Format::kBytes) bytes_[j] = static_cast<std::uint8_t>(code);
            else words_[j] = static_cast<std::uint16_t>(code);
          }
        });
        return;
      }
      crew.each(chunks, [&](std::uint32_t k, int) { for (std::size_t j = per * k; j < per * (k + 1); ++j) values[j] *= unit; });
    }
    doubles_ = std::move(values);
  }
  Diagonal(const Diagonal&) = delete;

  int bits() const { return bits_; }
  Format format() const { return format_; }
  std::uint32_t n_codes() const { return n_codes_; }
  double low() const { return low_; }
  double step() const { return step_; }
  double largest() const { return largest_; }  // of |C(j)|
  const std::uint8_t* bytes() const { return bytes_.data(); }
  const std::uint16_t* words() const { return words_.data(); }
  const double* doubles() const { return doubles_.data(); }
  double value(std::size_t j) const {
    switch (format_) {
      case Format::kBytes: return low_ + step_ * bytes_[j];
      case Format::kWords: return low_ + step_ * words_[j];
      default: return doubles_[j];
    }
  }
  std::size_t memory() const { return (std::size_t{format_ == Format::kBytes ? 1u : format_ == Format::kWords ? 2u : 8u}) << bits_; }

 private:
  // The largest number of which all coefficients are whole multiples, to rounding, if it is one of a few; else 0.  Sums of the
  // multiples stay exact.
  static double common_unit(const double* c, std::size_t n) {
    constexpr double most = 9007199254740992.0;  // 2^53
    double least = 0;
    for (std::size_t k = 0; k < n; ++k)
      if (c[k] != 0) least = least == 0 ? std::abs(c[k]) : std::min(least, std::abs(c[k]));
    if (least == 0 || !std::isfinite(1.0 / least)) return 0;
    for (int parts = 1; parts <= 12; ++parts) {
      const double unit = least / parts;
      double total = 0;
      bool fits = true;
      for (std::size_t k = 0; k < n && fits; ++k) {
        const double q = c[k] / unit, whole = std::round(q);
        fits = std::abs(q - whole) <= 4e-16 * std::abs(q);
        total += std::abs(whole);
        fits = fits && total < most;
      }
      if (fits) return unit;
    }
    return 0;
  }

  // f(j) <- sum_z f(z) (-1)^{|z & j|}: two stages at a time, the low ones within pieces that the cache holds.
  static void transform(double* f, int bits, const Crew& crew) {
    const int low = std::min(bits, 12);
    const std::uint32_t pieces = std::uint32_t{1} << (bits - low);
    const std::uint32_t chunks = std::min<std::uint32_t>(pieces, 64);
    const std::size_t per = (std::size_t{1} << bits) / chunks;
    crew.each(chunks, [&](std::uint32_t k, int) {
      for (std::size_t at = per * k; at < per * (k + 1); at += std::size_t{1} << low) butterflies(f + at, 0, low, 0, std::size_t{1} << low);
    });
    for (int bit = low; bit < bits; bit += 2) {
      // pieces of 2^low run over all indices without the bits of these stages
      const int stages = std::min(2, bits - bit);
      const std::uint32_t jobs = pieces >> stages;
      crew.each(std::min<std::uint32_t>(jobs, 64), [&](std::uint32_t k, int) {
        const std::uint32_t n = std::min<std::uint32_t>(jobs, 64);
        for (std::uint32_t p = jobs / n * k; p < jobs / n * (k + 1); ++p) {
          const std::size_t at = std::size_t{p} << low, below = at & ((std::size_t{1} << bit) - 1), base = below | (at >> bit) << (bit + stages);
          const std::size_t d = std::size_t{1} << bit;
          double* const a = f + base;
          for (std::size_t j = 0; j < std::size_t{1} << low; ++j) {
            if (stages == 1) {
              const double u = a[j], v = a[j + d];
              a[j] = u + v;
              a[j + d] = u - v;
            } else {
              const double u = a[j] + a[j + d], v = a[j] - a[j + d], s = a[j + 2 * d] + a[j + 3 * d], t = a[j + 2 * d] - a[j + 3 * d];
              a[j] = u + s;
              a[j + d] = v + t;
              a[j + 2 * d] = u - s;
              a[j + 3 * d] = v - t;
            }
          }
        }
      });
      crew.check();
    }
  }
  static void butterflies(double* f, int from, int to, std::size_t first, std::size_t last) {
    for (int b = from; b < to; ++b) {
      const std::size_t d = std::size_t{1} << b;
      for (std::size_t i = first; i < last; i += 2 * d)
        for (std::size_t j = i; j < i + d; ++j) {
          const double u = f[j], v = f[j + d];
          f[j] = u + v;
          f[j + d] = u - v;
        }
    }
  }

  int bits_;
  Format format_ = Format::kDoubles;
  std::uint32_t n_codes_ = 0;
  double low_ = 0, step_ = 0, largest_ = 0;
  Array<std::uint8_t> bytes_;
  Array<std::uint16_t> words_;
  Array<double> doubles_;
};

// Sine and cosine of h v, where there is a fused multiply-add without the rounding of the product: long angles lose nothing by it.
QP_INLINE SinCos<double> sincos_of_product(double h, Vec<double> v) {
  const Vec<double> p = splat<double>(h) * v;
  SinCos<double> r = sincos<double>(p);
#if defined(__FMA__) || defined(__aarch64__)
  Vec<double> rest;
  for (int l = 0; l < kWidth<double>; ++l) rest[l] = std::fma(h, v[l], -p[l]);
  const Vec<double> s = r.sin;
  r.sin += rest * r.cos;
  r.cos -= rest * s;
#endif
  return r;
}

// A rotation exp(-i u c C / 2) at one value of its driver u, h = u c / 2: sines and cosines of all codes, if there are codes.
template <class R> struct Phases {
  const Diagonal* table = nullptr;
  double half = 0;                      // h
  double half_jet[kMaxOrder] = {};      // its coefficients of t and t^2
  Mask frame = 0;                       // flips of the Pauli frame: C(j xor frame)
  Array<R> cosine, sine;

  void prepare(const Diagonal& diagonal, double h, Mask flips) {
    table = &diagonal;
    half = h;
    frame = flips;
    const std::uint32_t n = diagonal.n_codes();
    constexpr std::uint32_t W = kWidth<double>;
    cosine.reserve(std::max<std::uint32_t>(1, n + W));
    sine.reserve(std::max<std::uint32_t>(1, n + W));
    for (std::uint32_t k = 0; k < n; k += W) {
      Vec<double> v;
      for (std::uint32_t l = 0; l < W; ++l) v[l] = diagonal.low() + diagonal.step() * (k + l);
      const SinCos<double> r = sincos_of_product(h, v);
      for (std::uint32_t l = 0; l < W; ++l) { cosine[k + l] = static_cast<R>(r.cos[l]); sine[k + l] = static_cast<R>(r.sin[l]); }
    }
  }
};

// Entry l of a table of codes, or of doubles, at the codes of one vector.
template <class R, class Code> QP_INLINE Vec<R> look_up(const R* table, const Code* codes) {
#if QP_VECTOR_BYTES == 64
  if constexpr (sizeof(R) == 8) {
    __m256i index;
    if constexpr (sizeof(Code) == 1) index = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes)));
    else index = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes)));
    return (Vec<R>)_mm512_i32gather_pd(index, table, 8);
  } else {
    __m512i index;
    if constexpr (sizeof(Code) == 1) index = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes)));
    else index = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes)));
    return (Vec<R>)_mm512_i32gather_ps(index, table, 4);
  }
#else
  Vec<R> v;
  for (int l = 0; l < kWidth<R>; ++l) v[l] = table[codes[l]];
  return v;
#endif
}

// C of one vector.
template <class R, Diagonal::Format FORMAT> QP_INLINE Vec<R> values_of(const Diagonal& d, std::size_t at) {
  Vec<R> v;
  if constexpr (FORMAT == Diagonal::Format::kDoubles) {
    for (int l = 0; l < kWidth<R>; ++l) v[l] = static_cast<R>(d.doubles()[at + l]);
  } else if constexpr (FORMAT == Diagonal::Format::kBytes) {
    for (int l = 0; l < kWidth<R>; ++l) v[l] = static_cast<R>(d.bytes()[at + l]);
    v = v * splat<R>(static_cast<R>(d.step())) + splat<R>(static_cast<R>(d.low()));
  } else {
    for (int l = 0; l < kWidth<R>; ++l) v[l] = static_cast<R>(d.words()[at + l]);
    v = v * splat<R>(static_cast<R>(d.step())) + splat<R>(static_cast<R>(d.low()));
  }
  return v;
}

template <class R, Diagonal::Format FORMAT> QP_INLINE SinCos<R> phases_of(const Phases<R>& p, std::size_t at) {
  SinCos<R> out;
  if constexpr (FORMAT == Diagonal::Format::kBytes) {
    out.cos = look_up<R>(p.cosine.data(), p.table->bytes() + at);
    out.sin = look_up<R>(p.sine.data(), p.table->bytes() + at);
  } else if constexpr (FORMAT == Diagonal::Format::kWords) {
    out.cos = look_up<R>(p.cosine.data(), p.table->words() + at);
    out.sin = look_up<R>(p.sine.data(), p.table->words() + at);
  } else {
    constexpr int W = kWidth<double>;
    for (int part = 0; part < kWidth<R>; part += W) {  // the angle is a double in either precision
      Vec<double> v;
      for (int l = 0; l < W; ++l) v[l] = p.table->doubles()[at + part + l];
      const SinCos<double> r = sincos_of_product(p.half, v);
      for (int l = 0; l < W; ++l) { out.cos[part + l] = static_cast<R>(r.cos[l]); out.sin[part + l] = static_cast<R>(r.sin[l]); }
    }
  }
  return out;
}

// The rotation on vectors of a block, the tiles of a pass: `address(k)` is the address of what is at place k, lanes to swap in its
// upper half.  Backwards also adds Re <lambda|-i C psi>, of each power of t, onto sums[power][lane].
template <class R, int MODE, Diagonal::Format FORMAT, class AddressOf>
void turn_table(const Phases<R>& p, int lane_bits, const TileArgs<R>& args, AddressOf&& address, double* sums) {
  constexpr int S = n_states(MODE), order = order_of(MODE), W = kWidth<R>;
  constexpr std::uint32_t at_once = 64;  // vectors whose derivatives are added in the precision of the states
  Vec<R>* state[S];
  std::copy(args.state, args.state + S, state);
  const Diagonal& table = *p.table;
  const std::uint32_t up = static_cast<std::uint32_t>(p.frame >> lane_bits);
  const unsigned low = static_cast<unsigned>(p.frame & (W - 1));
  const Vec<R> f = args.scale ? *args.scale : splat<R>(R(1));
  const Vec<R> h1 = splat<R>(static_cast<R>(p.half_jet[0])), h2 = splat<R>(static_cast<R>(p.half_jet[1])), half = splat<R>(R(0.5));
  for (std::uint32_t first = args.first_tile; first < args.n_tiles; first += at_once) {
    Vec<R> sum[order + 1] = {};
    const std::uint32_t last = std::min(args.n_tiles, first + at_once);
    for (std::uint32_t i = first; i < last; ++i) {
      const std::uint32_t k = args.addr_low[i & 63] ^ args.addr_high[i >> 6];
      const Mask a = address(k);
      const std::size_t at = std::size_t{static_cast<std::uint32_t>(a) ^ up} << lane_bits;
      const unsigned lanes = static_cast<unsigned>(a >> 32) ^ low;
      const Permutation<R>& swap = args.permutations[lanes];
      Vec<R> re[S], im[S];
      for (int s = 0; s < S; ++s) { re[s] = state[s][2 * k]; im[s] = state[s][2 * k + 1]; }
      Vec<R> v{};
      if constexpr (is_backward(MODE) || order > 0) {
        v = values_of<R, FORMAT>(table, at);
        if (lanes) v = permute<R>(v, swap);
      }
      if constexpr (is_backward(MODE)) {
        constexpr int slots = order + 1;
        for (int m = 0; m < slots; ++m)
          for (int j = 0; m + j < slots; ++j) sum[m + j] += v * (re[2 * j + 1] * im[2 * m] - im[2 * j + 1] * re[2 * m]);
      }
      if constexpr (MODE != kRead) {
        SinCos<R> q = phases_of<R, FORMAT>(p, at);
        if (lanes) { q.cos = permute<R>(q.cos, swap); q.sin = permute<R>(q.sin, swap); }
        const Vec<R> c = q.cos * f, d = is_backward(MODE) ? -q.sin * f : q.sin * f;
        for (int s = 0; s < S; ++s) {
          const Vec<R> r = re[s];
          re[s] = c * r + d * im[s];
          im[s] = c * im[s] - d * r;
        }
        if constexpr (order > 0) {
          // times 1 - i w t - (i y + w^2/2) t^2, w and y the products of C with h_1 and h_2; the inverse has -w and -y
          const Vec<R> w = is_backward(MODE) ? -(h1 * v) : h1 * v;
          constexpr int step = is_backward(MODE) ? 2 : 1;
          for (int first_state = 0; first_state < step; ++first_state) {
            if constexpr (order > 1) {
              const Vec<R> y = is_backward(MODE) ? -(h2 * v) : h2 * v, curve = half * w * w;
              const int s0 = first_state, s1 = s0 + step, s2 = s1 + step;
              re[s2] += w * im[s1] + y * im[s0] - curve * re[s0];
              im[s2] -= w * re[s1] + y * re[s0] + curve * im[s0];
            }
            const int s0 = first_state, s1 = s0 + step;
            re[s1] += w * im[s0];
            im[s1] -= w * re[s0];
          }
        }
        for (int s = 0; s < S; ++s) { state[s][2 * k] = re[s]; state[s][2 * k + 1] = im[s]; }
      }
    }
    if constexpr (is_backward(MODE))
      for (int j = 0; j <= order; ++j)
        for (int l = 0; l < W; ++l) sums[j * W + l] += static_cast<double>(sum[j][l]);
  }
}

// lambda += weight C psi, or lambda = weight C psi (`fresh`), of vectors first ... last - 1 (lambda may be null); adds
// Re <bra|C psi> onto sum[lane].
template <class R, Diagonal::Format FORMAT>
void apply_table(const Diagonal& d, Mask frame, double weight, bool fresh, std::size_t first, std::size_t last, int lane_bits, const Permutation<R>* permutations,
                 const Vec<R>* bra, const Vec<R>* psi, Vec<R>* lambda, double* sum) {
  constexpr std::size_t at_once = 64;
  const std::size_t up = static_cast<std::size_t>(frame >> lane_bits);
  const unsigned lanes = static_cast<unsigned>(frame & (kWidth<R> - 1));
  const Vec<R> by = splat<R>(static_cast<R>(weight));
  for (std::size_t from = first; from < last; from += at_once) {
    Vec<R> total{};
    const std::size_t to = std::min(last, from + at_once);
    for (std::size_t k = from; k < to; ++k) {
      Vec<R> v = values_of<R, FORMAT>(d, (k ^ up) << lane_bits);
      if (lanes) v = permute<R>(v, permutations[lanes]);
      const Vec<R> re = v * psi[2 * k], im = v * psi[2 * k + 1];
      total += re * bra[2 * k] + im * bra[2 * k + 1];
      if (lambda) {
        if (fresh) { lambda[2 * k] = by * re; lambda[2 * k + 1] = by * im; }
        else { lambda[2 * k] += by * re; lambda[2 * k + 1] += by * im; }
      }
    }
    for (int l = 0; l < kWidth<R>; ++l) sum[l] += static_cast<double>(total[l]);
  }
}

template <class F> QP_INLINE void of_format(Diagonal::Format format, F&& f) {
  switch (format) {
    case Diagonal::Format::kBytes: return f(std::integral_constant<Diagonal::Format, Diagonal::Format::kBytes>{});
    case Diagonal::Format::kWords: return f(std::integral_constant<Diagonal::Format, Diagonal::Format::kWords>{});
    default: return f(std::integral_constant<Diagonal::Format, Diagonal::Format::kDoubles>{});
  }
}

}  // namespace qp
