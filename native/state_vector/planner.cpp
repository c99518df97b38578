// The planner of coset blocks: simulate/state_vector/blocks.py says what it does and why, plan.hpp what a plan's arrays mean.
// Also the groups of simulate/support.py, which look ahead in the same way, and what they reach (walk.hpp).
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "walk.hpp"

namespace nb = nanobind;

namespace {

using Mask = std::uint64_t;
template <class T> using List = std::vector<T>;

constexpr int kWindow = 192;          // how far ahead a rotation may be looked for
constexpr int kHeld = 4 * kWindow;    // rotations held at once
constexpr int kMaxGroup = 4;          // terms of a group whose angles are independent: its table has 2^terms entries ...
constexpr int kMaxGroupLarge = 6;     // ... which are soon paid for in a large state; kMaxGroup in the kernels
constexpr int kLarge = 11;            // upper address bits of a large state
constexpr int kMaxRank = 5;           // of the z masks of a group or bucket that shares one coefficient table
constexpr int kSignatureBits = 60;    // pattern bits of a pass; 64 in the kernels
constexpr int kMaxBuckets = 32;       // of a group of observable terms, as in the kernels
constexpr int kGroupsBack = 8;        // among which a rotation may join one

bool odd(Mask m) {
  for (int shift = 32; shift >= 4; shift /= 2) m ^= m >> shift;
  return 0x6996u >> (m & 15) & 1;
}
int top(Mask m) { return 63 - std::countl_zero(m); }

// A subspace over GF(2), given by masks; knows what would enlarge it, and what combination of the masks a vector is.
class Span {
 public:
  int size() const { return size_; }
  struct Vector { Mask rest, how; };  // what is outside the space, and a bit for each mask that was added
  Vector resolve(Mask m) const {
    Mask how = 0;
    for (Mask common = m & tops_; common; common = m & tops_) {
      const Vector& row = rows_[top(common)];
      m ^= row.rest;
      how ^= row.how;
    }
    return {m, how};
  }
  bool enlarged_by(Mask m) const { return resolve(m).rest != 0; }
  bool add(Mask m) {
    const Vector v = resolve(m);
    if (!v.rest) return false;
    tops_ |= Mask{1} << top(v.rest);
    rows_[top(v.rest)] = {v.rest, v.how ^ Mask{1} << size_++};
    return true;
  }
  bool turns(Mask z) const {  // whether a sign (-1)^|z & j| is not the same on all of the space
    for (Mask t = tops_; t; t &= t - 1)
      if (odd(rows_[std::countr_zero(t)].rest & z)) return true;
    return false;
  }
  void clear() { tops_ = 0; size_ = 0; }

 private:
  std::array<Vector, 64> rows_;  // by their highest bits, which tops_ tells; the others were never written
  Mask tops_ = 0;
  int size_ = 0;
};

// One bit for each of the last kWindow rotations, by their numbers modulo kWindow.
struct Recent {
  std::array<std::uint64_t, kWindow / 64> words{};
  void set(int i) { words[i % kWindow / 64] |= std::uint64_t{1} << (i % 64); }
  void flip(int i) { words[i % kWindow / 64] ^= std::uint64_t{1} << (i % 64); }
  void operator^=(const Recent& other) {
    for (std::size_t k = 0; k < words.size(); ++k) words[k] ^= other.words[k];
  }
  void operator|=(const Recent& other) {
    for (std::size_t k = 0; k < words.size(); ++k) words[k] |= other.words[k];
  }
  bool meets(const Recent& other) const {
    std::uint64_t common = 0;
    for (std::size_t k = 0; k < words.size(); ++k) common |= words[k] & other.words[k];
    return common != 0;
  }
};

struct Rotations {
  const Mask *x, *z;
  const std::int32_t* driver;
  const Mask* support;  // of a sum of diagonal strings, whose masks are 0: the qubits it acts on; else 0; or null
  int size, lane_bits;
  List<Recent> blocked_by;  // which of those before it each does not commute with

