// The compiled form of a model: what simulate/blocks.py planned, turned into tables of addresses and signatures.
//
// Index conventions.  A basis index j has `lane_bits` low bits (the lanes of a vector) and `n_up` upper bits (which vector);
// in batch plans the lanes are samples and lane_bits = 0.  A run of rotations works on the cosets of a space V spanned by
// `basis` w_0..w_{b-1}: local vector k, lane l of the coset with base vector c is the amplitude j = c + sum_i k_i w_i + l (over GF(2)).
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "../subspace.hpp"
#include "diagonal.hpp"
#include "tile.hpp"

namespace qp {

// Flat arrays, as Python hands them over; every *_ptr has one entry more than the things it delimits.
struct Description {
  int n_up = 0, lane_bits = 0, n_params = 0, n_inputs = 0;
  List<Mask> x, z;                 // rotations: P = i^|x&z| X^x Z^z
  List<std::int32_t> driver;       // angle = coefficient * value of the driver, a polynomial in parameters and inputs
  List<double> coefficient;
  List<std::shared_ptr<const Diagonal>> diagonals;
  List<std::int32_t> table;        // of a rotation that is a sum of strings: its number among `diagonals`, else -1; or empty
  List<Mask> support;              // of such a sum: the qubits its strings act on
  List<std::int32_t> mono_ptr, var_ptr, var;
  List<double> mono;
  List<std::int32_t> run_basis_ptr, run_pass_ptr, pass_op_ptr, op_term_ptr, term;
  List<Mask> run_basis;
  List<std::uint32_t> pass_tile;   // two local vectors a pass
  List<Mask> obs_x, obs_z;         // the distinct Pauli strings of all observables; masks may reach beyond the addresses of the plan,
                                   // x alike in all strings: of a state whose part it is (Tables::origin)
  List<std::int32_t> obs_basis_ptr, obs_group_ptr, group_bucket_ptr, bucket_term_ptr, bucket_term;
  List<Mask> obs_basis;
  List<std::int32_t> obs_ptr, obs_term;  // observables as combinations of these strings
  List<double> obs_coefficient;
  List<std::int32_t> obs_table;    // the last strings of all are tables: their numbers among `diagonals`
  std::size_t first_table() const { return obs_x.size() - obs_table.size(); }
};

struct Term {
  std::int32_t rotation, driver;
  Mask x, z;
  double coefficient;
  int sign;                 // of D: +1 for |x&z| = 0, 1 mod 4, else -1
  std::uint32_t pattern;    // which pattern bits its z mask combines
  bool grouped;
  Mask support;             // of a table: what must not be flipped by what it is exchanged with; else 0
};

struct Op {
  TileOp tile;
  std::uint32_t first_term, n_terms, rank;
  List<Mask> pattern_basis;  // z masks of the pattern bits
  bool grouped;              // by its summed angle; a diagonal rotation counts as a group of one
  bool shared;               // one driver turns all terms: inactive patterns may be skipped
  std::int32_t phases = -1;  // of a table: its number among the plan's uses of tables
};

struct Pass {
  std::uint32_t first_op = 0, n_ops = 0, n_tiles = 0, n_inner = 1, offset[4] = {};
  Split sig;
  List<std::uint32_t> addr_low, addr_high;
  List<Mask> pattern_z;      // full z mask of each signature bit
  PassKind kind = PassKind::kGeneral;
  bool skippable = false, segment_first = false, segment_last = false;
  std::uint32_t segment = 0, accumulator = 0, n_accumulators = 0;
};

// Passes of a run that keep within the cosets of a small space are done on one of these after another: pieces of the block that the
// first-level cache holds.
struct Stretch { std::uint32_t first_pass, n_passes, n_pieces; };

struct Run {
  Subspace space;
  std::uint32_t first_pass, n_passes, accumulators;
  std::uint32_t n_chunks;
  List<Stretch> stretches;
  bool joined = false;  // this run and the one before it are on the whole state: block goes to block, not by way of the state
  Split before;         // then: place in this block -> place in the one before | lanes to swap << 32
};

constexpr int kPairBytes = 2 * QP_VECTOR_BYTES;         // real and imaginary parts
constexpr int kPiece = log2_of((32 << 10) / (2 * kPairBytes));  // dimensions of a piece, whose psi and lambda are in the cache

// A space of local vectors; no vector of its basis has the leading bit of another.
struct LocalSpan {
  List<std::uint32_t> basis;
  static LocalSpan all(int b) {
    LocalSpan span;
    for (int i = 0; i < b; ++i) span.basis.push_back(std::uint32_t{1} << i);
    return span;
  }
  int size() const { return static_cast<int>(basis.size()); }
  static std::uint32_t leading(std::uint32_t v) { return std::bit_floor(v); }
  std::uint32_t rest(std::uint32_t v) const {
    for (const std::uint32_t u : basis) if (v & leading(u)) v ^= u;
    return v;
  }
  bool contains(std::uint32_t v) const { return !rest(v); }
  std::uint32_t coordinates(std::uint32_t v) const {
    std::uint32_t c = 0;
    for (int i = 0; i < size(); ++i) if (v & leading(basis[i])) c |= std::uint32_t{1} << i;
    return c;
  }
  bool add(std::uint32_t v) {
    v = rest(v);
    if (!v) return false;
    for (std::uint32_t& u : basis) if (u & leading(v)) u ^= v;
    basis.push_back(v);
    return true;
  }
  List<std::uint32_t> complement(int b) const {
    std::uint32_t taken = 0;
    for (const std::uint32_t u : basis) taken |= leading(u);
    List<std::uint32_t> others;
    for (int i = 0; i < b; ++i) if (!(taken >> i & 1)) others.push_back(std::uint32_t{1} << i);
    return others;
  }
};

// Where a block holds its local vectors.  Vectors a page apart compete for the same sets of a cache: upper bits turn the place within
// the page, differently for any few neighbours among them.  The map is its own inverse.
inline std::uint32_t placed(std::uint32_t v) {
  constexpr int bits = log2_of(4096 / kPairBytes), second = bits == 5 ? 2 : 1;  // of a register that runs through all states
  std::uint32_t image[32], at = v & ((1u << bits) - 1);
  for (int i = 0; i < 32; ++i) {
    image[i] = i < bits ? 1u << i : image[i - bits] ^ image[i - bits + second];
    if (i >= bits && v >> i & 1) at ^= image[i];
  }
  return (v >> bits << bits) | at;
}

struct Bucket { std::uint32_t first_term, n_terms, table, accumulator; bool imaginary; List<Mask> pattern_basis; List<std::uint8_t> low, high; std::uint8_t element[4]; };
struct ObsGroup { std::uint32_t first_bucket, n_buckets, x; int lanes; };
struct ObsTerm { std::int32_t string; std::uint32_t pattern; int sign; };
struct ObsRun { Subspace space; std::uint32_t first_group, n_groups, n_chunks; };

struct Layout {
  Description d;
  int n_up, lane_bits;
  List<Run> runs;
  List<Pass> passes;
  List<Op> ops;
  List<TileOp> tile_ops;
  List<Term> terms;
  std::uint32_t n_segments = 0, table_size = 0;
  List<ObsRun> obs_runs;
  List<ObsGroup> groups;
  List<Bucket> buckets;
  List<ObsTerm> obs_terms;
  std::uint32_t obs_table_size = 0, obs_accumulators = 0;
  List<std::uint32_t> uses;    // ops that are tables
  std::uint32_t n_read_only = 0;  // so many passes at the start commute altogether: backwards their derivatives are only read
  int order;                   // of the Taylor polynomials: 0, 1 (duals) or 2 (jets)
  bool inputs_turn = false;  // inputs_turn: some angle depends on an input

