// Exact expectation values of a model of gates about one and two signs:
//
//     e_a = 2^-(w-1) sum_{s in {+-1}^a, s_1 = +1} cos(sum_{i in a} a_i s_i) prod_{j not in a} cos(sum_{i in a} a_ij s_i),
//
// w = |a|, since given the signs in a those outside are independent. Cost 2^(w-1) n w. Derivatives by prefix and suffix products,
// without a division.
#pragma once

#include "fields.hpp"

namespace qp {

template <class R> class Exact {
 public:
  static constexpr int W = kWidth<R>;

  // values (obs). If d_pair is not null: also adds to d_single (n) and d_pair (n, n; entries ij and ji add up) the derivative of
  // sum_a (slope_a e_a + curve_a e_a^2 / 2).
  static void run(int n, const double* single, const double* pair, const Lists& obs, double* values, const double* slope, const double* curve, double* d_single,
                  double* d_pair, int threads, const std::function<void()>& check) {
    FlushSubnormals flush;
    const int stride = (n + W - 1) / W * W;
    std::vector<Work> works(std::max(1, std::min(threads, kMostWorkers)));
    // Derivatives of a batch of observables are kept apart and then added row by row, in their order, whatever the threads.
    constexpr std::size_t kKept = std::size_t{8} << 20;
    std::vector<double> kept, own;
    for (int begin = 0; begin < obs.count;) {
      int end = begin;
      std::size_t rows = 0;
      std::vector<std::size_t> start;
      while (end < obs.count && (end == begin || (rows + obs.size(end)) * n * sizeof(double) <= kKept || !d_pair)) {
        start.push_back(rows);
        rows += obs.size(end++);
      }
      if (d_pair) { kept.resize(rows * n); own.resize(rows); }
      share_tasks(threads, end - begin, check, [&](int k, int worker) {
        const int a = begin + k;
        values[a] = one(n, stride, single, pair, obs.of(a), obs.size(a), d_pair ? slope + a : nullptr, d_pair ? curve + a : nullptr,
                        d_pair ? own.data() + start[k] : nullptr, d_pair ? kept.data() + start[k] * n : nullptr, works[worker]);
      });
      if (d_pair) {
        for (int a = begin; a < end; ++a)
          for (int i = 0; i < obs.size(a); ++i) d_single[obs.of(a)[i]] += own[start[a - begin] + i];
        const int blocks = (n + 63) / 64;
        share_tasks(threads, blocks, check, [&](int b, int) {
          const int first = b * 64, last = std::min(n, first + 64);
          for (int a = begin; a < end; ++a)
            for (int i = 0; i < obs.size(a); ++i) {
              const double* const from = kept.data() + (start[a - begin] + i) * n;
              double* const to = d_pair + static_cast<std::size_t>(obs.of(a)[i]) * n;
              for (int j = first; j < last; ++j) to[j] += from[j];
            }
        });
      }
      begin = end;
    }
  }

 private:
  struct Work { Array<R> rows, sine, cosine, prefix, slopes; };

  static Vec<R> load(const R* p) { return *reinterpret_cast<const Vec<R>*>(p); }
  static void store(R* p, Vec<R> v) { *reinterpret_cast<Vec<R>*>(p) = v; }

  static double one(int n, int stride, const double* single, const double* pair, const std::int32_t* q, int w, const double* slope, const double* curve, double* own,
                    double* d, Work& work) {
    if (w == 0) return 1.0;
    work.rows.reserve(static_cast<std::size_t>(w) * stride);
    work.sine.reserve(stride); work.cosine.reserve(stride); work.prefix.reserve(stride);
    R* const rows = work.rows.data();
    for (int i = 0; i < w; ++i) {
      R* const to = rows + static_cast<std::size_t>(i) * stride;
      const double* const from = pair + static_cast<std::size_t>(q[i]) * n;
      for (int j = 0; j < n; ++j) to[j] = static_cast<R>(from[j]);
      for (int j = n; j < stride; ++j) to[j] = R(0);
      for (int k = 0; k < w; ++k) to[q[k]] = R(0);
    }
    if (own) {
      work.slopes.reserve(static_cast<std::size_t>(w) * stride);
      std::fill(work.slopes.data(), work.slopes.data() + static_cast<std::size_t>(w) * stride, R(0));
      std::fill(own, own + w, 0.0);
    }
    const std::uint64_t patterns = std::uint64_t{1} << (w - 1);
    double total = 0;
    R sign[64];
    for (std::uint64_t p = 0; p < patterns; ++p) {
      double angle = 0;
      for (int i = 0; i < w; ++i) {
        sign[i] = i && (p >> (i - 1) & 1) ? R(-1) : R(1);
        angle += sign[i] * single[q[i]];
      }
      const double c = std::cos(angle), s = std::sin(angle);
      Vec<R> running = splat<R>(1);
      for (int j = 0; j < stride; j += W) {
        Vec<R> b = splat<R>(0);
        for (int i = 0; i < w; ++i) b += sign[i] * load(rows + static_cast<std::size_t>(i) * stride + j);
        const SinCos<R> r = sincos<R>(b);
        if (own) {
          store(work.prefix.data() + j, running);
          store(work.sine.data() + j, r.sin);
          store(work.cosine.data() + j, r.cos);
        }
        running *= r.cos;
      }
      double product = 1;
      for (int l = 0; l < W; ++l) product *= static_cast<double>(running[l]);
      total += c * product;
      if (!own) continue;
      for (int i = 0; i < w; ++i) own[i] -= static_cast<double>(sign[i]) * s * product;
      Vec<R> others;  // of the other lanes' products
      for (int l = 0; l < W; ++l) {
        double rest = 1;
        for (int m = 0; m < W; ++m) rest *= m == l ? 1.0 : static_cast<double>(running[m]);
        others[l] = static_cast<R>(-c * rest);
      }
      Vec<R> suffix = others;
      for (int j = stride - W; j >= 0; j -= W) {
        const Vec<R> slope_j = load(work.sine.data() + j) * load(work.prefix.data() + j) * suffix;
        for (int i = 0; i < w; ++i) {
          R* const to = work.slopes.data() + static_cast<std::size_t>(i) * stride + j;
          store(to, load(to) + sign[i] * slope_j);
        }
        suffix *= load(work.cosine.data() + j);
      }
    }
    const double value = total / static_cast<double>(patterns);
    if (own) {
      const double scale = (*slope + *curve * value) / static_cast<double>(patterns);
      for (int i = 0; i < w; ++i) {
        own[i] *= scale;
        const R* const from = work.slopes.data() + static_cast<std::size_t>(i) * stride;
        for (int j = 0; j < n; ++j) d[static_cast<std::size_t>(i) * n + j] = scale * static_cast<double>(from[j]);
      }
    }
    return value;
  }
};

}  // namespace qp