  Rotations(const Mask* x_, const Mask* z_, const std::int32_t* driver_, const Mask* support_, int size_, int lane_bits_)
      : x(x_), z(z_), driver(driver_), support(support_), size(size_), lane_bits(lane_bits_), blocked_by(size_) {
    // For each bit of a mask, which of the last kWindow rotations have it: the parity of |x & z'| for all of them is a sum of these.
    // A table, which flips nothing, is in the way of every flip within its support.
    List<Recent> with_x(64), with_z(64), within(64);
    const auto each = [](Mask m, List<Recent>& of, const auto& f) { for (; m; m &= m - 1) f(of[std::countr_zero(m)]); };
    const auto flip = [&](int i) {
      const auto turn = [i](Recent& r) { r.flip(i); };
      if (is_table(i)) return each(support[i], within, turn);
      each(x[i], with_x, turn);
      each(z[i], with_z, turn);
    };
    for (int i = 0; i < size; ++i) {
      Recent& blocked = blocked_by[i];
      if (is_table(i)) {
        each(support[i], with_x, [&](const Recent& r) { blocked |= r; });
      } else {
        each(x[i], with_z, [&](const Recent& r) { blocked ^= r; });
        each(z[i], with_x, [&](const Recent& r) { blocked ^= r; });
        each(x[i], within, [&](const Recent& r) { blocked |= r; });
      }
      if (i >= kWindow) flip(i - kWindow);
      flip(i);
    }
  }
  Mask up(int i) const { return x[i] >> lane_bits; }
  bool is_table(int i) const { return support && support[i]; }
  bool commute(int i, int j) const {
    if (support && (support[i] | support[j])) return !(x[i] & support[j]) && !(x[j] & support[i]);
    return !odd((x[i] & z[j]) ^ (z[i] & x[j]));
  }
};

// Takes out of `pending` the rotations, `most` of them, that `accept` wants and that may be done now; the others stay, in order.
// A rotation may be done if it commutes with all that are passed over.  Once the first of those is out of the window of what is
// known not to commute, nothing more can be taken.
template <class Accept> List<int> take(const Rotations& rotations, List<int>& pending, const Accept& accept, std::size_t most = kHeld + 1) {
  List<int> taken;
  const int end = pending[0] + kHeld;
  Recent passed;
  std::size_t left = 0, at = 0;
  for (; at < pending.size(); ++at) {
    const int i = pending[at];
    if (i > end || taken.size() == most || (left && (i > pending[0] + kWindow || left > kWindow))) break;
    if (!passed.meets(rotations.blocked_by[i]) && accept(i)) {
      taken.push_back(i);
    } else {
      passed.set(i);
      pending[left++] = i;
    }
  }
  pending.erase(pending.begin() + static_cast<std::ptrdiff_t>(left), pending.begin() + static_cast<std::ptrdiff_t>(at));
  return taken;
}

// Calls run(pending) with up to `held` rotations, those left before and the next ones, until all are taken.
template <class Run> void in_order(int size, int held, const Run& run) {
  List<int> pending;
  for (int read = 0; read < size || !pending.empty();) {
    for (; read < size && static_cast<int>(pending.size()) < held; ++read) pending.push_back(read);
    run(pending);
  }
}

// Whether a rotation that is not diagonal commutes with all before it.
bool any_mixes(const Rotations& rotations, const List<int>& pending) {
  Recent passed;
  for (int i : pending) {
    if (i > pending[0] + kWindow) return false;
    if (rotations.x[i] && !passed.meets(rotations.blocked_by[i])) return true;
    passed.set(i);
  }
  return false;
}

// The part of a plan that says in what pieces the rotations are done.
struct Pieces {
  List<std::int32_t> run_basis_ptr{0}, run_pass_ptr{0}, pass_op_ptr{0}, op_term_ptr{0}, term;
  List<Mask> run_basis;
  List<std::uint32_t> pass_tile;
};

// A basis of `size` whole masks that contains `vectors`, filled up with the lowest unit vectors, those first.
List<Mask> complete(const List<Mask>& vectors, int size, int n_up, int lane_bits) {
  Span span;
  for (Mask v : vectors) span.add(v >> lane_bits);
  List<Mask> basis;
  for (int q = 0; q < n_up && static_cast<int>(vectors.size() + basis.size()) < size; ++q)
    if (span.add(Mask{1} << q)) basis.push_back(Mask{1} << (q + lane_bits));
  basis.insert(basis.end(), vectors.begin(), vectors.end());
  return basis;
}

class Planner {
 public:
  // excitations: rotations of one x and one driver follow each other.  They touch few tiles: relabelling a whole state for them
  // costs more than it saves.
  Planner(const Rotations& rotations, int n_up, int dimension, bool excitations)
      : r_(rotations), n_up_(n_up), dimension_(dimension), excitations_(excitations),
        max_group_(n_up >= kLarge ? kMaxGroupLarge : std::min(kMaxGroup, std::max(2, n_up - 1))) {
    in_order(r_.size, kHeld, [this](List<int>& pending) { add_run(pending); });
  }
  Pieces pieces;