  Layout(Description description, int order_) : d(std::move(description)), n_up(d.n_up), lane_bits(d.lane_bits), order(order_) {
    for (std::size_t i = 0; i < d.var.size(); ++i) inputs_turn = inputs_turn || d.var[i] >= d.n_params;
    build_runs();
    build_segments();
    find_read_only();
    build_observables();
  }

 private:
  static List<Mask> independent(const List<Mask>& zs, List<std::uint32_t>& combination) {
    List<Mask> basis, reduced;
    List<std::uint32_t> how;
    combination.clear();
    for (Mask z : zs) {
      Mask rest = z;
      std::uint32_t c = 0;
      for (std::size_t e = 0; e < reduced.size(); ++e)
        if (rest >> (63 - std::countl_zero(reduced[e])) & 1) { rest ^= reduced[e]; c ^= how[e]; }
      if (rest) {
        const std::uint32_t own = std::uint32_t{1} << basis.size();
        reduced.push_back(rest);
        how.push_back(c ^ own);
        basis.push_back(z);
        c = own;
      }
      combination.push_back(c);
    }
    return basis;
  }

  void build_runs() {
    const int n_runs = static_cast<int>(d.run_pass_ptr.size()) - 1;
    terms.reserve(d.term.size());
    ops.reserve(d.op_term_ptr.size());
    tile_ops.reserve(d.op_term_ptr.size());
    passes.reserve(d.pass_op_ptr.size());
    for (int r = 0; r < n_runs; ++r) {
      Run run{Subspace(d.run_basis.data() + d.run_basis_ptr[r], d.run_basis_ptr[r + 1] - d.run_basis_ptr[r], n_up, lane_bits),
              static_cast<std::uint32_t>(passes.size()), static_cast<std::uint32_t>(d.run_pass_ptr[r + 1] - d.run_pass_ptr[r]), 0, 0, {}, false, {}};
      run.n_chunks = chunks_of(run.space.n_cosets);
      std::uint32_t accumulators = 0;
      for (int p = d.run_pass_ptr[r]; p < d.run_pass_ptr[r + 1];) {
        LocalSpan piece;
        const int last = stretch(run.space, p, d.run_pass_ptr[r + 1], piece);
        run.stretches.push_back({static_cast<std::uint32_t>(passes.size()), static_cast<std::uint32_t>(last - p), 1u << (run.space.b - piece.size())});
        for (; p < last; ++p) build_pass(run.space, p, piece, accumulators);
      }
      run.accumulators = accumulators;
      if (!run.space.identity) {
        List<Mask> images;
        for (int i = 0; i < run.space.b; ++i) images.push_back(run.space.gather(placed(1u << i)));
        run.space.gather = Split(images);
      }
      if (r && run.space.n_cosets == 1 && !(run.space.identity && runs.back().space.identity)) {
        run.joined = true;
        run.before = join(runs.back().space, run.space);
      }
      runs.push_back(std::move(run));
    }
  }

