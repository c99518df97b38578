// Subspaces of masks over GF(2), and their cosets: the pieces into which a run of operations cuts a vector.
//
// An index has `lane_bits` low bits (the lanes of a vector) and upper bits (which vector); a subspace is one of the upper bits.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <stdexcept>
#include <vector>

namespace qp {

using Mask = std::uint64_t;
inline unsigned parity(Mask m) { return std::popcount(m) & 1u; }

template <class T> using List = std::vector<T>;

// Linear maps of small integers, evaluated through two tables.
struct Split {
  List<Mask> low, high;
  Split() : Split(List<Mask>{}) {}
  explicit Split(const List<Mask>& images) {
    const int bits = static_cast<int>(images.size());
    low.assign(std::size_t{1} << std::min(bits, 6), 0);
    high.assign(std::size_t{1} << std::max(bits - 6, 0), 0);
    for (int i = 0; i < bits; ++i) {
      List<Mask>& t = i < 6 ? low : high;
      const std::size_t bit = std::size_t{1} << (i < 6 ? i : i - 6);
      for (std::size_t k = 0; k < bit; ++k) t[bit + k] = t[k] ^ images[i];
    }
    low.resize(64, 0);
  }
  Mask operator()(std::size_t i) const { return low[i & 63] ^ high[i >> 6]; }
};

// A subspace V with its cosets.
struct Subspace {
  int b = 0, lane_bits = 0;
  List<Mask> basis;         // whole masks, lanes included
  List<Mask> coset_basis;   // unit vectors (upper bits) that complement V
  Split gather;             // local index -> upper address | lanes to swap << 32
  Split cosets;             // coset number -> upper address of its base
  std::uint32_t n_cosets = 1;
  bool identity = true, swaps_lanes = false;

  Subspace(const Mask* w, int b_, int n_up, int lane_bits_) : b(b_), lane_bits(lane_bits_), basis(w, w + b_) {
    const Mask lanes = (Mask{1} << lane_bits) - 1;
    List<Mask> images;
    for (int i = 0; i < b; ++i) {
      images.push_back((basis[i] >> lane_bits) | (basis[i] & lanes) << 32);
      identity = identity && basis[i] == Mask{1} << (lane_bits + i);
      swaps_lanes = swaps_lanes || (basis[i] & lanes);
    }
    identity = identity && b == n_up;
    gather = Split(images);
    Mask pivots = 0;
    for (int i = 0; i < b; ++i) {
      Mask up = basis[i] >> lane_bits, combination = Mask{1} << i;
      for (std::size_t e = 0; e < echelon_.size(); ++e)
        if (up >> pivot_[e] & 1) { up ^= echelon_[e]; combination ^= combination_[e]; }
      if (!up) throw std::logic_error("plan: dependent basis");
      const int p = std::countr_zero(up);
      for (std::size_t e = 0; e < echelon_.size(); ++e)
        if (echelon_[e] >> p & 1) { echelon_[e] ^= up; combination_[e] ^= combination; }
      echelon_.push_back(up); pivot_.push_back(p); combination_.push_back(combination);
      pivots |= Mask{1} << p;
    }
    for (int q = 0; q < n_up; ++q)
      if (!(pivots >> q & 1)) coset_basis.push_back(Mask{1} << q);
    cosets = Split(coset_basis);
    n_cosets = std::uint32_t{1} << coset_basis.size();
  }

  // x as a combination of the basis and a remainder within the lanes
  struct Local { std::uint32_t vector; int lanes; };
  Local locate(Mask x) const {
    Mask up = x >> lane_bits, combination = 0;
    for (std::size_t e = 0; e < echelon_.size(); ++e)
      if (up >> pivot_[e] & 1) { up ^= echelon_[e]; combination ^= combination_[e]; }
    if (up) throw std::logic_error("plan: mask outside the space of its run");
    Mask rest = x;
    for (int i = 0; i < b; ++i) if (combination >> i & 1) rest ^= basis[i];
    return {static_cast<std::uint32_t>(combination), static_cast<int>(rest)};
  }
  // local z mask: parity with each basis vector
  std::uint32_t local_z(Mask z) const {
    std::uint32_t m = 0;
    for (int i = 0; i < b; ++i) m |= parity(z & basis[i]) << i;
    return m;
  }

 private:
  List<Mask> echelon_, combination_;
  List<int> pivot_;
};

// Chunks of cosets are the unit of work and of summation; their number must not depend on the number of threads.
inline std::uint32_t chunks_of(std::uint32_t cosets) { return std::min<std::uint32_t>(cosets, cosets >= 256 ? 64 : 16); }

}  // namespace qp