 private:
  void add_run(List<int>& pending) {
    const bool whole = dimension_ == n_up_, relabel = !excitations_ && r_.lane_bits > 0;  // without lanes any directions make tiles
    // Low address bits belong to every run of a large state, so that memory is read in pieces of several lines.
    Span span, full, chosen_up;  // full: of the chosen whole masks, tells a remainder within the lanes
    if (!whole) { span.add(1); span.add(2); }
    List<Mask> chosen;
    List<int> run = take(r_, pending, [&](int i) {
      const Mask up = r_.up(i);
      if (!up) return true;
      // A dependent x costs lane permutations at every visit; in a run of its own it would be a basis vector.
      if (!chosen_up.enlarged_by(up)) return !(relabel && full.enlarged_by(r_.x[i]));
      if (span.enlarged_by(up)) {
        if (span.size() == dimension_) return false;
        span.add(up);
      }
      chosen_up.add(up);
      full.add(r_.x[i]);
      chosen.push_back(r_.x[i]);
      return true;
    });
    const bool units = std::all_of(chosen.begin(), chosen.end(), [](Mask v) { return std::has_single_bit(v); });
    if (whole && (!relabel || units)) chosen.clear();
    const List<Mask> basis = complete(chosen, dimension_, n_up_, r_.lane_bits);
    Span coordinates;
    for (Mask v : basis) coordinates.add(v >> r_.lane_bits);
    pieces.run_basis.insert(pieces.run_basis.end(), basis.begin(), basis.end());
    pieces.run_basis_ptr.push_back(static_cast<std::int32_t>(pieces.run_basis.size()));
    while (!run.empty()) add_pass(run, coordinates);
    pieces.run_pass_ptr.push_back(static_cast<std::int32_t>(pieces.pass_op_ptr.size()) - 1);
  }

  // A pass is two rotations along the two dimensions of a tile, or any number that mix lanes only; diagonal ones wait until nothing
  // else can be done, so that they gather in large groups, and then join that pass.  With excitations it is all rotations of one x
  // mask, whose tiles are then few.
  void add_pass(List<int>& pending, const Span& coordinates) {
    List<Mask> tile;  // upper masks of its dimensions
    int room = kSignatureBits;
    const auto in_room = [&room](bool wanted) { return wanted && room > 0 && room-- > 0; };
    List<int> order;
    bool along = false;
    if (excitations_) {
      Mask x = 0;
      order = take(r_, pending, [&](int i) {
        if (!in_room(r_.x[i] && (!x || r_.x[i] == x))) return false;
        x = r_.x[i];
        return true;
      });
      if (x >> r_.lane_bits) tile.push_back(x >> r_.lane_bits);
    } else {
      order = take(r_, pending, [&](int i) {
        const Mask up = r_.up(i);
        if (!up || std::find(tile.begin(), tile.end(), up) != tile.end()) return false;
        tile.push_back(up);
        return true;
      }, 2);
      along = !order.empty();
      if (!along) order = take(r_, pending, [&](int i) { return in_room(r_.x[i] && !r_.up(i)); });
    }
    if (order.empty() || (along && !pending.empty() && !any_mixes(r_, pending))) {
      const List<int> more = take(r_, pending, [&](int i) { return in_room(!r_.x[i] && !r_.is_table(i)); });
      order.insert(order.end(), more.begin(), more.end());
    }
    if (order.empty()) order = take(r_, pending, [&](int i) { return r_.is_table(i); }, 1);  // a pass of its own
    List<std::uint32_t> local;
    for (Mask up : tile) local.push_back(static_cast<std::uint32_t>(coordinates.resolve(up).how));
    for (int k = dimension_ - 1; k >= 0 && local.size() < 2; --k)  // any others if it mixes fewer
      if (std::find(local.begin(), local.end(), 1u << k) == local.end()) local.push_back(1u << k);
    pieces.pass_tile.insert(pieces.pass_tile.end(), local.begin(), local.end());
    add_groups(order);
    pieces.pass_op_ptr.push_back(static_cast<std::int32_t>(pieces.op_term_ptr.size()) - 1);
  }

