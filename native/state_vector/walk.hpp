// The basis states that groups of rotations reach, one group after another, and the pairs each moves: simulate/state_vector/support.py
// says what a group does to a state, support.hpp what becomes of the pairs.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <unordered_map>
#include <utility>
#include <vector>

namespace qp {

enum Kind : std::int32_t { kReal, kImaginary, kDiagonal };  // of steps, as in support.hpp

class Walk {
 public:
  using Mask = std::uint64_t;
  template <class T> using List = std::vector<T>;

  // What is written for the kernels.
  struct Steps {
    List<std::int32_t> driver, kind, pair;
    List<double> f;
    List<std::int64_t> ptr{0};
  };

  List<std::int64_t> states;
  List<std::uint8_t> turned;  // the half of the bipartition
  bool real;                  // whether it makes all that moves real
  std::int64_t room;          // for further pairs

  // `bits`: of the table of positions, 0 for none; `digits`: to which multipliers are told apart.
  Walk(List<std::int64_t> start, bool real_, std::int64_t limit, std::int64_t room_, int bits, int digits)
      : states(std::move(start)), turned(states.size()), real(real_), room(room_), limit_(limit), unit_(std::ldexp(1.0, -digits)),
        table_(bits ? static_cast<std::int32_t*>(std::calloc(std::size_t{1} << bits, sizeof(std::int32_t))) : nullptr, std::free) {
    if (bits && !table_) throw std::bad_alloc();
    for (std::size_t k = 0; k < states.size(); ++k) put(states[k], k);
  }

  // Whether what a group of `size` rotations with one x reaches is still few; its coefficients are signed as i^|x & z| without i^kappa.
  bool step(std::int32_t driver, Mask x, const Mask* z, const double* c, std::size_t size) {
    double norm = 0;
    for (std::size_t k = 0; k < size; ++k) norm += std::abs(c[k]);
    const double unit = unit_ * norm;
    if (unit == 0) return true;  // a driver that kernels flush to zero
    multipliers(z, c, size);
    const std::size_t now = states.size(), first = a_.size();
    const double least = 1e-12 * norm;
    const auto near = [&](double f) { return size > 1 ? std::nearbyint(f / unit) : f; };
    if (!x) {
      const double some = near(f_[0]);
      bool any = false, differ = false;
      for (std::size_t j = 0; j < now; ++j) {
        any = any || std::abs(f_[j]) > least;
        differ = differ || near(f_[j]) != some;
      }
      if (!any || !differ) return room >= 0;
      for (std::size_t j = 0; j < now; ++j)
        if (std::abs(f_[j]) > least) push(j, j, f_[j], near(f_[j]));
      real = false;
    } else {
      const bool imaginary = !parity(x & z[0]);
      bool any = false;
      for (std::size_t j = 0; j < now; ++j) {
        if (!(std::abs(f_[j]) > least)) continue;
        any = true;
        const std::int64_t partner = states[j] ^ static_cast<std::int64_t>(x);
        std::size_t to = find(partner);
        if (to == kNone) {
          to = states.size();
          put(partner, to);
          states.push_back(partner);
          turned.push_back(turned[j] ^ imaginary);
        }
        if (j < to) {
          push(j, to, f_[j], near(f_[j]));
          real = real && (turned[j] ^ turned[to]) == imaginary;
        }
      }
      if (static_cast<std::int64_t>(states.size()) > limit_) return false;
      if (!any) return room >= 0;
    }
    moves_.push_back({driver, x ? (parity(x & z[0]) ? kReal : kImaginary) : kDiagonal, a_.size()});
    room -= static_cast<std::int64_t>(a_.size() - first);
    return room >= 0;
  }

