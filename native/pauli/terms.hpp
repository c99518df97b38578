// Pauli strings with coefficients, in zones.
//
// A zone holds those strings of a sum on which a few fixed random parities agree.  A rotation about P maps each zone to one
// other (or to itself), whichever strings are in it, so that pairs of zones are work of their own: for threads, and for a
// cache that holds both.  A string has a slot of its zone, which stays while the string lives.  Slots are columns of words:
// to find who anticommutes with P, only the columns in which P has bits are read.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

#include "../vec.hpp"

namespace qp {

using Word = std::uint64_t;
using Slot = std::uint16_t;

constexpr double kAbove = 1.0 + 0x1p-23;  // a float rounded from d * kAbove is not below d

// A float that is not below d >= 0, and is zero only if d is.
QP_INLINE float rounded_up(double d) { return d > 0 ? static_cast<float>(d * kAbove + 1e-37) : 0.0f; }

QP_INLINE Word mixed(Word h) {  // the finaliser of SplitMix64 (Steele, Lea and Flood 2014)
  h ^= h >> 30; h *= 0xbf58476d1ce4e5b9ull;
  h ^= h >> 27; h *= 0x94d049bb133111ebull;
  return h ^ (h >> 31);
}

// One rotation, read off its masks once.  Words 0..W-1 of a string are x, W..2W-1 are z.
template <int W> struct Gate {
  Word p[2 * W];                     // the generator
  struct Part { int word; Word x, z; };  // its words that are not empty
  std::vector<Part> parts;
  struct Bit { int column, shift; };  // bits of a string whose parity says that it anticommutes with P
  std::vector<Bit> bits;
  struct Column { int column; Word mask; };  // the same bits, word by word
  std::vector<Column> columns;
  int pivot_column, pivot_shift;     // a bit that the rotation flips: where it is 0 the string is the low one of its pair
  int phase = 1;                     // of i P Q, in quarter turns: the part that is the same for all Q
  double c, s;                       // of the rotation, damping included

  Gate(const Word* x, const Word* z, double cosine, double sine) : c(cosine), s(sine) {
    bool found = false;
    for (int k = 0; k < W; ++k) {
      p[k] = x[k];
      p[W + k] = z[k];
      if (x[k] | z[k]) parts.push_back({k, x[k], z[k]});
      phase += std::popcount(x[k] & z[k]);
      if (z[k]) columns.push_back({k, z[k]});
      if (x[k]) columns.push_back({W + k, x[k]});
      for (Word m = z[k]; m; m &= m - 1) bits.push_back({k, std::countr_zero(m)});
      for (Word m = x[k]; m; m &= m - 1) bits.push_back({W + k, std::countr_zero(m)});
      if (!found && (x[k] | z[k])) {
        found = true;
        pivot_column = x[k] ? k : W + k;
        pivot_shift = std::countr_zero(x[k] ? x[k] : z[k]);
      }
    }
  }
};

template <int W> struct String {
  Word w[2 * W];
  QP_INLINE String operator^(const Word* p) const {
    String r;
    for (int k = 0; k < 2 * W; ++k) r.w[k] = w[k] ^ p[k];
    return r;
  }
  QP_INLINE Word hash() const {
    static const Multipliers m;
    Word h = 0;
    for (int k = 0; k < 2 * W; ++k) h += (w[k] ^ (w[k] >> 32)) * m.odd[k];
    return h ^ (h >> 29);
  }
  int weight() const {
    int total = 0;
    for (int k = 0; k < W; ++k) total += std::popcount(w[k] | w[W + k]);
    return total;
  }
  bool diagonal() const {
    Word x = 0;
    for (int k = 0; k < W; ++k) x |= w[k];
    return x == 0;
  }

 private:
  struct Multipliers {
    Word odd[2 * W];
    Multipliers() { for (int k = 0; k < 2 * W; ++k) odd[k] = mixed(0x9e3779b97f4a7c15ull * (k + 1)) | 1; }
  };
};

template <int W> class Zone {
 public:
  static constexpr Slot kNone = 0;  // a slot that is never filled: its coefficient is zero for ever
  static constexpr std::uint32_t kMost = 32000;  // terms, so that a zone that takes in all of another still has slots for them

  explicit Zone(bool tangents, std::size_t terms = 0) : tangents_(tangents) {
    grow(static_cast<std::uint32_t>(terms / 64 + 1) * 64);
    index_again(std::max<std::size_t>(64, terms * 3 / 2));
  }
  Zone(const Zone&) = delete;
  Zone& operator=(const Zone&) = delete;
  ~Zone() { std::free(block_); }

  const Word* column(int k) const { return words_ + std::size_t(k) * capacity_; }
  double* value() const { return value_; }
  float* tangent() const { return tangent_; }  // only with tangents
  std::uint32_t slots() const { return slots_; }  // in use or free, kNone among them
  std::uint32_t live() const { return live_; }
  bool alive(Slot i) const {
    Word any = 0;
    for (int k = 0; k < 2 * W; ++k) any |= column(k)[i];
    return any != 0;
  }
  std::size_t bytes() const {
    return capacity_ * row_bytes() + 2 * (table_.capacity() + free_.capacity());
  }
  String<W> string(Slot i) const {
    String<W> q;
    for (int k = 0; k < 2 * W; ++k) q.w[k] = column(k)[i];
    return q;
  }

  Slot find(const String<W>& q) const {
    for (std::uint32_t at = place(q.hash());; at = next(at)) {
      const Slot i = table_[at];
      if (i == kEmpty) return kNone;
      if (i != kGone && same(i, q)) return i;
    }
  }

  // The slot of a string that is not there yet.
  Slot insert(const String<W>& q, double value, double tangent) {
    Slot i;
    if (free_.empty()) {
      if (slots_ == capacity_) grow(capacity_ + (capacity_ / 32 + 63) / 64 * 64);
      i = static_cast<Slot>(slots_++);
    } else {
      i = free_.back();
      free_.pop_back();
    }
    for (int k = 0; k < 2 * W; ++k) words_[std::size_t(k) * capacity_ + i] = q.w[k];
    value_[i] = value;
    if (tangents_) tangent_[i] = rounded_up(tangent);
    ++live_;
    if (++used_ * 100 > table_.size() * 73) {
      index_again(live_ * 100 > table_.size() * 62 ? table_.size() * 9 / 8 : table_.size());
    } else {
      put(i, q);
    }
    return i;
  }

  void erase(Slot i, const String<W>& q) {
    std::uint32_t at = place(q.hash());
    while (table_[at] != i) at = next(at);
    table_[at] = kGone;
    for (int k = 0; k < 2 * W; ++k) words_[std::size_t(k) * capacity_ + i] = 0;  // the identity commutes with everything
    value_[i] = 0;
    if (tangents_) tangent_[i] = 0;
    free_.push_back(i);
    --live_;
  }

  // Which of the 64 slots from `base` anticommute with the gate's generator.
  Word anticommuting(const Gate<W>& g, std::uint32_t base) const {
    if (g.bits.size() > g.columns.size() + 6) return parities(g, base);
    Word mask = 0;
    for (const auto& b : g.bits) mask ^= bits_of(column(b.column) + base, b.shift);
    return mask;
  }
  Word high(const Gate<W>& g, std::uint32_t base) const { return bits_of(column(g.pivot_column) + base, g.pivot_shift); }

 private:
  static constexpr Slot kEmpty = 0xffff, kGone = 0xfffe;

  // As `anticommuting`, of long generators.
  Word parities(const Gate<W>& g, std::uint32_t base) const {
    alignas(64) Word all[64] = {};
    for (const auto& c : g.columns) {
      const Word* const from = column(c.column) + base;
      for (int v = 0; v < 64; ++v) all[v] ^= from[v] & c.mask;
    }
    for (int v = 0; v < 64; ++v) {
      Word a = all[v];
      a ^= a >> 32; a ^= a >> 16; a ^= a >> 8; a ^= a >> 4; a ^= a >> 2; a ^= a >> 1;
      all[v] = a;
    }
    return bits_of(all, 0);
  }

  static Word bits_of(const Word* from, int shift) {
    Word mask = 0;
#if QP_VECTOR_BYTES == 64
    const __m512i bit = _mm512_set1_epi64(static_cast<long long>(Word{1} << shift));
    for (int v = 0; v < 8; ++v) mask |= Word{_mm512_test_epi64_mask(_mm512_load_si512(from + 8 * v), bit)} << (8 * v);
#elif QP_VECTOR_BYTES == 32
    const __m128i to_sign = _mm_cvtsi32_si128(63 - shift);
    for (int v = 0; v < 16; ++v) {
      const __m256i w = _mm256_sll_epi64(_mm256_load_si256(reinterpret_cast<const __m256i*>(from + 4 * v)), to_sign);
      mask |= Word(static_cast<unsigned>(_mm256_movemask_pd(_mm256_castsi256_pd(w)))) << (4 * v);
    }
#else
    for (int v = 0; v < 64; ++v) mask |= (from[v] >> shift & 1) << v;
#endif
    return mask;
  }

  std::size_t row_bytes() const { return 16 * W + 8 + (tangents_ ? 4 : 0); }
  std::uint32_t place(Word hash) const { return static_cast<std::uint32_t>((hash >> 32) * table_.size() >> 32); }
  std::uint32_t next(std::uint32_t at) const { return ++at == table_.size() ? 0 : at; }
  bool same(Slot i, const String<W>& q) const {
    for (int k = 0; k < 2 * W; ++k)
      if (column(k)[i] != q.w[k]) return false;
    return true;
  }
  void put(Slot i, const String<W>& q) {
    std::uint32_t at = place(q.hash());
    while (table_[at] != kEmpty) at = next(at);
    table_[at] = i;
  }
  void index_again(std::size_t size) {
    std::vector<Slot>(size, kEmpty).swap(table_);
    used_ = live_;
    for (std::uint32_t i = 1; i < slots_; ++i)
      if (alive(static_cast<Slot>(i))) put(static_cast<Slot>(i), string(static_cast<Slot>(i)));
  }
  void grow(std::uint32_t capacity) {  // a multiple of 64
    auto* block = static_cast<std::byte*>(std::aligned_alloc(64, capacity * row_bytes()));
    if (!block) throw std::bad_alloc();
    std::memset(block, 0, capacity * row_bytes());
    auto* words = reinterpret_cast<Word*>(block);
    auto* value = reinterpret_cast<double*>(words + std::size_t(2 * W) * capacity);
    auto* tangent = reinterpret_cast<float*>(value + capacity);
    for (int k = 0; block_ && k < 2 * W; ++k) std::memcpy(words + std::size_t(k) * capacity, column(k), capacity_ * 8);
    if (block_) std::memcpy(value, value_, capacity_ * 8);
    if (block_ && tangents_) std::memcpy(tangent, tangent_, capacity_ * 4);
    std::free(block_);
    block_ = block; words_ = words; value_ = value; tangent_ = tangent; capacity_ = capacity;
  }

  std::byte* block_ = nullptr;
  Word* words_ = nullptr;
  double* value_ = nullptr;
  float* tangent_ = nullptr;
  std::uint32_t capacity_ = 0, slots_ = 1, live_ = 0, used_ = 0;  // used: entries of the table, those gone included
  std::vector<Slot> table_, free_;
  bool tangents_;
};

}  // namespace qp