  // Merges rotations of a pass that have the same x and commute into groups.
  void add_groups(const List<int>& order) {
    struct Group { List<int> members; Span span; bool one_driver; };
    List<Group> groups;
    for (int i : order) {
      Group* target = nullptr;
      for (int k = static_cast<int>(groups.size()) - 1; k >= std::max(static_cast<int>(groups.size()) - kGroupsBack, 0); --k) {
        Group& g = groups[k];
        const int first = g.members[0];
        if (r_.x[first] == r_.x[i] && r_.commute(first, i)) {
          const bool same = g.one_driver && r_.driver[first] == r_.driver[i];
          const bool fits = same ? g.span.size() < kMaxRank || !g.span.enlarged_by(r_.z[i])
                                 : static_cast<int>(g.members.size()) < max_group_ && !(g.members.size() > 1 && g.one_driver);
          if (fits) { target = &g; break; }
        }
        if (!std::all_of(g.members.begin(), g.members.end(), [&](int j) { return r_.commute(j, i); })) break;
      }
      if (!target) target = &groups.emplace_back(Group{{}, {}, true});
      target->one_driver = target->members.empty() || (target->one_driver && r_.driver[target->members[0]] == r_.driver[i]);
      target->members.push_back(i);
      target->span.add(r_.z[i]);
    }
    for (const Group& g : groups) {
      pieces.term.insert(pieces.term.end(), g.members.begin(), g.members.end());
      pieces.op_term_ptr.push_back(static_cast<std::int32_t>(pieces.term.size()));
    }
  }

