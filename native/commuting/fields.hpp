// Expectation values of a commuting model over sampled signs.
//
// A gate g turns by a_g about the product of the signs s_i, i in g, and an observable a sees the gates that overlap it oddly:
//
//     e_a = E_s cos phi_a(s),   phi_a = sum_{g: |g & a| odd} a_g chi_g(s),   chi_g = prod_{i in g} s_i.
//
// With the field h_i = sum_{g contains i} a_g chi_g a gate of overlap k is counted k times in sum_{i in a} h_i, so
//
//     phi_a = sum_{i in a} h_i - sum_{g: |g & a| >= 2} 2 floor(|g & a| / 2) a_g chi_g :
//
// one product for all observables and then only what lies inside a. Gates of one and two are a vector and a symmetric matrix
// (one product with signs), others a list.
#pragma once

#include <algorithm>
#include <functional>
#include <vector>

#include "../pool.hpp"
#include "signs.hpp"

namespace qp {

// A list of lists of integers, begun by `ptr`.
struct Lists {
  const std::int64_t* ptr;
  const std::int32_t* item;
  int count;
  int size(int k) const { return static_cast<int>(ptr[k + 1] - ptr[k]); }
  const std::int32_t* of(int k) const { return item + ptr[k]; }
};

class OwnLists : public Lists {
 public:
  OwnLists() : Lists{nullptr, nullptr, 0} {}
  OwnLists(const OwnLists&) = delete;
  OwnLists& operator=(const Lists& other) {
    ptrs_.assign(other.ptr, other.ptr + other.count + 1);
    items_.assign(other.item, other.item + other.ptr[other.count]);
    ptr = ptrs_.data(); item = items_.data(); count = other.count;
    return *this;
  }