  static Split join(const Subspace& before, const Subspace& space) {
    std::array<std::array<Mask, 2>, 64> rows{};  // by leading bits: an address, and its place in the block before
    const auto resolve = [&rows](std::array<Mask, 2> v) {
      while (v[0] && rows[std::bit_width(v[0]) - 1][0]) {
        const auto& row = rows[std::bit_width(v[0]) - 1];
        v = {v[0] ^ row[0], v[1] ^ row[1]};
      }
      return v;
    };
    constexpr Mask address = 0xffffffff;
    for (int i = 0; i < before.b; ++i) {
      const auto v = resolve({before.gather(std::size_t{1} << i) & address, Mask{1} << i});
      rows[std::bit_width(v[0]) - 1] = v;
    }
    List<Mask> images;
    for (int i = 0; i < space.b; ++i) {
      const Mask a = space.gather(std::size_t{1} << i), place = resolve({a & address, 0})[1];
      images.push_back(place | ((before.gather(place) ^ a) & ~address));
    }
    return Split(images);
  }

  // The local vectors that a pass moves amplitudes along.
  LocalSpan moves(const Subspace& space, int p) const {
    LocalSpan span;
    for (int o = d.pass_op_ptr[p]; o < d.pass_op_ptr[p + 1]; ++o) span.add(space.locate(d.x[d.term[d.op_term_ptr[o]]]).vector);
    return span;
  }

