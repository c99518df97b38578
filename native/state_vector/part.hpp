// A part of a circuit on the part of a state that one of many processes holds, in place; and amplitudes on their way from one
// process to another.
//
// A state's upper address bits (`origin`) are the process's: the x masks of the plan do not reach them, z masks do.  Everything
// but their signs is the same for all processes: angles, tables, the Pauli frame.
#pragma once

#include "evaluate.hpp"

namespace qp {

template <class R> class Part {
 public:
  static constexpr int W = kWidth<R>;
  explicit Part(Description d) : plan_(std::move(d), 0) {
    if (!plan_.lane_bits) throw std::logic_error("part: lanes must be addresses");
  }
  std::size_t size() const { return std::size_t{2} << plan_.n_up; }  // vectors

  // Returns the frame after the rotations, given the one before.
  Frame forward(const double* theta, const double* x, Frame before, Vec<R>* psi, Mask origin, int threads, const std::function<void()>& check) {
    Frame after;
    work(psi, nullptr, threads, check, [&](Space<R>& space, const Crew& crew) {
      space.tables.prepare(plan_, inputs(theta, x), 1, true, before);
      space.tables.origin = origin;
      sweep<R, kForward>(plan_, space.tables, space, crew);
      after = {space.tables.angles.frame_x_mask, space.tables.angles.frame_z_mask};
    });
    return after;
  }

  // Takes psi and lambda back to before the rotations (unless they are the `first`, of which nobody reads them), and adds the
  // derivatives.
  void backward(const double* theta, const double* x, Frame before, bool first, Vec<R>* psi, Vec<R>* lambda, Mask origin, int threads,
                double* d_theta, double* d_x, const std::function<void()>& check) {
    work(psi, lambda, threads, check, [&](Space<R>& space, const Crew& crew) {
      space.tables.prepare(plan_, inputs(theta, x), 1, !first, before);
      space.tables.origin = origin;
      sweep<R, kBackward>(plan_, space.tables, space, crew);
      for (std::size_t k = 0; k + 1 < plan_.d.mono_ptr.size(); ++k) chain_rule(plan_.d, k, space.d_driver[0][k], theta, x, d_theta, d_x);
    });
  }

  // lambda = O psi, or added to it (`more`), O = sum of weights times strings, after a frame; the part's own <psi|O|psi>, unless
  // `more`.
  double apply(const double* weights, Frame frame, const Vec<R>* psi, Vec<R>* lambda, bool more, Mask origin, int threads, const std::function<void()>& check) {
    double total = 0;
    work(nullptr, nullptr, threads, check, [&](Space<R>& space, const Crew& crew) {
      double value[W];
      build_obs_tables<R>(plan_, framed(space, frame, origin), weights, 1, space.obs_tables);
      apply_observable<R>(plan_, space, psi, lambda, crew, value, more);
      for (int l = 0; l < W; ++l) total += value[l];
    });
    return total;
  }

  // The part's own Re <bra|P|psi> of every string.
  void expectations(Frame frame, const Vec<R>* bra, const Vec<R>* psi, Mask origin, int threads, double* strings, const std::function<void()>& check) {
    work(nullptr, nullptr, threads, check, [&](Space<R>& space, const Crew& crew) {
      const Angles& angles = framed(space, frame, origin);
      List<double> lanes;
      qp::expectations<R>(plan_, space, bra, psi, crew, lanes);
      for (std::size_t t = 0; t < plan_.d.obs_x.size(); ++t) {
        double e = 0;
        for (int l = 0; l < W; ++l) e += lanes[t * W + l];
        strings[t] = e * frame_sign(angles, plan_.d.obs_x[t], plan_.d.obs_z[t], 0);
      }
    });
  }

 private:
  static Inputs inputs(const double* theta, const double* x) {
    Inputs in{};
    in.theta[0] = theta;
    in.x[0] = x;
    return in;
  }
  static const Angles& framed(Space<R>& space, Frame frame, Mask origin) {
    Angles& angles = space.tables.angles;
    angles.columns = 1;
    angles.frame_x_mask = frame.x;
    angles.frame_z_mask = frame.z;
    space.tables.origin = origin;
    return angles;
  }
  template <class Job> void work(Vec<R>* psi, Vec<R>* lambda, int threads, const std::function<void()>& check, const Job& job) {
    FlushSubnormals flush;
    spread_groups(threads, 1, false, [&](std::uint32_t, int, Pool* inner) {
      std::unique_ptr<Space<R>> space = spaces_.take();
      space->scratch.resize(std::max<std::size_t>(space->scratch.size(), inner ? inner->size() : 1));
      if (psi) space->state[0] = Array<Vec<R>>::of(psi, size());
      if (lambda) space->state[1] = Array<Vec<R>>::of(lambda, size());
      job(*space, Crew(inner, check));
      space->state[0].release();
      space->state[1].release();
      spaces_.give(std::move(space));
    });
  }

  Layout plan_;
  Store<Space<R>> spaces_;
};

// Amplitude k of a message is amplitude `constant` + sum_i k_i columns[i] (over GF(2)) of a state, both in the layout of a plan.
struct Selection {
  Split map;                 // of the message's vectors
  Mask constant, lane[16];   // address of each lane beside its vector's
  bool whole = true;         // vectors stay vectors

  Selection(const Mask* columns, int n, Mask constant_, int lane_bits) : constant(constant_) {
    const Mask lanes = (Mask{1} << lane_bits) - 1;
    map = Split(List<Mask>(columns + lane_bits, columns + n));
    for (int i = lane_bits; i < n; ++i) whole = whole && !(columns[i] & lanes);
    for (Mask l = 0; l <= lanes; ++l) {
      lane[l] = 0;
      for (int i = 0; i < lane_bits; ++i) if (l >> i & 1) lane[l] ^= columns[i];
      whole = whole && lane[l] == l;
    }
    whole = whole && !(constant & lanes);
  }
};

// Vectors first ... first + count of a message, from the state, or (TO_STATE) into it.
template <class R, bool TO_STATE, class State, class Message>
void move_amplitudes(const Selection& s, int lane_bits, State* state, std::size_t first, std::size_t count, Message* message, int threads) {
  constexpr std::size_t W = kWidth<R>, kPiece = 512;
  const std::uint32_t pieces = static_cast<std::uint32_t>((count + kPiece - 1) / kPiece);
  spread_groups(threads, 1, false, [&](std::uint32_t, int, Pool* inner) {
    Crew(inner, {}).each(pieces, [&](std::uint32_t piece, int) {
      for (std::size_t k = piece * kPiece; k < std::min(count, (piece + 1) * kPiece); ++k) {
        const Mask at = s.map(first + k) ^ s.constant;
        if (s.whole) {
          State* from = state + 2 * W * (at >> lane_bits);
          Message* to = message + 2 * W * k;
          if constexpr (TO_STATE) std::memcpy(from, to, 2 * W * sizeof(R));
          else std::memcpy(to, from, 2 * W * sizeof(R));
          continue;
        }
        for (std::size_t l = 0; l < W; ++l) {
          const Mask j = at ^ s.lane[l];
          State* from = state + 2 * W * (j >> lane_bits) + (j & (W - 1));
          Message* to = message + 2 * W * k + l;
          if constexpr (TO_STATE) { from[0] = to[0]; from[W] = to[W]; }
          else { to[0] = from[0]; to[W] = from[W]; }
        }
      }
    });
  });
}

}  // namespace qp