  // All pairs, those of one multiplier after another; kind kReal has f > 0, the order of a pair giving the sign.  rank: of each state.
  Steps steps(const std::int64_t* rank) const {
    Steps out;
    out.pair.reserve(2 * a_.size());
    struct Pair { double near, f; std::int32_t a, b; std::uint32_t place; };
    List<Pair> own;
    std::size_t first = 0;
    for (const Move& move : moves_) {
      own.clear();
      std::int32_t kind = move.kind;
      for (std::size_t k = first; k < move.end; ++k) {
        auto [a, b] = std::pair{a_[k], b_[k]};
        Pair p{near_[k], f_of_move_[k], 0, 0, static_cast<std::uint32_t>(k - first)};
        if (move.kind == kImaginary && real) {
          kind = kReal;
          if (turned[a]) std::swap(a, b);
        }
        if (kind == kReal) {
          if (!(p.f > 0)) std::swap(a, b);
          p.f = std::abs(p.f);
          p.near = std::abs(p.near);
        }
        p.a = static_cast<std::int32_t>(rank[a]);
        p.b = static_cast<std::int32_t>(rank[b]);
        own.push_back(p);
      }
      first = move.end;
      std::sort(own.begin(), own.end(), [](const Pair& p, const Pair& q) { return p.near != q.near ? p.near < q.near : p.a < q.a; });
      for (std::size_t k = 0; k < own.size(); ++k) {
        if (k == 0 || own[k].near != own[k - 1].near) {
          if (k) out.ptr.push_back(static_cast<std::int64_t>(out.pair.size() / 2));
          std::size_t value = k;  // of the pair that was met first
          for (std::size_t i = k; i < own.size() && own[i].near == own[k].near; ++i) if (own[i].place < own[value].place) value = i;
          out.driver.push_back(move.driver);
          out.kind.push_back(kind);
          out.f.push_back(own[value].f);
        }
        out.pair.push_back(own[k].a);
        out.pair.push_back(own[k].b);
      }
      if (!own.empty()) out.ptr.push_back(static_cast<std::int64_t>(out.pair.size() / 2));
    }
    return out;
  }

 private:
  static constexpr std::size_t kNone = ~std::size_t{0};
  struct Move { std::int32_t driver, kind; std::size_t end; };

  static bool parity(Mask m) { return __builtin_parityll(m); }

  std::size_t find(std::int64_t state) const {
    if (table_) return static_cast<std::size_t>(table_.get()[state]) - 1;  // kNone where 0 is
    const auto at = places_.find(state);
    return at == places_.end() ? kNone : at->second;
  }
  void put(std::int64_t state, std::size_t place) {
    if (table_) table_.get()[state] = static_cast<std::int32_t>(place + 1);
    else places_[state] = place;
  }
  void push(std::size_t a, std::size_t b, double f, double near) {
    a_.push_back(static_cast<std::int32_t>(a));
    b_.push_back(static_cast<std::int32_t>(b));
    f_of_move_.push_back(f);
    near_.push_back(near);
  }

  // f = sum_k c_k (-1)^|z_k & j| of every state j: by the parities of a basis of the z masks, of which all of them are sums.
  void multipliers(const Mask* z, const double* c, std::size_t size) {
    f_.resize(states.size());
    List<Mask> basis, reduced, how, of;
    for (std::size_t k = 0; k < size; ++k) {
      Mask rest = z[k], sum = 0;
      for (std::size_t e = 0; e < reduced.size(); ++e)
        if (rest >> (63 - __builtin_clzll(reduced[e])) & 1) { rest ^= reduced[e]; sum ^= how[e]; }
      if (rest) {
        const Mask own = Mask{1} << basis.size();
        reduced.push_back(rest);
        how.push_back(sum ^ own);
        basis.push_back(z[k]);
        sum = own;
      }
      of.push_back(sum);
    }
    const auto at = [&](Mask pattern) {
      double f = 0;
      for (std::size_t k = 0; k < size; ++k) f += parity(pattern & of[k]) ? -c[k] : c[k];
      return f;
    };
    const auto pattern = [&](std::int64_t state) {
      Mask p = 0;
      for (std::size_t e = 0; e < basis.size(); ++e) p |= Mask{parity(basis[e] & static_cast<Mask>(state))} << e;
      return p;
    };
    if (basis.size() < 10 && (std::size_t{1} << basis.size()) < states.size()) {
      double table[1 << 9];
      for (Mask p = 0; p < Mask{1} << basis.size(); ++p) table[p] = at(p);
      for (std::size_t j = 0; j < states.size(); ++j) f_[j] = table[pattern(states[j])];
    } else {
      for (std::size_t j = 0; j < states.size(); ++j) f_[j] = at(pattern(states[j]));
    }
  }

  std::int64_t limit_;
  double unit_;
  std::unique_ptr<std::int32_t, decltype(&std::free)> table_;
  std::unordered_map<std::int64_t, std::size_t> places_;
  List<Move> moves_;
  List<std::int32_t> a_, b_;
  List<double> f_of_move_, near_, f_;  // f_: of the group at hand
};

}  // namespace qp