  const Rotations& r_;
  int n_up_, dimension_;
  bool excitations_;
  int max_group_;
};

// In what pieces distinct Pauli strings are applied to a state.
struct Strings {
  List<std::int32_t> obs_basis_ptr{0}, obs_group_ptr{0}, group_bucket_ptr{0}, bucket_term_ptr{0}, bucket_term;
  List<Mask> obs_basis;
};

Strings plan_strings(const Mask* x, const Mask* z, int size, int n_up, int lane_bits, int dimension) {
  Strings out;
  // Masks may reach beyond the addresses, alike in all strings: that part is nothing to span.
  const Mask within = n_up + lane_bits < 64 ? (Mask{1} << (n_up + lane_bits)) - 1 : ~Mask{0};
  std::map<Mask, List<std::int32_t>> by_x;
  for (int i = 0; i < size; ++i) by_x[x[i] & within].push_back(i);
  List<Mask> pending;
  for (const auto& [mask, _] : by_x) pending.push_back(mask);
  const bool whole = dimension == n_up;
  const auto add_buckets = [&](const List<std::int32_t>& terms) {  // of z masks that span at most kMaxRank dimensions
    List<std::pair<Mask, std::size_t>> places;
    for (std::size_t k = 0; k < terms.size(); ++k) places.emplace_back(z[terms[k]], k);
    std::sort(places.begin(), places.end());
    List<bool> done(terms.size());
    for (std::size_t next = 0; next < terms.size();) {
      Span span;
      List<Mask> basis;
      List<std::size_t> members;
      for (; next < terms.size() && span.size() < kMaxRank; ++next) {
        if (done[next]) continue;
        if (span.add(z[terms[next]])) basis.push_back(z[terms[next]]);
        members.push_back(next);
      }
      const std::size_t first = members.size();
      Mask inside = 0;  // the later ones that lie in the space: its few masks are looked up
      for (std::uint32_t k = 0; next < terms.size() && k < 1u << basis.size(); ++k) {
        if (k) inside ^= basis[std::countr_zero(k)];
        for (auto at = std::lower_bound(places.begin(), places.end(), std::pair{inside, next}); at != places.end() && at->first == inside; ++at)
          if (!done[at->second]) members.push_back(at->second);
      }
      std::sort(members.begin() + static_cast<std::ptrdiff_t>(first), members.end());
      for (const std::size_t k : members) {
        done[k] = true;
        out.bucket_term.push_back(terms[k]);
      }
      if (!members.empty()) out.bucket_term_ptr.push_back(static_cast<std::int32_t>(out.bucket_term.size()));
    }
  };
  while (!pending.empty()) {
    Span span;
    if (!whole) { span.add(1); span.add(2); }
    List<Mask> vectors, inside, outside;
    for (Mask mask : pending) {
      const bool enlarges = span.enlarged_by(mask >> lane_bits);
      if (enlarges && span.size() == dimension) { outside.push_back(mask); continue; }
      if (enlarges && !whole) { span.add(mask >> lane_bits); vectors.push_back(mask); }
      inside.push_back(mask);
    }
    const List<Mask> basis = complete(vectors, dimension, n_up, lane_bits);
    out.obs_basis.insert(out.obs_basis.end(), basis.begin(), basis.end());
    out.obs_basis_ptr.push_back(static_cast<std::int32_t>(out.obs_basis.size()));
    for (Mask mask : inside) {
      List<std::int32_t>& terms = by_x[mask];
      const auto real = std::stable_partition(terms.begin(), terms.end(), [&](std::int32_t i) { return !odd(x[i] & z[i]); });
      add_buckets({terms.begin(), real});
      add_buckets({real, terms.end()});
      const int last = static_cast<int>(out.bucket_term_ptr.size()) - 1;
      while (out.group_bucket_ptr.back() < last) out.group_bucket_ptr.push_back(std::min(last, out.group_bucket_ptr.back() + kMaxBuckets));
    }
    out.obs_group_ptr.push_back(static_cast<std::int32_t>(out.group_bucket_ptr.size()) - 1);
    pending = std::move(outside);
  }
  return out;
}

using Masks = nb::ndarray<const Mask, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Reals = nb::ndarray<const double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Integers = nb::ndarray<const std::int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Numbers = nb::ndarray<const std::int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

template <class T> nb::object array(List<T>& from) {
  from.reserve(1);  // not null
  auto* kept = new List<T>(std::move(from));
  const nb::capsule owner(kept, [](void* p) noexcept { delete static_cast<List<T>*>(p); });
  return nb::cast(nb::ndarray<nb::numpy, T, nb::ndim<1>>(kept->data(), {kept->size()}, owner));
}

}  // namespace

