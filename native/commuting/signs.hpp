// Products of a matrix with a matrix of signs.
//
// A product with entries +-1 needs no multiplications: k contraction indices have 2^k patterns of signs, so their 2^k signed
// sums are tabulated once for a block of rows and then only looked up and added ("method of the four Russians").
#pragma once

#include <cstdint>
#include <vector>

#include "../memory.hpp"
#include "../vec.hpp"

namespace qp {

constexpr int kBits = 6;    // contraction indices of a table
constexpr int kTables = 8;  // looked up together: 8 tables of 64 vectors are the first-level cache

// Of signs (k, o): for every batch of kTables tables and every output the places in the tables.
class Patterns {
 public:
  // bit(k, o) says whether the sign of contraction index k at output o is minus.
  template <class Bit> void fill(int contracted, int outputs, const Bit& bit) {
    outputs_ = outputs;
    batches_ = (contracted + kBits * kTables - 1) / (kBits * kTables);
    place_.reserve(static_cast<std::size_t>(batches_) * outputs * kTables);
    for (int b = 0; b < batches_; ++b)
      for (int o = 0; o < outputs; ++o)
        for (int t = 0; t < kTables; ++t) {
          unsigned p = 0;
          const int first = (b * kTables + t) * kBits;
          for (int j = 0; j < kBits && first + j < contracted; ++j) p |= static_cast<unsigned>(bit(first + j, o)) << j;
          place_[(static_cast<std::size_t>(b) * outputs + o) * kTables + t] = static_cast<std::uint8_t>(p);
        }
  }
  // The same from rows of bits: rows[k][o] with `stride` bytes from k to k + 1.
  void from_rows(const std::uint8_t* rows, std::size_t stride, int contracted, int outputs) {
    fill_by_rows(contracted, outputs, [&](int k, int o) { return rows[k * stride + o]; });
  }
  // rows[o][k].
  void from_columns(const std::uint8_t* rows, std::size_t stride, int contracted, int outputs) {
    fill(contracted, outputs, [&](int k, int o) { return rows[o * stride + k]; });
  }
  int batches() const { return batches_; }
  int outputs() const { return outputs_; }
  const std::uint8_t* batch(int b) const { return place_.data() + static_cast<std::size_t>(b) * outputs_ * kTables; }

 private:
  template <class Bit> void fill_by_rows(int contracted, int outputs, const Bit& bit) {
    outputs_ = outputs;
    batches_ = (contracted + kBits * kTables - 1) / (kBits * kTables);
    place_.reserve(static_cast<std::size_t>(batches_) * outputs * kTables);
    for (int b = 0; b < batches_; ++b)
      for (int t = 0; t < kTables; ++t) {
        std::uint8_t* const out = place_.data() + static_cast<std::size_t>(b) * outputs * kTables + t;
        const int first = (b * kTables + t) * kBits;
        for (int o = 0; o < outputs; ++o) out[static_cast<std::size_t>(o) * kTables] = 0;
        for (int j = 0; j < kBits && first + j < contracted; ++j)
          for (int o = 0; o < outputs; ++o) out[static_cast<std::size_t>(o) * kTables] |= static_cast<std::uint8_t>(bit(first + j, o) << j);
      }
  }

  Array<std::uint8_t> place_;
  int outputs_ = 0, batches_ = 0;
};

// out[o] = sum_k sign(k, o) column(k), vectors over a block of rows; tables: scratch of kTables << kBits vectors.
template <class R, class Column> void signed_product(const Patterns& p, int contracted, const Column& column, Vec<R>* tables, Vec<R>* out) {
  constexpr int kSize = 1 << kBits;
  for (int b = 0; b < p.batches(); ++b) {
    for (int t = 0; t < kTables; ++t) {
      Vec<R>* const table = tables + t * kSize;
      const int first = (b * kTables + t) * kBits;
      Vec<R> v[kBits], sum = splat<R>(0);
      for (int j = 0; j < kBits; ++j) {
        v[j] = first + j < contracted ? column(first + j) : splat<R>(0);
        sum += v[j];
      }
      table[0] = sum;
      for (int j = 0; j < kBits; ++j) {
        const Vec<R> twice = v[j] + v[j];
        for (int q = 0; q < 1 << j; ++q) table[(1 << j) + q] = table[q] - twice;
      }
    }
    const std::uint8_t* place = p.batch(b);
    for (int o = 0; o < p.outputs(); ++o, place += kTables) {
      std::uint64_t all;
      std::memcpy(&all, place, 8);
      Vec<R> even = b ? out[o] : splat<R>(0), odd = tables[all & 0xff];
      even += tables[kSize + (all >> 8 & 0xff)];
      odd += tables[2 * kSize + (all >> 16 & 0xff)];
      even += tables[3 * kSize + (all >> 24 & 0xff)];
      odd += tables[4 * kSize + (all >> 32 & 0xff)];
      even += tables[5 * kSize + (all >> 40 & 0xff)];
      odd += tables[6 * kSize + (all >> 48 & 0xff)];
      even += tables[7 * kSize + (all >> 56)];
      out[o] = even + odd;
    }
  }
}
static_assert(kTables == 8 && kBits <= 8);

template <class R> QP_INLINE double sum_of(Vec<R> v) {
  double s = 0;
  for (int l = 0; l < kWidth<R>; ++l) s += static_cast<double>(v[l]);
  return s;
}

}  // namespace qp