  // The end of the stretch that pass p begins, and the space of its pieces.
  int stretch(const Subspace& space, int p, int end, LocalSpan& piece) const {
    if (space.b <= kPiece) { piece = LocalSpan::all(space.b); return end; }
    int last = p;
    for (; last < end; ++last) {
      LocalSpan more = piece;
      for (const std::uint32_t v : moves(space, last).basis) more.add(v);
      if (more.size() > kPiece) break;
      piece = std::move(more);
    }
    if (last - p < 2) { piece = LocalSpan::all(space.b); return p + 1; }
    // Filled up first with what spreads a piece over the sets of the cache.
    LocalSpan sets;
    constexpr std::uint32_t page = 4096 / kPairBytes - 1;
    const auto set_of = [&](std::uint32_t v) { return (space.identity ? v : placed(v)) & page; };
    for (const std::uint32_t v : piece.basis) sets.add(set_of(v));
    for (const bool spread : {true, false})
      for (int i = 0; i < space.b && piece.size() < kPiece; ++i) {
        const std::uint32_t v = 1u << i;
        if ((!spread || !sets.contains(set_of(v))) && piece.add(v)) sets.add(set_of(v));
      }
    return last;
  }

  // A table is a pass of its own, whose tiles are single vectors.
  void build_table(Pass& pass, const Subspace& space, int rotation, const LocalSpan& piece, std::uint32_t& accumulators) {
    Op op{};
    op.first_term = static_cast<std::uint32_t>(terms.size());
    op.n_terms = 1;
    op.grouped = true;
    op.tile.accumulator = accumulators;
    op.phases = static_cast<std::int32_t>(uses.size());
    uses.push_back(static_cast<std::uint32_t>(ops.size()));
    terms.push_back({rotation, d.driver[rotation], 0, 0, d.coefficient[rotation], 1, 0, true, d.support[rotation]});
    accumulators += 1 + order;
    pass.n_accumulators = accumulators - pass.accumulator;
    pass.kind = PassKind::kTable;
    pass.n_tiles = std::uint32_t{1} << space.b;
    List<Mask> addr;
    for (const List<std::uint32_t>& some : {piece.basis, piece.complement(space.b)})
      for (const std::uint32_t v : some) addr.push_back(space.identity ? v : placed(v));
    const Split a(addr);
    pass.addr_low.assign(a.low.begin(), a.low.end());
    pass.addr_high.assign(a.high.begin(), a.high.end());
    ops.push_back(op);
    tile_ops.push_back(op.tile);
    passes.push_back(std::move(pass));
  }