NB_MODULE(_planner, m) {
  m.attr("MAX_RANK") = kMaxRank;
  m.attr("MAX_GROUP") = kMaxGroup;
  m.attr("MAX_BUCKETS") = kMaxBuckets;
  m.def("rotations", [](const Masks& x, const Masks& z, const Numbers& driver, const Masks& support, int n_up, int lane_bits, int dimension, bool excitations) {
    const Rotations rotations(x.data(), z.data(), driver.data(), support.size() ? support.data() : nullptr, static_cast<int>(x.size()), lane_bits);
    Pieces p = std::move(Planner(rotations, n_up, dimension, excitations).pieces);
    nb::dict d;
    d["run_basis_ptr"] = array(p.run_basis_ptr);
    d["run_basis"] = array(p.run_basis);
    d["run_pass_ptr"] = array(p.run_pass_ptr);
    d["pass_tile"] = array(p.pass_tile);
    d["pass_op_ptr"] = array(p.pass_op_ptr);
    d["op_term_ptr"] = array(p.op_term_ptr);
    d["term"] = array(p.term);
    return d;
  });
  m.def("strings", [](const Masks& x, const Masks& z, int n_up, int lane_bits, int dimension) {
    Strings s = plan_strings(x.data(), z.data(), static_cast<int>(x.size()), n_up, lane_bits, dimension);
    nb::dict d;
    d["obs_basis_ptr"] = array(s.obs_basis_ptr);
    d["obs_basis"] = array(s.obs_basis);
    d["obs_group_ptr"] = array(s.obs_group_ptr);
    d["group_bucket_ptr"] = array(s.group_bucket_ptr);
    d["bucket_term_ptr"] = array(s.bucket_term_ptr);
    d["bucket_term"] = array(s.bucket_term);
    return d;
  });
  // Rotations that share x and driver and commute, brought together past those they commute with: (ptr, members).
  m.def("groups", [](const Masks& x, const Masks& z, const Numbers& driver, int look_ahead) {
    const Rotations r(x.data(), z.data(), driver.data(), nullptr, static_cast<int>(x.size()), 0);
    List<std::int32_t> ptr{0}, members;
    in_order(r.size, look_ahead, [&](List<int>& pending) {
      const int first = pending[0];
      for (int i : take(r, pending, [&](int i) { return r.x[i] == r.x[first] && r.driver[i] == r.driver[first] && r.commute(i, first); }))
        members.push_back(i);
      ptr.push_back(static_cast<std::int32_t>(members.size()));
    });
    return nb::make_tuple(array(ptr), array(members));
  });
  // The dimensions that the x masks span which stand alone with their driver.
  m.def("rank_alone", [](const Masks& x, const Numbers& driver) {
    const std::size_t size = x.size();
    List<std::pair<std::int32_t, Mask>> all(size);
    for (std::size_t i = 0; i < size; ++i) all[i] = {driver.data()[i], x.data()[i]};
    std::sort(all.begin(), all.end());
    Span span;
    for (std::size_t i = 0; i < size; ++i)
      if ((i == 0 || all[i] != all[i - 1]) && (i + 1 == size || all[i] != all[i + 1])) span.add(all[i].second);
    return span.size();
  });
  // Pairs and signs that groups of one rotation move at least, whose states then are a coset of the x masks so far.
  m.def("least_moves", [](const Masks& x, const Masks& z, const Reals& coefficient, double least, const Numbers& ptr, const Numbers& members) {
    Span span;
    std::int64_t moves = 0;
    for (std::size_t g = 0; g + 1 < ptr.size(); ++g) {
      if (ptr.data()[g + 1] - ptr.data()[g] != 1) continue;
      const int i = members.data()[ptr.data()[g]];
      if (std::abs(coefficient.data()[i]) < least) continue;
      if (const Mask m = x.data()[i]) {
        span.add(m);
        moves += std::int64_t{1} << (span.size() - 1);
      } else if (span.turns(z.data()[i])) {
        moves += std::int64_t{1} << span.size();
      }
    }
    return moves;
  });
  using qp::Walk;
  nb::class_<Walk>(m, "Walk")
      .def("__init__", [](Walk* self, const Integers& start, bool real, std::int64_t limit, std::int64_t room, int table_bits, int digits) {
        new (self) Walk({start.data(), start.data() + start.size()}, real, limit, room, table_bits, digits);
      })
      // All groups (ptr, members), one after another; false as soon as what they reach is no longer small.
      .def("groups", [](Walk& self, const Numbers& ptr, const Numbers& members, const Numbers& driver, const Masks& x, const Masks& z, const Reals& coefficient) {
        List<Mask> zs;
        List<double> c;
        for (std::size_t g = 0; g + 1 < ptr.size(); ++g) {
          zs.clear();
          c.clear();
          for (int k = ptr.data()[g]; k < ptr.data()[g + 1]; ++k) {
            zs.push_back(z.data()[members.data()[k]]);
            c.push_back(coefficient.data()[members.data()[k]]);
          }
          const int first = members.data()[ptr.data()[g]];
          if (!self.step(driver.data()[first], x.data()[first], zs.data(), c.data(), zs.size())) return false;
        }
        return true;
      })
      .def("steps", [](const Walk& self, const Integers& rank) {
        Walk::Steps steps = self.steps(rank.data());
        nb::dict d;
        d["step_driver"] = array(steps.driver);
        d["step_kind"] = array(steps.kind);
        d["step_f"] = array(steps.f);
        d["step_ptr"] = array(steps.ptr);
        d["pair"] = array(steps.pair);
        return d;
      })
      .def_prop_ro("states", [](const Walk& self) { List<std::int64_t> copy = self.states; return array(copy); })
      .def_prop_ro("turned", [](const Walk& self) { List<std::uint8_t> copy = self.turned; return array(copy); })
      .def_ro("real", &Walk::real)
      .def_ro("room", &Walk::room);
}