 private:
  std::vector<std::int64_t> ptrs_;
  std::vector<std::int32_t> items_;
};

// job(task, worker) for all tasks, on all threads; `check` is asked now and then on the calling thread.
template <class Job> void share_tasks(int threads, int tasks, const std::function<void()>& check, const Job& job) {
  const Lease lease(tasks > 1 ? threads : 1);
  const Crew crew(lease.pool(), check);
  crew.each(static_cast<std::uint32_t>(tasks), [&](std::uint32_t t, int worker) {
    if (worker == 0) crew.check();
    job(static_cast<int>(t), worker);
  });
}

template <class R> class Fields {
 public:
  static constexpr int W = kWidth<R>;
  static constexpr int kChunk = 128;  // samples of a task

  // pair: (n, n) symmetric, its diagonal zero, or null; single: (n); gates and their angles: all others; bits: (n, samples) of 0
  // and 1, the sign being minus where the bit is 1; they must outlive `gradient`.
  void build(int n, const double* single, const double* pair, const Lists& gates, const double* angles, const std::uint8_t* bits, int samples, int threads,
             const std::function<void()>& check) {
    FlushSubnormals flush;
    n_ = n; samples_ = samples; threads_ = threads; gates_ = gates;
    chunks_ = (samples + kChunk - 1) / kChunk;
    padded_ = chunks_ * kChunk;
    const std::size_t size = static_cast<std::size_t>(n) * padded_;
    h_.reserve(size); s_.reserve(size);
    has_pair_ = pair != nullptr;
    bits_ = bits;
    if (has_pair_) {
      by_sample_.from_rows(bits, samples, n, samples);
      copy_pair(pair, check);
    }
    angle_.assign(angles, angles + gates.count);
    const int blocks = (n + W - 1) / W;
    scratch_.resize(std::max(1, std::min(threads, kMostWorkers)));
    share_tasks(threads, blocks, check, [&](int b, int worker) { field_of_rows(b, single, scratch_[worker]); });
    if (gates.count) share_tasks(threads, chunks_, check, [&](int c, int) { add_gates(c); });
  }

  // Means over the samples of cos and cos^2 of every observable; cosine and sine are kept for `pull`.
  void means(const Lists& obs, double* mean, double* mean_square, const std::function<void()>& check) {
    FlushSubnormals flush;
    obs_ = obs;
    gather_inside();
    const std::size_t kept = static_cast<std::size_t>(obs.count) * padded_;
    cos_.reserve(kept); sin_.reserve(kept);
    partial_.assign(static_cast<std::size_t>(2) * obs.count * chunks_, 0.0);
    share_tasks(threads_, chunks_, check, [&](int c, int) {
      for (int a = 0; a < obs_.count; ++a) means_of(c, a);
    });
    for (int a = 0; a < obs.count; ++a) {
      double m = 0, q = 0;
      for (int c = 0; c < chunks_; ++c) {
        m += partial_[2 * (static_cast<std::size_t>(c) * obs.count + a)];
        q += partial_[2 * (static_cast<std::size_t>(c) * obs.count + a) + 1];
      }
      mean[a] = m / samples_;
      mean_square[a] = q / samples_;
    }
  }

  void start_pull() {
    w_.reserve(static_cast<std::size_t>(n_) * padded_);
    std::fill(w_.data(), w_.data() + static_cast<std::size_t>(n_) * padded_, R(0));
    d_angle_.assign(gates_.count, 0.0);
    inner_row_.clear(); inner_column_.clear(); inner_.clear();
  }

  // Of the observables of the last `means`: adds the derivative of sum_a (by_mean_a mean_a + by_square_a mean_square_a).
  void pull(const double* by_mean, const double* by_square, const std::function<void()>& check) {
    FlushSubnormals flush;
    const std::size_t pairs = pair_value_.size(), overlaps = over_gate_.size();
    pair_sum_.assign(pairs * chunks_, 0.0);
    over_sum_.assign(overlaps * chunks_, 0.0);
    share_tasks(threads_, chunks_, check, [&](int c, int) {
      for (int a = 0; a < obs_.count; ++a) pull_of(c, a, by_mean[a] / samples_, 2 * by_square[a] / samples_);
    });
    for (int a = 0; a < obs_.count; ++a) {
      const std::int32_t* const q = obs_.of(a);
      std::size_t k = pair_start_[a];
      if (has_pair_)
        for (int i = 1; i < obs_.size(a); ++i)
          for (int j = 0; j < i; ++j, ++k) {
            double total = 0;
            for (int c = 0; c < chunks_; ++c) total += pair_sum_[c * pairs + k];
            inner_row_.push_back(q[i]); inner_column_.push_back(q[j]); inner_.push_back(-2 * total);
          }
    }
    for (std::size_t k = 0; k < overlaps; ++k) {
      double total = 0;
      for (int c = 0; c < chunks_; ++c) total += over_sum_[c * overlaps + k];
      d_angle_[over_gate_[k]] -= over_count_[k] * total;
    }
  }

  // The derivatives by single (n), pair (n, n; entries ij and ji add up to d/d pair_ij) and the other gates' angles.
  void gradient(double* d_single, double* d_pair, double* d_angles, const std::function<void()>& check) {
    FlushSubnormals flush;
    const int blocks = (n_ + W - 1) / W;
    if (has_pair_) by_qubit_.from_columns(bits_, samples_, samples_, n_);
    if (gates_.count) gates_gradient(check);
    share_tasks(threads_, blocks, check, [&](int b, int worker) { gradient_of_rows(b, d_single, d_pair, scratch_[worker]); });
    if (has_pair_) {
      for (std::size_t k = 0; k < inner_.size(); ++k) d_pair[static_cast<std::size_t>(inner_row_[k]) * n_ + inner_column_[k]] += inner_[k];
    }
    std::copy(d_angle_.begin(), d_angle_.end(), d_angles);
  }

  std::size_t bytes() const {
    return sizeof(R) * (h_.size() + s_.size() + w_.size() + cos_.size() + sin_.size() + pair_.size());
  }

 private:
  R* row(const Array<R>& a, int i) const { return a.data() + static_cast<std::size_t>(i) * padded_; }
  static Vec<R> load(const R* p) { return *reinterpret_cast<const Vec<R>*>(p); }
  static void store(R* p, Vec<R> v) { *reinterpret_cast<Vec<R>*>(p) = v; }

  // The matrix in this precision, its rows padded to whole vectors: as it is symmetric, a row is a column too.
  void copy_pair(const double* pair, const std::function<void()>& check) {
    stride_ = (n_ + W - 1) / W * W;
    pair_.reserve(static_cast<std::size_t>(n_) * stride_);
    share_tasks(threads_, n_, check, [&](int i, int) {
      R* const to = pair_.data() + static_cast<std::size_t>(i) * stride_;
      const double* const from = pair + static_cast<std::size_t>(i) * n_;
      for (int j = 0; j < n_; ++j) to[j] = static_cast<R>(from[j]);
      for (int j = n_; j < stride_; ++j) to[j] = R(0);
    });
  }

  void field_of_rows(int b, const double* single, Array<Vec<R>>& scratch) {
    const int first = b * W, rows = std::min(W, n_ - first);
    scratch.reserve((kTables << kBits) + (has_pair_ ? samples_ : 0));
    Vec<R>* const u = scratch.data() + (kTables << kBits);
    if (has_pair_)
      signed_product<R>(by_sample_, n_, [&](int k) { return load(pair_.data() + static_cast<std::size_t>(k) * stride_ + first); }, scratch.data(), u);
    for (int r = 0; r < rows; ++r) {
      R *const h = row(h_, first + r), *const s = row(s_, first + r);
      const std::uint8_t* const bit = bits_ + static_cast<std::size_t>(first + r) * samples_;
      const R own = static_cast<R>(single[first + r]);
      for (int i = 0; i < samples_; ++i) s[i] = bit[i] ? R(-1) : R(1);
      for (int i = samples_; i < padded_; ++i) s[i] = R(1);
      if (has_pair_)
        for (int i = 0; i < samples_; ++i) h[i] = s[i] * (own + u[i][r]);
      else
        for (int i = 0; i < samples_; ++i) h[i] = s[i] * own;
      for (int i = samples_; i < padded_; ++i) h[i] = R(0);
    }
  }

  Vec<R> character(int g, std::size_t at) const {
    const std::int32_t* const q = gates_.of(g);
    Vec<R> chi = load(s_.data() + static_cast<std::size_t>(q[0]) * padded_ + at);
    for (int i = 1; i < gates_.size(g); ++i) chi *= load(s_.data() + static_cast<std::size_t>(q[i]) * padded_ + at);
    return chi;
  }

  void add_gates(int c) {
    for (int g = 0; g < gates_.count; ++g) {
      const R angle = static_cast<R>(angle_[g]);
      for (std::size_t at = static_cast<std::size_t>(c) * kChunk; at < static_cast<std::size_t>(c + 1) * kChunk; at += W) {
        const Vec<R> v = angle * character(g, at);
        for (int i = 0; i < gates_.size(g); ++i) {
          R* const h = h_.data() + static_cast<std::size_t>(gates_.of(g)[i]) * padded_ + at;
          store(h, load(h) + v);
        }
      }
    }
  }

  // What lies inside each observable: its entries of the matrix, and the other gates of overlap 2 and more.
  void gather_inside() {
    pair_start_.assign(obs_.count + 1, 0);
    over_start_.assign(obs_.count + 1, 0);
    pair_value_.clear(); over_gate_.clear(); over_count_.clear();
    if (gates_.count && holders_.size() != static_cast<std::size_t>(n_)) holders_.assign(n_, {});
    if (gates_.count) {
      for (auto& h : holders_) h.clear();
      for (int g = 0; g < gates_.count; ++g)
        for (int i = 0; i < gates_.size(g); ++i) holders_[gates_.of(g)[i]].push_back(g);
      overlap_.assign(gates_.count, 0);
    }
    for (int a = 0; a < obs_.count; ++a) {
      const std::int32_t* const q = obs_.of(a);
      if (has_pair_)
        for (int i = 1; i < obs_.size(a); ++i)
          for (int j = 0; j < i; ++j) pair_value_.push_back(pair_[static_cast<std::size_t>(q[i]) * stride_ + q[j]]);
      pair_start_[a + 1] = pair_value_.size();
      if (gates_.count) {
        touched_.clear();
        for (int i = 0; i < obs_.size(a); ++i)
          for (const int g : holders_[q[i]])
            if (overlap_[g]++ == 0) touched_.push_back(g);
        for (const int g : touched_) {
          if (overlap_[g] > 1) { over_gate_.push_back(g); over_count_.push_back(2 * (overlap_[g] / 2)); }
          overlap_[g] = 0;
        }
      }
      over_start_[a + 1] = over_gate_.size();
    }
  }

  void means_of(int c, int a) {
    constexpr int T = 4;  // vectors at a time, so that each entry of the matrix is loaded once for all of them
    const int w = obs_.size(a);
    const std::int32_t* const q = obs_.of(a);
    const std::size_t begin = static_cast<std::size_t>(c) * kChunk;
    Vec<R> sum = splat<R>(0), square = splat<R>(0);
    for (std::size_t at = begin; at < begin + kChunk; at += T * W) {
      Vec<R> phi[T];
      for (int t = 0; t < T; ++t) phi[t] = splat<R>(0);
      const R* value = pair_value_.data() + pair_start_[a];
      for (int i = 0; i < w; ++i) {
        const R* const h = h_.data() + static_cast<std::size_t>(q[i]) * padded_ + at;
        for (int t = 0; t < T; ++t) phi[t] += load(h + t * W);
        if (!has_pair_ || i == 0) continue;
        Vec<R> inside[T];
        for (int t = 0; t < T; ++t) inside[t] = splat<R>(0);
        for (int j = 0; j < i; ++j) {
          const R v = *value++;
          const R* const s = s_.data() + static_cast<std::size_t>(q[j]) * padded_ + at;
          for (int t = 0; t < T; ++t) inside[t] += v * load(s + t * W);
        }
        const R* const s = s_.data() + static_cast<std::size_t>(q[i]) * padded_ + at;
        for (int t = 0; t < T; ++t) phi[t] -= (load(s + t * W) + load(s + t * W)) * inside[t];
      }
      for (std::size_t k = over_start_[a]; k < over_start_[a + 1]; ++k) {
        const R v = static_cast<R>(over_count_[k] * angle_[over_gate_[k]]);
        for (int t = 0; t < T; ++t) phi[t] -= v * character(over_gate_[k], at + t * W);
      }
      for (int t = 0; t < T; ++t) {
        SinCos<R> r = sincos<R>(phi[t]);
        if (at + (t + 1) * W > static_cast<std::size_t>(samples_))
          for (int l = 0; l < W; ++l)
            if (at + t * W + l >= static_cast<std::size_t>(samples_)) r.cos[l] = r.sin[l] = 0;
        sum += r.cos;
        square += r.cos * r.cos;
        store(cos_.data() + static_cast<std::size_t>(a) * padded_ + at + t * W, r.cos);
        store(sin_.data() + static_cast<std::size_t>(a) * padded_ + at + t * W, r.sin);
      }
    }
    double* const out = partial_.data() + 2 * (static_cast<std::size_t>(c) * obs_.count + a);
    out[0] = sum_of<R>(sum);
    out[1] = sum_of<R>(square);
  }

  void pull_of(int c, int a, double linear, double quadratic) {
    constexpr int V = kChunk / W;
    const int w = obs_.size(a);
    const std::int32_t* const q = obs_.of(a);
    const std::size_t begin = static_cast<std::size_t>(c) * kChunk;
    const R l = static_cast<R>(linear), k = static_cast<R>(quadratic);
    Vec<R> y[V], ys[V];
    for (int v = 0; v < V; ++v) {
      const std::size_t at = static_cast<std::size_t>(a) * padded_ + begin + v * W;
      y[v] = -load(sin_.data() + at) * (l + k * load(cos_.data() + at));
    }
    double* out = pair_sum_.data() + static_cast<std::size_t>(c) * pair_value_.size() + pair_start_[a];
    for (int i = 0; i < w; ++i) {
      R* const to = w_.data() + static_cast<std::size_t>(q[i]) * padded_ + begin;
      for (int v = 0; v < V; ++v) store(to + v * W, load(to + v * W) + y[v]);
      if (!has_pair_ || i == 0) continue;
      const R* const s = s_.data() + static_cast<std::size_t>(q[i]) * padded_ + begin;
      for (int v = 0; v < V; ++v) ys[v] = y[v] * load(s + v * W);
      for (int j = 0; j < i; ++j) {
        const R* const other = s_.data() + static_cast<std::size_t>(q[j]) * padded_ + begin;
        Vec<R> total = splat<R>(0);
        for (int v = 0; v < V; ++v) total += ys[v] * load(other + v * W);
        *out++ = sum_of<R>(total);
      }
    }
    double* const over = over_sum_.data() + static_cast<std::size_t>(c) * over_gate_.size();
    for (std::size_t g = over_start_[a]; g < over_start_[a + 1]; ++g) {
      Vec<R> total = splat<R>(0);
      for (int v = 0; v < V; ++v) total += y[v] * character(over_gate_[g], begin + v * W);
      over[g] = sum_of<R>(total);
    }
  }

  void gates_gradient(const std::function<void()>& check) {
    gate_sum_.assign(static_cast<std::size_t>(chunks_) * gates_.count, 0.0);
    share_tasks(threads_, chunks_, check, [&](int c, int) {
      for (int g = 0; g < gates_.count; ++g) {
        Vec<R> total = splat<R>(0);
        for (std::size_t at = static_cast<std::size_t>(c) * kChunk; at < static_cast<std::size_t>(c + 1) * kChunk; at += W) {
          Vec<R> weights = splat<R>(0);
          for (int i = 0; i < gates_.size(g); ++i) weights += load(w_.data() + static_cast<std::size_t>(gates_.of(g)[i]) * padded_ + at);
          total += weights * character(g, at);
        }
        gate_sum_[static_cast<std::size_t>(c) * gates_.count + g] = sum_of<R>(total);
      }
    });
    for (int c = 0; c < chunks_; ++c)
      for (int g = 0; g < gates_.count; ++g) d_angle_[g] += gate_sum_[static_cast<std::size_t>(c) * gates_.count + g];
  }

  // d/d single_i = sum_s W_is s_i, and row i of (W o S) S^T.
  void gradient_of_rows(int b, double* d_single, double* d_pair, Array<Vec<R>>& scratch) {
    const int first = b * W, rows = std::min(W, n_ - first);
    scratch.reserve((kTables << kBits) + (has_pair_ ? samples_ + n_ : 0));
    Vec<R>*const columns = scratch.data() + (kTables << kBits), *const out = columns + samples_;
    for (int r = 0; r < rows; ++r) {
      const R *const w = row(w_, first + r), *const s = row(s_, first + r);
      double total = 0;
      for (int i = 0; i < samples_; ++i) total += static_cast<double>(w[i] * s[i]);
      d_single[first + r] = total;
      if (has_pair_)
        for (int i = 0; i < samples_; ++i) columns[i][r] = w[i] * s[i];
    }
    if (!has_pair_) return;
    for (int r = rows; r < W; ++r)
      for (int i = 0; i < samples_; ++i) columns[i][r] = R(0);
    signed_product<R>(by_qubit_, samples_, [&](int k) { return columns[k]; }, scratch.data(), out);
    for (int r = 0; r < rows; ++r)
      for (int j = 0; j < n_; ++j) d_pair[static_cast<std::size_t>(first + r) * n_ + j] = static_cast<double>(out[j][r]);
  }

  int n_ = 0, samples_ = 0, padded_ = 0, chunks_ = 0, stride_ = 0, threads_ = 1;
  bool has_pair_ = false;
  const std::uint8_t* bits_ = nullptr;
  OwnLists gates_, obs_;
  Array<R> h_, s_, w_, cos_, sin_, pair_;
  Patterns by_sample_, by_qubit_;
  std::vector<Array<Vec<R>>> scratch_;  // one a worker
  std::vector<double> angle_, d_angle_, partial_, pair_sum_, over_sum_, gate_sum_, inner_;
  std::vector<R> pair_value_;
  std::vector<std::size_t> pair_start_, over_start_;
  std::vector<int> over_gate_, over_count_, overlap_, touched_, inner_row_, inner_column_;
  std::vector<std::vector<int>> holders_;
};

}  // namespace qp
