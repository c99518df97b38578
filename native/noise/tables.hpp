// The coefficients of one evaluation: cosines and sines of turns, shears, and the products of channels' lambdas.
#pragma once

#include "../memory.hpp"
#include "plan.hpp"

namespace qp {

// Indexed by signatures.
struct TurnTable { V cosine[2], sine[8], unit[8]; };
struct ShearTable { V up[16], down[16], unit_up[16], unit_down[16]; };  // up: into the vector of the walk, down: into its partner

struct Tables {
  Array<V> turns, shears, diagonals, inverses;
  List<double> products;         // of diagonals, without lanes
  List<std::uint8_t> undone;     // by stage: r goes back through it by its inverse

  const TurnTable& turn(const Op& op) const { return *reinterpret_cast<const TurnTable*>(turns.data() + op.table); }
  const ShearTable& shear(const Op& op) const { return *reinterpret_cast<const ShearTable*>(shears.data() + op.table); }
  const V* diagonal(const Factor& f) const { return diagonals.data() + f.table; }
  const V* inverse(const Factor& f) const { return inverses.data() + f.table; }

  void prepare(const Plan& plan, const double* angles, const double* coefficients) {
    turns.reserve(std::max<std::size_t>(plan.turn_tables, 1));
    shears.reserve(std::max<std::size_t>(plan.shear_tables, 1));
    diagonals.reserve(std::max<std::size_t>(plan.diagonal_tables, 1));
    products.resize(plan.diagonal_tables);
    for (const Run& run : plan.runs)
      for (const Op& op : run.ops) {
        if (op.kind == Kind::kTurn) fill_turn(op, op.sign, angles[op.number]);
        else if (op.kind == Kind::kShear) fill_shear(op, op.sign * coefficients[op.number]);
        else for (const Factor& f : op.factors) fill_factor(f, coefficients);
      }
  }

  // Which stages r goes back through by their inverses.  That amplifies rounding errors by 1 over the least lambda, so only while all of them since r was
  // last exact amplify by no more than kAmplification.
  void prepare_inverses(const Plan& plan) {
    inverses.reserve(std::max<std::size_t>(plan.diagonal_tables, 1));
    undone.assign(plan.n_diagonals, 0);
    double error = 1;
    for (std::size_t k = plan.runs.size(); k-- > 0;)
      for (std::size_t i = plan.runs[k].ops.size(); i-- > 0;) {
        const Op& op = plan.runs[k].ops[i];
        if (op.kind != Kind::kDiagonal) continue;
        double least = 1;
        for (const Factor& f : op.factors) {
          double low = 1;
          for (std::uint32_t p = 0; p < f.patterns(); ++p) low = std::min(low, std::abs(products[f.table + p]));
          least *= low;
        }
        error /= least;
        if (!(error <= kAmplification)) { error = 1; continue; }
        undone[op.stage] = 1;
        for (const Factor& f : op.factors)
          for (std::uint32_t p = 0; p < f.patterns(); ++p) inverses[f.table + p] = 1.0 / diagonals[f.table + p];
      }
  }
  static constexpr double kAmplification = 64;

 private:
  // The sign bit of lane l beside that of its vector.
  static unsigned lane_sign(const Op& op, unsigned sig, unsigned l) {
    unsigned s = parity(op.string >> 1 & kX & l);
    if (op.by_form) s ^= form(l) ^ ((kLanes & 1) && (sig & kVariant) ? l >> (kLanes - 1) & 1 : 0);
    return s;
  }
  void fill_turn(const Op& op, double sign, double angle) {
    TurnTable& t = *reinterpret_cast<TurnTable*>(turns.data() + op.table);
    const double c = std::cos(angle), s = sign * std::sin(angle);
    for (unsigned l = 0; l < W; ++l) {
      const unsigned lane = anticommute(op.string, l);
      for (unsigned a = 0; a < 2; ++a) t.cosine[a][l] = (a ^ lane) ? c : 1.0;
      for (unsigned sig = 0; sig < 8; ++sig) {
        const bool active = (sig & kActive) ^ lane;
        const double unit = !active ? 0.0 : ((sig & kSign) != 0) != (lane_sign(op, sig, l) != 0) ? -1.0 : 1.0;
        t.unit[sig][l] = unit;
        t.sine[sig][l] = unit * s;
      }
    }
  }
  void fill_shear(const Op& op, double c) {
    ShearTable& t = *reinterpret_cast<ShearTable*>(shears.data() + op.table);
    for (unsigned l = 0; l < W; ++l)
      for (unsigned sig = 0; sig < 16; ++sig) {
        const bool there = !((sig & kActive) ^ anticommute(op.string, l)), up = ((sig & kDestination) != 0) != (anticommute(op.other, l) != 0);
        const double unit = !there ? 0.0 : ((sig & kSign) != 0) != (lane_sign(op, sig, l) != 0) ? -1.0 : 1.0;
        t.unit_up[sig][l] = up ? unit : 0.0;
        t.unit_down[sig][l] = up ? 0.0 : unit;
        t.up[sig][l] = up ? unit * c : 0.0;
        t.down[sig][l] = up ? 0.0 : unit * c;
      }
  }