  void build_pass(const Subspace& space, int p, const LocalSpan& piece, std::uint32_t& accumulators) {
    Pass pass;
    pass.first_op = static_cast<std::uint32_t>(ops.size());
    pass.n_ops = d.pass_op_ptr[p + 1] - d.pass_op_ptr[p];
    pass.accumulator = accumulators;
    if (const int first = d.term[d.op_term_ptr[d.pass_op_ptr[p]]]; !d.table.empty() && d.table[first] >= 0) return build_table(pass, space, first, piece, accumulators);
    std::uint32_t d0 = d.pass_tile[2 * p], d1 = d.pass_tile[2 * p + 1];
    if (!piece.contains(d0) || !piece.contains(d1)) {  // one of them is not moved along: any other will do
      LocalSpan tile = moves(space, p);
      for (int i = 0; tile.size() < 2; ++i) tile.add(piece.basis[i]);
      d0 = tile.basis[0];
      d1 = tile.basis[1];
    }
    const std::uint32_t offsets[4] = {0, d0, d1, d0 ^ d1};
    const auto place = [&space](std::uint32_t v) { return space.identity ? v : placed(v); };
    for (int e = 0; e < 4; ++e) pass.offset[e] = place(offsets[e]);
    const std::uint32_t c0 = piece.coordinates(d0), c1 = piece.coordinates(d1);
    const int p0 = 31 - std::countl_zero(c0);
    const int p1 = 31 - std::countl_zero(c1 >> p0 & 1 ? c1 ^ c0 : c1);
    List<Mask> addr;
    for (int i = 0; i < piece.size(); ++i) if (i != p0 && i != p1) addr.push_back(piece.basis[i]);
    pass.n_tiles = std::uint32_t{1} << (space.b - 2);
    List<std::uint32_t> local_patterns;  // local z masks of the signature bits
    pass.skippable = true;
    for (int o = d.pass_op_ptr[p]; o < d.pass_op_ptr[p + 1]; ++o) {
      Op op{};
      op.first_term = static_cast<std::uint32_t>(terms.size());
      op.n_terms = d.op_term_ptr[o + 1] - d.op_term_ptr[o];
      const bool group = op.n_terms > 1 || d.x[d.term[d.op_term_ptr[o]]] == 0;
      op.grouped = group;
      List<Mask> zs;
      op.shared = op.n_terms > 1;
      for (int k = d.op_term_ptr[o]; k < d.op_term_ptr[o + 1]; ++k) {
        const int rot = d.term[k];
        const int y = std::popcount(d.x[rot] & d.z[rot]) & 3;
        terms.push_back({rot, d.driver[rot], d.x[rot], d.z[rot], d.coefficient[rot], y < 2 ? 1 : -1, 1, group, 0});
        zs.push_back(d.z[rot]);
        op.shared = op.shared && d.driver[rot] == d.driver[d.term[d.op_term_ptr[o]]];
      }
      List<std::uint32_t> combination;
      if (op.shared) {
        op.pattern_basis = independent(zs, combination);
      } else {  // one pattern bit a term: the table is then a plain product
        op.pattern_basis = std::move(zs);
        for (std::uint32_t k = 0; k < op.n_terms; ++k) combination.push_back(std::uint32_t{1} << k);
      }
      op.rank = static_cast<std::uint32_t>(op.pattern_basis.size());
      for (std::uint32_t k = 0; k < op.n_terms; ++k) terms[op.first_term + k].pattern = combination[k];
      const Term& t = terms[op.first_term];
      const auto local = space.locate(t.x);
      int X = -1;
      for (int e = 0; e < 4; ++e) if (offsets[e] == local.vector) X = e;
      if (X < 0) throw std::logic_error("plan: rotation outside its tile");
      TileOp& tile = op.tile;
      const bool real = std::popcount(t.x & t.z) & 1, permuted = local.lanes != 0;
      tile.shift = static_cast<std::uint8_t>(local_patterns.size());
      tile.permutation = static_cast<std::uint8_t>(local.lanes);
      tile.pattern_mask = (Mask{1} << op.rank) - 1;
      tile.active = ~Mask{0};
      std::fill(tile.element, tile.element + 4, 0);
      for (std::uint32_t i = 0; i < op.rank; ++i) {
        const std::uint32_t lz = space.local_z(op.pattern_basis[i]);
        local_patterns.push_back(lz);
        pass.pattern_z.push_back(op.pattern_basis[i]);
        for (int e = 0; e < 4; ++e) tile.element[e] |= static_cast<std::uint8_t>(parity(lz & offsets[e]) << i);
      }
      const int patterns = 1 << op.rank;
      if (group) {
        tile.code = static_cast<std::uint8_t>(64 + (X | real << 2 | permuted << 3));
        tile.stride = static_cast<std::uint8_t>(2 + order);
      } else {
        const std::uint32_t lz = space.local_z(t.z);
        const int K = parity(lz & d0) | parity(lz & d1) << 1;
        tile.code = static_cast<std::uint8_t>(X | K << 2 | real << 4 | permuted << 5);
        tile.stride = static_cast<std::uint8_t>(1 + order);
      }
      tile.table = table_size;
      tile.accumulator = accumulators;
      table_size += patterns * tile.stride;
      accumulators += patterns * (1 + order);
      pass.skippable = pass.skippable && op.shared;
      tile_ops.push_back(tile);
      ops.push_back(std::move(op));
    }
    if (local_patterns.size() > 64) throw std::logic_error("plan: signature too long");
    pass.n_accumulators = accumulators - pass.accumulator;
    pass.kind = kind_of(pass);
    const bool vectors = pass.kind == PassKind::kFewLanes;  // one by one rather than in tiles
    if (vectors) {
      addr.push_back(piece.basis[p0]);
      addr.push_back(piece.basis[p1]);
      pass.n_tiles *= 4;
    }
    if (vectors || (pass.kind == PassKind::kPair && pass.n_ops <= 2)) {
      // Directions that keep both signs first: tiles of one signature then follow each other.
      List<Mask> last;
      for (const std::uint32_t f : local_patterns) {
        const auto turns = [f](Mask v) { return parity(v & f) != 0; };
        const auto pivot = std::find_if(addr.begin(), addr.end(), turns);
        if (pivot == addr.end()) continue;
        const Mask v = *pivot;
        addr.erase(pivot);
        for (Mask& w : addr) if (turns(w)) w ^= v;
        for (Mask& w : last) if (turns(w)) w ^= v;
        last.push_back(v);
      }
      pass.n_inner = std::uint32_t{1} << addr.size();
      addr.insert(addr.end(), last.begin(), last.end());
    }
    for (const std::uint32_t v : piece.complement(space.b)) addr.push_back(v);  // from piece to piece
    List<Mask> sig;
    for (Mask& v : addr) {
      Mask s = 0;
      for (std::size_t i = 0; i < local_patterns.size(); ++i) s |= Mask{parity(local_patterns[i] & v)} << i;
      sig.push_back(s);
      v = place(static_cast<std::uint32_t>(v));
    }
    pass.sig = Split(sig);
    const Split a(addr);
    pass.addr_low.assign(a.low.begin(), a.low.end());
    pass.addr_high.assign(a.high.begin(), a.high.end());
    passes.push_back(std::move(pass));
  }

