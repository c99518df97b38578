// Random paths of strings through rotations by independent angles, uniform on [0, 2 pi): at each rotation that a string
// anticommutes with it stays or turns with probability one half.  With d the overlap at the end and tau = 1 if the path was
// ever truncated, E[(f - f~)^2] = E[tau d^2], and for the derivative by a_m the same over the paths that branch at m.
#pragma once

#include "terms.hpp"

namespace qp {

template <int W>
void random_paths(const Word* ox, const Word* oz, const Word* px, const Word* pz, int stages, int most_weight, bool keep_diagonal, const double* bloch,
                  std::size_t paths, std::uint64_t seed, double* sums /* (1 + stages, 2): of tau d^2 and of its square */) {
  std::vector<Gate<W>> gates;
  for (int m = 0; m < stages; ++m) gates.emplace_back(px + std::size_t(m) * W, pz + std::size_t(m) * W, 0.0, 0.0);
  std::fill(sums, sums + 2 * (1 + stages), 0.0);
  std::vector<int> branched;
  for (std::size_t path = 0; path < paths; ++path) {
    String<W> q;
    std::copy(ox, ox + W, q.w);
    std::copy(oz, oz + W, q.w + W);
    branched.clear();
    bool truncated = false;
    const Word key = mixed(seed + 0x9e3779b97f4a7c15ull * (path + 1));
    for (int m = stages; m-- > 0;) {
      Word all = 0;
      for (const auto& a : gates[m].parts) all ^= (q.w[a.word] & a.z) ^ (q.w[W + a.word] & a.x);
      if (!(std::popcount(all) & 1)) continue;
      branched.push_back(m);
      if (mixed(key ^ mixed(static_cast<Word>(m) + 1)) >> 63)
        for (const auto& a : gates[m].parts) { q.w[a.word] ^= a.x; q.w[W + a.word] ^= a.z; }
      truncated |= q.weight() > most_weight && !(keep_diagonal && q.diagonal());
    }
    if (!truncated) continue;
    double d = 1;
    for (int k = 0; k < W; ++k)
      for (Word m = q.w[k] | q.w[W + k]; m; m &= m - 1) {
        const int b = std::countr_zero(m);
        d *= bloch[3 * (64 * k + b) + (q.w[k] >> b & 1 ? (q.w[W + k] >> b & 1 ? 1 : 0) : 2)];
      }
    const double t = d * d;
    sums[0] += t; sums[1] += t * t;
    for (const int m : branched) { sums[2 * (m + 1)] += t; sums[2 * (m + 1) + 1] += t * t; }
  }
}

}  // namespace qp