 public:
  // lambda of a member for each pattern of its family.
  static void lambda(const Member& m, const double* coefficients, List<double>& out) {
    const double* p = coefficients + m.coefficient;
    std::fill(out.begin(), out.end(), 1.0);
    if (m.affine) {  // bit 0: anticommutes with the image of X, bit 1: with that of Z
      out[1] = p[1];
      out[2] = out[3] = p[0];
      return;
    }
    if (m.combination.size() <= 16) {
      for (std::size_t s = 0; s < out.size(); ++s)
        for (std::size_t j = 0; j < m.combination.size(); ++j) if (parity(m.combination[j] & s)) out[s] -= 2 * p[j];
      return;
    }
    // 1 - sum p + the Walsh-Hadamard transform of p
    double total = 0;
    std::fill(out.begin(), out.end(), 0.0);
    for (std::size_t j = 0; j < m.combination.size(); ++j) { out[m.combination[j]] += p[j]; total += p[j]; }
    walsh_hadamard(out);
    for (double& v : out) v += 1 - total;
  }
  static void walsh_hadamard(List<double>& v) {
    for (std::size_t step = 1; step < v.size(); step *= 2)
      for (std::size_t i = 0; i < v.size(); i += 2 * step)
        for (std::size_t j = i; j < i + step; ++j) { const double a = v[j], b = v[j + step]; v[j] = a + b; v[j + step] = a - b; }
  }

  // Derivatives by the coefficients of a factor's channels, from those by its products.
  static void pull_back(const Factor& f, const double* coefficients, const List<double>& d_products, double* d_coefficients) {
    const std::size_t n = f.patterns();
    List<List<double>> own, of_families;
    for (const Family& family : f.families) {
      List<double> product(family.patterns(), 1.0), lambdas(family.patterns());
      for (const Member& m : family.members) {
        lambda(m, coefficients, lambdas);
        for (std::size_t s = 0; s < product.size(); ++s) product[s] *= lambdas[s];
      }
      own.push_back(std::move(product));
      of_families.emplace_back(n);
      for (std::size_t s = 0; s < n; ++s) of_families.back()[s] = own.back()[family.map[s]];
    }
    others(of_families, d_products, [&](std::size_t i, const List<double>& d) {
      const Family& family = f.families[i];
      List<double> d_own(family.patterns(), 0.0);
      for (std::size_t s = 0; s < n; ++s) d_own[family.map[s]] += d[s];
      List<List<double>> lambdas(family.members.size(), List<double>(family.patterns()));
      for (std::size_t k = 0; k < lambdas.size(); ++k) lambda(family.members[k], coefficients, lambdas[k]);
      others(lambdas, d_own, [&](std::size_t k, const List<double>& by_lambda) { pull_back(family.members[k], by_lambda, d_coefficients); });
    });
  }

 private:
  // found(i, d times the product of all rows but i): without a division, since a lambda may be zero.
  template <class Found> static void others(const List<List<double>>& rows, const List<double>& d, const Found& found) {
    const std::size_t n = d.size();
    List<List<double>> before(rows.size(), d);
    for (std::size_t i = 1; i < rows.size(); ++i)
      for (std::size_t s = 0; s < n; ++s) before[i][s] = before[i - 1][s] * rows[i - 1][s];
    List<double> after(n, 1.0);
    for (std::size_t i = rows.size(); i-- > 0;) {
      for (std::size_t s = 0; s < n; ++s) before[i][s] *= after[s];
      found(i, before[i]);
      for (std::size_t s = 0; s < n; ++s) after[s] *= rows[i][s];
    }
  }
  static void pull_back(const Member& m, List<double> d, double* d_coefficients) {
    double* to = d_coefficients + m.coefficient;
    if (m.affine) {
      to[0] += d[2] + d[3];
      to[1] += d[1];
    } else if (m.combination.size() <= 16) {
      for (std::size_t j = 0; j < m.combination.size(); ++j)
        for (std::size_t s = 0; s < d.size(); ++s) if (parity(m.combination[j] & s)) to[j] -= 2 * d[s];
    } else {
      const double total = std::accumulate(d.begin(), d.end(), 0.0);
      walsh_hadamard(d);
      for (std::size_t j = 0; j < m.combination.size(); ++j) to[j] += d[m.combination[j]] - total;
    }
  }

  void fill_factor(const Factor& f, const double* coefficients) {
    double* product = products.data() + f.table;
    std::fill(product, product + f.patterns(), 1.0);
    for (const Family& family : f.families) {
      own_.assign(family.patterns(), 1.0);
      lambda_.resize(family.patterns());
      for (const Member& m : family.members) {
        lambda(m, coefficients, lambda_);
        for (std::size_t s = 0; s < own_.size(); ++s) own_[s] *= lambda_[s];
      }
      for (std::uint32_t s = 0; s < f.patterns(); ++s) product[s] *= own_[family.map[s]];
    }
    V* out = diagonals.data() + f.table;
    for (std::uint32_t s = 0; s < f.patterns(); ++s)
      for (int l = 0; l < W; ++l) out[s][l] = product[s ^ f.lane_pattern[l]];
  }
  List<double> own_, lambda_;
};

}  // namespace qp
