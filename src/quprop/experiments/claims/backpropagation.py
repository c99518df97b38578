"""Claims of Abbas et al., arXiv:2305.13362, its talk, and of Bowles et al., arXiv:2306.14962."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from quprop.experiments import gradient_sweep
from quprop.experiments.claims.claim import Claim, Verdict, counted, graded, interval, span, unsure
from quprop.planning.measured.figure2 import SHIFT, TWO, WORST
from quprop.sampling.estimate import shown

ABBAS = "Abbas et al., arXiv:2305.13362, "


def _definition_1(result: dict[str, Any]) -> Verdict:
    rows = result["circuits"]
    measured = (
        f"simulated circuits, M = {rows[0]['M']} to {rows[-1]['M']:,}: omega {span(rows, 'time')} in time, "
        f"{span(rows, 'memory')} in memory"
    )
    return graded(
        measured,
        all(r["time"] <= 4 and r["memory"] <= 4 for r in rows),
        all(r["memory"] <= 4 for r in rows),
        "times of single runs on a busy machine vary by a factor of two; memory does not",
    )


def _talk(result: dict[str, Any]) -> Verdict:
    rows = result["networks"]
    measured = (
        f"multilayer perceptrons, {rows[0]['M']:,} to {max(r['M'] for r in rows):,} weights: omega "
        f"{span(rows, 'operations')} in multiply-adds, {span(rows, 'time')} in time, {span(rows, 'memory')} in memory"
    )
    return graded(
        measured,
        all(2 <= r["operations"] <= 4 for r in rows) and all(r["time"] <= 4 for r in rows),
        all(2 <= r["operations"] <= 4 for r in rows),
        "counted operations are in [2, 4]; seconds of the smallest networks are overheads",
    )


def _talk_question(result: dict[str, Any]) -> Verdict:
    rows, slope = result["rows"], result["fit"]["slope"]
    measured = (
        f"IQP circuits, {rows[0]['M']:,} to {rows[-1]['M']:,} parameters on {rows[0]['n']} to {rows[-1]['n']:,} "
        f"qubits: omega {span(rows, 'time')} in time, ~ M^{interval(result['fit'])}; gradients within "
        f"{max(r['largest_error'] for r in rows):.0e} of differences"
    )
    right = all(r["largest_error"] < 1e-4 for r in rows)
    return graded(
        measured,
        right and all(r["time"] <= 4 for r in rows) and abs(slope) < 0.1,
        right and all(r["time"] <= 8 for r in rows),
        "the ratio leaves [1, 4], or grows with M",
        right and all(r["time"] <= 4 for r in rows) and unsure(result["fit"], 0),
    )


def _proposition_3(result: dict[str, Any]) -> Verdict:
    s = result["slopes"]
    measured = f"copies grow as 2^({s['mub']:.2f} n) n one by one, as n^{s['bell']:.2f} in pairs (n <= 10)"
    return graded(
        measured,
        abs(s["mub"] - 1) < 0.2 and abs(s["bell"] - 1) < 0.6,
        s["mub"] > 0.5 and s["bell"] < 3,
        "at these few qubits the exponents are not yet those of large n",
    )


def _remark_4(result: dict[str, Any]) -> Verdict:
    fit = result["slopes"]["parameter_shift"]["reduced"]
    slopes = [fit["slope"], *([result["counted"]["reduced"]["value"]] if "counted" in result else [])]
    return graded(
        f"parameter shift: gates ~ M^{interval(fit)} with the logarithm of its guarantee divided out, by formula; "
        f"{counted(result)}",
        all(abs(s - 2) < 0.1 for s in slopes),
        all(abs(s - 2) < 0.5 for s in slopes),
        "the exponent is off 2",
        unsure(fit, 2) and all(abs(s - 2) < 0.1 for s in slopes[1:]),
    )


def _proposition_5(result: dict[str, Any]) -> Verdict:
    rows = result["rows"]
    measured = (
        f"one layer executed per layer of a value; omega at equal accuracy {rows[0]['omega']:.2f} (M = {rows[0]['M']}) "
        f"to {rows[-1]['omega']:.2f} (M = {rows[-1]['M']:,}), guaranteed {rows[-1]['hoeffding']:.2f}; within "
        f"{max(r['largest_z'] for r in rows):.1f} standard errors of exact gradients"
    )
    flat = all(r["layers_per_trajectory"] == 1 and r["omega"] <= 2 * r["hoeffding"] for r in rows)
    return graded(measured, flat and all(r["largest_z"] < 6 for r in rows), flat, "an estimate is off its error bars")


def _definition_6(result: dict[str, Any]) -> Verdict:
    last, slope = result["rows"][-1], result["fit"]["slope"]
    measured = (
        f"the worst outcome moves {last['k']:,} copies by {last['alpha']:.3f}; k ~ alpha^{slope:.2f}; a pass of the "
        f"one-bit check moves them by {last['pass_distance']:.0e}"
    )
    return graded(measured, abs(slope + 2) < 0.25, slope < -1, "the power is off -2", unsure(result["fit"], -2))


def _proposition_7(result: dict[str, Any]) -> Verdict:
    rows, (slope, base) = result["rows"], result["line"]
    m, copies = np.array([(r["M"], r["bell_sampling"]) for r in rows], float).T
    off = float(np.abs(copies / (base + slope * np.log(m)) - 1).max())
    worst = max(r["error"] for r in rows)
    measured = (
        f"copies = {base:,.0f} + {slope:,.0f} ln M, to {100 * off:.1g} %, for M = {rows[0]['M']} to {rows[-1]['M']}, "
        f"by formula, and the runs spend them; largest error measured {worst:.2f} of {result['eps']:g} promised"
    )
    if "counted" in result:
        measured += f"; {counted(result)} with the logarithm of M divided out"
    logarithmic = slope > 0 and base > 0 and off < 0.05
    return graded(
        measured,
        logarithmic and worst <= result["eps"],
        logarithmic and worst <= 2 * result["eps"],
        "an error exceeds what is promised" if logarithmic else "copies are not linear in the logarithm of M",
    )


def _damage(rows: list[dict[str, Any]]) -> tuple[float, str]:
    most = max(r["damage"] for r in rows)
    return most, f"in the worst batch {shown(most)}"


def _theorem_9(result: dict[str, Any], what: str) -> Verdict:
    fit = result["slopes"][gradient_sweep.OURS]["reduced"]
    mine, each = (
        [r for r in result["rows"] if r["method"] == k] for k in (gradient_sweep.OURS, gradient_sweep.THEOREM)
    )
    expected = gradient_sweep.by_design([r["M"] for r in mine if r["M"] >= gradient_sweep.SETTLED], what)
    within = min(r["within"] for r in mine)
    damage, words = _damage(mine)
    more = sum(r[what] for r in each) / sum(r[what] for r in mine)
    missed = any(r["triggers"] > r["bound"] for r in mine)
    measured = (
        f"{what} ~ M^{interval(fit)} ln(8M)^1.5 where the design has M^{expected:.3f} at these sizes; "
        f"{min(r['triggers'] for r in mine)} to {max(r['triggers'] for r in mine)} triggers where "
        f"{min(r['bound'] for r in mine):.0f} mistakes are possible; {100 * within:.1f} % of components or more within "
        f"the error; {words}; with a batch for each trigger, as in the theorem, {more:.2g} times the {what}"
    )
    off = abs(fit["slope"] - expected)
    whys = [
        f"the exponent is {off:.2f} off the design's" if off > 0.1 else "",
        "components are beyond the error" if within < 0.99 else "",
        "there were more triggers than mistakes are possible" if missed else "",
        "the guarantee of the copies' error is void at this damage" if damage > 1 else "",
    ]
    why = "; ".join(filter(None, whys))
    open_ = why == whys[0] and unsure(fit, expected)
    return graded(measured, not why, off <= 0.25 and within >= 0.9 and not missed, why, open_)


def _theorem_9_copies(result: dict[str, Any]) -> Verdict:
    return _theorem_9(result, "copies")


def _theorem_9_gates(result: dict[str, Any]) -> Verdict:
    found = _theorem_9(result, "gates")
    m = max(r["M"] for r in result["rows"])
    gates = {name: _mean(r["gates"] for r in result["rows"] if (r["method"], r["M"]) == (name, m)) for name in _RIVALS}
    best = min(gates, key=lambda name: gates[name])
    ours = _mean(r["gates"] for r in result["rows"] if (r["method"], r["M"]) == (gradient_sweep.OURS, m))
    rival = f"{gradient_sweep.NAMES[best]} take {gates[best] / ours:.2g} times as many at M = {m:,}"
    return found._replace(measured=f"{found.measured}; {rival}; classical work is 4^n")


_RIVALS = ("parameter_shift", "clifford_shadows")  # with single copies


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _figure_1(result: dict[str, Any]) -> Verdict:
    rows = result["rows"]
    most = max(r["updates"] / r["bound"] for r in rows)
    kept = sum(r["error"] <= r["eps"] for r in rows)
    damage, words = _damage(rows)
    measured = (
        f"{min(r['triggers'] for r in rows)} to {max(r['triggers'] for r in rows)} batches spent, at most {most:.2f} "
        f"of the bound 8 n ln 2/eps^2; {kept} of {len(rows)} runs within eps; {words}"
    )
    tried = all(r["triggers"] > 0 for r in rows)
    whys = [
        f"{len(rows) - kept} estimates are off by more than eps" if kept < len(rows) else "",
        "the bound on mistakes is exceeded" if most > 1 else "",
        "some states caused no mistake, which tests nothing" if not tried else "",
        "the guarantee of the copies' error is void at this damage" if damage > 1 else "",
    ]
    why = "; ".join(filter(None, whys))
    return graded(measured, not why, most <= 1 and kept >= 0.9 * len(rows), why)


def _theorem_12(result: dict[str, Any]) -> Verdict:
    rows = result["rows"]
    exact = max(r["exact_difference"] for r in rows)
    kept = all(r["sampled_error"] <= result["eps"] / 2 and r["gradient_error"] <= 0.5 for r in rows)
    measured = (
        f"probabilities from an exact gradient to {exact:.0e}, from one of error {result['eps']:g} to "
        f"{max(r['sampled_error'] for r in rows):.3f}; gradients by shadow tomography to "
        f"{max(r['gradient_error'] for r in rows):.3f}"
    )
    found = graded(measured, exact < 1e-10 and kept, exact < 1e-10, "a sampled error is larger than promised")
    return found._replace(why=found.why or "the reduction is run; that no cheap algorithm exists stays a conjecture")


def _theorem_13(result: dict[str, Any]) -> Verdict:
    measured = f"copies to tell a marked item of N ~ N^{result['slope']:.3f} ± {2 * result['stderr']:.3f}"
    found = graded(
        measured,
        result["slope"] >= 0.5,
        False,
        "fewer copies than Grover's bound: the experiment is wrong",
        result["slope"] + 2 * result["stderr"] >= 0.5,
    )
    return found._replace(why=found.why or "the tests at hand, not all tests: the theorem excludes every one")


def _fully_gentle(result: dict[str, Any]) -> Verdict:
    fit, root = (result["slopes"][name]["reduced"] for name in ("fully_gentle", "gentle_sweep"))
    return graded(
        f"by formula gates of a fully gentle sweep ~ M^{interval(fit)}, of the square-root one M^{interval(root)}",
        fit["slope"] >= 1.9 and abs(root["slope"] - 1.5) < 0.1,
        fit["slope"] >= 1.5,
        "the sweep grows more slowly than the theorem lets it"
        if fit["slope"] < 1.9
        else "the square-root one is off M^1.5",
        (fit["slope"] >= 1.9 or unsure(fit, 2)) and (abs(root["slope"] - 1.5) < 0.1 or unsure(root, 1.5)),
    )


def _figure_2(result: dict[str, Any]) -> Verdict:
    day, year = result["parameters"]["1 day"], result["parameters"]["1 year"]
    shift, swept = day["M²"], day["M ln² M"]
    plain, worst, two = (year[f"{law}, with constants"] for law in (SHIFT, WORST, TWO))
    cases = "; ".join(
        f"n = {c['qubits']}, error {c['error']:g}: M = {c['break_even']:.3g} and {c['break_even_of_two_batches']:.3g}"
        for c in result["cases"]
    )
    published = abs(math.log10(shift / 1e4)) < 0.1 and swept > 10 * shift
    measured = (
        f"by formula: {shift:,.0f} parameters a day as M^2, {swept:.2g} as M ln^2 M; with constants in a year "
        f"{plain:,.0f} by parameter shift, {worst:,.0f} in the theorem's worst case of 1/eps^4, {two:,.0f} with two "
        f"batches that are read where they trigger; cheaper, in this order, from {cases}"
    )
    why = "the figure leaves out constants, and the curve's exact logarithm is not published"
    found = graded(measured, published and two > plain, published, why)
    return found._replace(why=found.why or "not in the theorem's worst case, and parameter shift is the only rival")


def _bowles(result: dict[str, Any]) -> Verdict:
    found = result["models"]
    measured = (
        f"{result['ratio']:.0f} times the shots a step without commuting generators; accuracy "
        f"{found['commuting']['accuracy']:.3f} with, {found['non_commuting']['accuracy']:.3f} without "
        f"({len(found['commuting']['trials'])} trials)"
    )
    with_, without = (found[k]["accuracy"] for k in ("commuting", "non_commuting"))
    equal = with_ >= without - 0.05
    whys = [
        "" if equal else "it is less accurate",
        "" if 30 < result["ratio"] < 3000 else "the ratio is not the paper's",
    ]
    why = "; ".join(filter(None, whys))
    return graded(measured, not why, result["ratio"] > 5 and with_ > 0.7, why)


CLAIMS = (
    Claim(
        "definition_1",
        "Backpropagation scaling of reverse mode",
        "Backpropagation scaling: time and memory of the gradient within a constant (or log M) of the value's.",
        ABBAS + "Definition 1",
        "omega_time, omega_memory <= 4 where intermediate states can be kept",
        "omega",
        _definition_1,
    ),
    Claim(
        "talk_omega",
        "Classical reverse mode costs two to four values",
        "Classical reverse mode costs omega in [2, 4].",
        ABBAS + "talk",
        "2 <= omega <= 4",
        "omega",
        _talk,
    ),
    Claim(
        "talk_question",
        "Quantum models that have the scaling",
        "Are there quantum models, not universal ones, that reach the scaling? IQP circuits, trained classically.",
        ABBAS + "talk, last question; Recio-Armengol et al., arXiv:2503.02934",
        "omega <= 4 at every size, exponent 0 in M",
        "iqp",
        _talk_question,
    ),
    Claim(
        "proposition_3",
        "No scaling without quantum memory",
        "Without quantum memory the scaling is impossible: single copies need Omega(2^n).",
        ABBAS + "Proposition 3",
        "slope 1 of log2(copies/n) in n, to 0.2; n^1 with pairs, to 0.6",
        "hard_family",
        _proposition_3,
    ),
    Claim(
        "remark_4",
        "Parameter shift takes M^2 gates",
        "Parameter shift does not have the scaling: M^2 gates.",
        ABBAS + "Remark 4",
        "exponent 2",
        "gates",
        _remark_4,
        ("hardware_efficient", "parameter_shift"),
    ),
    Claim(
        "proposition_5",
        "A parameterised Markov chain has the scaling",
        "The classical analogue, a parameterised Markov chain, has the scaling.",
        ABBAS + "Proposition 5",
        "omega grows at most as log M",
        "markov_chain",
        _proposition_5,
    ),
    Claim(
        "definition_6",
        "Gentle measurement of many copies",
        "A measurement can leave every state of k copies alpha-close, whatever comes out.",
        ABBAS + "Definition 6",
        "k ~ alpha^-2",
        "gentleness",
        _definition_6,
    ),
    Claim(
        "proposition_7",
        "All Pauli expectations of one state from few copies",
        "A special model has it: O(log M/eps^4) values give all Pauli expectations of one state.",
        ABBAS + "Proposition 7",
        "copies linear in ln M, all components within the error",
        "pauli_list",
        _proposition_7,
        ("pauli_list", "bell_sampling"),
    ),
    Claim(
        "theorem_9_copies",
        "Shadow tomography: copies",
        "Online shadow tomography with a hypothesis state takes O(n log^2 M/eps^4) copies.",
        ABBAS + "Theorem 9",
        "exponent 0 of copies beside log^1.5 M for large M; at those run the design's own, to 0.1; damage at most 1",
        "copies",
        _theorem_9_copies,
    ),
    Claim(
        "theorem_9_gates",
        "Shadow tomography: gates",
        "The same algorithm takes M polylog(M) quantum operations.",
        ABBAS + "Theorem 9",
        "exponent 1 of rotations and Toffolis beside log^1.5 M for large M; at the sizes run the design's own, to 0.1; "
        "damage at most 1",
        "gates",
        _theorem_9_gates,
    ),
    Claim(
        "figure_1",
        "Copies are spent on mistakes only",
        "Batches are spent on mistakes only: about n of them, however many components are asked.",
        ABBAS + "Figure 1",
        "triggers below 8 n ln 2/eps^2, estimates within eps, damage at most 1",
        "triggers",
        _figure_1,
    ),
    Claim(
        "theorem_12",
        "Efficient gradients would be efficient shadow tomography",
        "An efficient gradient algorithm would be efficient shadow tomography.",
        ABBAS + "Theorem 12",
        "the reduction is exact",
        "shadow_reduction",
        _theorem_12,
    ),
    Claim(
        "theorem_13",
        "No test is gentle on every outcome",
        "No test is gentle on every outcome with polylog(1/alpha) copies: it would beat Grover's bound.",
        ABBAS + "Theorem 13",
        "exponent of copies in N at least 1/2",
        "gentle_search",
        _theorem_13,
    ),
    Claim(
        "theorem_13_sweep",
        "A purely gentle sweep lacks the scaling",
        "So a purely gentle sweep does not have the scaling.",
        ABBAS + "Theorem 13",
        "exponent at least 1.9; 1.5 where a square root of the copies is spent",
        "gates",
        _fully_gentle,
    ),
    Claim(
        "figure_2",
        "Parameters trained in a given time",
        "In a given time quantum backpropagation reaches far more parameters than parameter shift.",
        ABBAS + "Figure 2",
        "at 1 ms a primitive 10^4 parameters a day by parameter shift, ten times more at least by quantum "
        "backpropagation; more with constants too",
        "figure2",
        _figure_2,
    ),
    Claim(
        "bowles",
        "Commuting generators take fewer shots",
        "Circuits of commuting generators train with about two orders of magnitude fewer shots.",
        "Bowles, Wierichs and Park, arXiv:2306.14962, figure 6",
        "ratio of shots about 100, equal accuracy",
        "bars_and_dots",
        _bowles,
    ),
)