  PassKind kind_of(const Pass& pass) const {
    bool diagonal = true, lanes = true, pair = true, one_type = true;
    for (std::uint32_t k = 0; k < pass.n_ops; ++k) {
      const std::uint8_t code = ops[pass.first_op + k].tile.code;
      one_type = one_type && ((code ^ ops[pass.first_op].tile.code) & 16) == 0;
      diagonal = diagonal && code == 64;
      lanes = lanes && code < 64 && (code & 3) == 0 && (code >> 5 & 1);
      pair = pair && ((k < 2 && code < 32 && (code & 3) == k + 1) || (k > 0 && code == 64));
    }
    if (diagonal) return PassKind::kDiagonal;
    if (lanes) return one_type && pass.n_ops <= kFewLaneOps && order == 0 ? PassKind::kFewLanes : PassKind::kLane;
    if (pair) return PassKind::kPair;
    return pass.n_ops == 1 && ops[pass.first_op].grouped ? PassKind::kGroup : PassKind::kGeneral;
  }

  // A segment is what may grow by 1/cos each before it must be scaled back: within a run, at most 48 single rotations.
  void build_segments() {
    for (const Run& run : runs) {
      int singles = 0;
      bool open = false;
      for (std::uint32_t p = run.first_pass; p < run.first_pass + run.n_passes; ++p) {
        Pass& pass = passes[p];
        if (!open) { pass.segment_first = true; open = true; singles = 0; ++n_segments; }
        pass.segment = n_segments - 1;
        for (std::uint32_t o = pass.first_op; o < pass.first_op + pass.n_ops; ++o) singles += !ops[o].grouped;
        if (singles > 48 || p + 1 == run.first_pass + run.n_passes) { pass.segment_last = true; open = false; }
      }
    }
  }

  void find_read_only() {
    constexpr std::size_t most = 512;
    List<const Term*> before;
    for (const Pass& pass : passes) {
      for (std::uint32_t o = pass.first_op; o < pass.first_op + pass.n_ops; ++o)
        for (std::uint32_t k = ops[o].first_term; k < ops[o].first_term + ops[o].n_terms; ++k) {
          const Term& t = terms[k];
          for (const Term* b : before)
            if (parity(t.x & b->z) ^ parity(t.z & b->x) || (t.x & b->support) | (t.support & b->x)) return;
          before.push_back(&t);
        }
      if (before.size() > most) return;
      ++n_read_only;
    }
  }

  void build_observables() {
    const int n_runs = static_cast<int>(d.obs_group_ptr.size()) - 1;
    for (int r = 0; r < n_runs; ++r) {
      ObsRun run{Subspace(d.obs_basis.data() + d.obs_basis_ptr[r], d.obs_basis_ptr[r + 1] - d.obs_basis_ptr[r], n_up, lane_bits),
                 static_cast<std::uint32_t>(groups.size()), static_cast<std::uint32_t>(d.obs_group_ptr[r + 1] - d.obs_group_ptr[r]), 0};
      run.n_chunks = chunks_of(run.space.n_cosets);
      for (int g = d.obs_group_ptr[r]; g < d.obs_group_ptr[r + 1]; ++g) {
        ObsGroup group{static_cast<std::uint32_t>(buckets.size()), static_cast<std::uint32_t>(d.group_bucket_ptr[g + 1] - d.group_bucket_ptr[g]), 0, 0};
        for (int k = d.group_bucket_ptr[g]; k < d.group_bucket_ptr[g + 1]; ++k) {
          Bucket bucket{};
          bucket.first_term = static_cast<std::uint32_t>(obs_terms.size());
          bucket.n_terms = d.bucket_term_ptr[k + 1] - d.bucket_term_ptr[k];
          List<Mask> zs;
          for (int t = d.bucket_term_ptr[k]; t < d.bucket_term_ptr[k + 1]; ++t) zs.push_back(d.obs_z[d.bucket_term[t]]);
          List<std::uint32_t> combination;
          bucket.pattern_basis = independent(zs, combination);
          const Mask x = d.obs_x[d.bucket_term[d.bucket_term_ptr[k]]];
          const auto local = run.space.locate(x & ((Mask{1} << (n_up + lane_bits)) - 1));
          group.x = local.vector;
          group.lanes = local.lanes;
          for (std::uint32_t t = 0; t < bucket.n_terms; ++t) {
            const int y = std::popcount(x & zs[t]) & 3;
            bucket.imaginary = y & 1;
            obs_terms.push_back({d.bucket_term[d.bucket_term_ptr[k] + static_cast<int>(t)], combination[t], y == 0 || y == 3 ? 1 : -1});
          }
          const int rank = static_cast<int>(bucket.pattern_basis.size());
          List<Mask> images;
          for (int i = 2; i < run.space.b; ++i) {
            Mask image = 0;
            for (int a = 0; a < rank; ++a) image |= Mask{parity(bucket.pattern_basis[a] & run.space.basis[i])} << a;
            images.push_back(image);
          }
          const Split split(images);
          bucket.low.assign(split.low.begin(), split.low.end());
          bucket.high.assign(split.high.begin(), split.high.end());
          for (int e = 0; e < 4; ++e) {
            const Mask w = (e & 1 ? run.space.basis[0] : 0) ^ (e & 2 ? run.space.basis[1] : 0);
            bucket.element[e] = 0;
            for (int a = 0; a < rank; ++a) bucket.element[e] |= static_cast<std::uint8_t>(parity(bucket.pattern_basis[a] & w) << a);
          }
          bucket.table = obs_table_size;
          bucket.accumulator = obs_accumulators;
          obs_table_size += 1u << rank;
          obs_accumulators += 1u << rank;
          buckets.push_back(std::move(bucket));
        }
        groups.push_back(group);
      }
      obs_runs.push_back(std::move(run));
    }
  }
};

}  // namespace qp
