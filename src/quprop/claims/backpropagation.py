"""Claims of Abbas et al., arXiv:2305.13362, its talk, and of Bowles et al., arXiv:2306.14962."""

from __future__ import annotations

from typing import Any

from quprop.claims.claim import IN_PART, Claim, Verdict, graded, interval, span

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


def _proposition_3(result: dict[str, Any]) -> Verdict:
    s = result["slopes"]
    measured = f"copies grow as 2^({s['mub']:.2f} n) n one by one, as n^{s['bell']:.2f} in pairs (n <= 10)"
    return graded(
        measured,
        s["mub"] > 0.8 and s["bell"] < 1.6,
        s["mub"] > 0.5,
        "at these few qubits log(4^n - 1) is not yet proportional to n",
    )


def _remark_4(result: dict[str, Any]) -> Verdict:
    fit = result["slopes"]["parameter_shift"]["reduced"]
    return graded(
        f"parameter shift: gates ~ M^{interval(fit)} with the logarithm of its guarantee divided out",
        abs(fit["slope"] - 2) < 0.1,
        fit["slope"] > 1.5,
        "the exponent is off 2",
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
    return graded(measured, abs(slope + 2) < 0.25, slope < -1, "the power is off -2")


def _proposition_7(result: dict[str, Any]) -> Verdict:
    rows, (slope, base) = result["rows"], result["line"]
    measured = (
        f"copies = {base:,.0f} + {slope:,.0f} ln M for M = {rows[0]['M']} to {rows[-1]['M']}; largest error "
        f"{max(r['error'] for r in rows):.2f} of {result['eps']:g} promised"
    )
    return graded(
        measured,
        all(r["error"] <= result["eps"] for r in rows) and slope > 0,
        True,
        "an error exceeds what is promised",
    )


def _theorem_9_copies(result: dict[str, Any]) -> Verdict:
    fit = result["slopes"]["quantum_backprop"]["reduced"]
    measured = f"copies ~ M^{interval(fit)} ln^2(8M)"
    return graded(
        measured,
        abs(fit["slope"]) <= 0.15,
        abs(fit["slope"]) <= 0.3,
        "fresh copies of a trigger carry no log^2 M and dilute it at these sizes",
    )


def _theorem_9_gates(result: dict[str, Any]) -> Verdict:
    fits = result["slopes"]
    fit = fits["quantum_backprop"]["reduced"]
    own = fits["quantum_backprop"].get("per_trigger", fit)
    within = [r["within"] for r in result["rows"] if r["method"] == "quantum_backprop" and "within" in r]
    measured = (
        f"gates ~ M^{interval(fit)} ln^2(8M), M^{interval(own)} a trigger's copies; {100 * min(within):.1f} % of "
        "components or more within the error; meets parameter shift far above the sizes run"
    )
    return graded(
        measured,
        abs(fit["slope"] - 1) <= 0.1 and min(within) >= 0.99,
        abs(own["slope"] - 1) <= 0.15,
        "fresh copies of a trigger carry no log^2 M and dilute it at these sizes; classical work is 4^n",
    )


def _figure_1(result: dict[str, Any]) -> Verdict:
    rows = result["rows"]
    most = max(r["updates"] / r["bound"] for r in rows)
    kept = sum(r["error"] <= r["eps"] for r in rows)
    measured = (
        f"{min(r['triggers'] for r in rows)} to {max(r['triggers'] for r in rows)} batches spent, at most {most:.2f} "
        f"of the bound 8 n ln 2/eps^2; {kept} of {len(rows)} runs within eps"
    )
    return graded(measured, most <= 1 and kept == len(rows), most <= 1, "an estimate is off by more than eps")


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
    found = graded(measured, result["slope"] >= 0.5, False, "fewer copies than Grover's bound: the experiment is wrong")
    return found._replace(why=found.why or "the tests at hand, not all tests: the theorem excludes every one")


def _fully_gentle(result: dict[str, Any]) -> Verdict:
    fit = result["slopes"]["fully_gentle"]["reduced"]
    return graded(
        f"gates of a fully gentle sweep ~ M^{interval(fit)}, of the square-root one "
        f"M^{interval(result['slopes']['gentle_sweep']['reduced'])}",
        fit["slope"] >= 1.9,
        fit["slope"] > 1.2,
        "",
    )


def _figure_2(result: dict[str, Any]) -> Verdict:
    cases = "; ".join(f"n = {c['qubits']}, error {c['error']:g}: M = {c['break_even']:.2g}" for c in result["cases"])
    return Verdict(
        f"the curves come out; with constants and 1/eps^4 parameter shift is cheaper below {cases}",
        IN_PART,
        "formula, not measured: the figure leaves out constants, and the curve's exact logarithm is not published",
    )


def _bowles(result: dict[str, Any]) -> Verdict:
    found = result["models"]
    measured = (
        f"{result['ratio']:.0f} times the shots a step without commuting generators; accuracy "
        f"{found['commuting']['accuracy']:.3f} with, {found['non_commuting']['accuracy']:.3f} without "
        f"({len(found['commuting']['trials'])} trials)"
    )
    return graded(measured, result["ratio"] > 50, result["ratio"] > 5, "the ratio is smaller than the paper's")


CLAIMS = (
    Claim(
        "definition_1",
        "Backpropagation scaling: time and memory of the gradient within a constant (or log M) of the value's.",
        ABBAS + "Definition 1",
        "omega_time, omega_memory <= 4 where intermediate states can be kept",
        "omega",
        _definition_1,
    ),
    Claim(
        "talk_omega", "Classical reverse mode costs omega in [2, 4].", ABBAS + "talk", "2 <= omega <= 4", "omega", _talk
    ),
    Claim(
        "proposition_3",
        "Without quantum memory the scaling is impossible: single copies need Omega(2^n).",
        ABBAS + "Proposition 3",
        "slope 1 of log2(copies/n) in n; n^1 with pairs",
        "hard_family",
        _proposition_3,
    ),
    Claim(
        "remark_4",
        "Parameter shift does not have the scaling: M^2 gates.",
        ABBAS + "Remark 4",
        "exponent 2",
        "gates",
        _remark_4,
    ),
    Claim(
        "proposition_5",
        "The classical analogue, a parameterised Markov chain, has the scaling.",
        ABBAS + "Proposition 5",
        "omega grows at most as log M",
        "markov_chain",
        _proposition_5,
    ),
    Claim(
        "definition_6",
        "A measurement can leave every state of k copies alpha-close, whatever comes out.",
        ABBAS + "Definition 6",
        "k ~ alpha^-2",
        "gentleness",
        _definition_6,
    ),
    Claim(
        "proposition_7",
        "A special model has it: O(log M/eps^4) values give all Pauli expectations of one state.",
        ABBAS + "Proposition 7",
        "copies linear in ln M",
        "pauli_list",
        _proposition_7,
    ),
    Claim(
        "theorem_9_copies",
        "Online shadow tomography with a hypothesis state takes O(n log^2 M/eps^4) copies.",
        ABBAS + "Theorem 9",
        "exponent 0 of copies beside log^2 M",
        "copies",
        _theorem_9_copies,
    ),
    Claim(
        "theorem_9_gates",
        "The same algorithm takes M polylog(M) quantum operations.",
        ABBAS + "Theorem 9",
        "exponent 1.0 ± 0.1 of gates beside log^2 M",
        "gates",
        _theorem_9_gates,
    ),
    Claim(
        "figure_1",
        "Batches are spent on mistakes only: about n of them, however many components are asked.",
        ABBAS + "Figure 1",
        "triggers below 8 n ln 2/eps^2",
        "triggers",
        _figure_1,
    ),
    Claim(
        "theorem_12",
        "An efficient gradient algorithm would be efficient shadow tomography.",
        ABBAS + "Theorem 12",
        "the reduction is exact",
        "shadow_reduction",
        _theorem_12,
    ),
    Claim(
        "theorem_13",
        "No test is gentle on every outcome with polylog(1/alpha) copies: it would beat Grover's bound.",
        ABBAS + "Theorem 13",
        "exponent of copies in N at least 1/2",
        "gentle_search",
        _theorem_13,
    ),
    Claim(
        "theorem_13_sweep",
        "So a purely gentle sweep does not have the scaling.",
        ABBAS + "Theorem 13",
        "exponent at least 1.9",
        "gates",
        _fully_gentle,
    ),
    Claim(
        "figure_2",
        "In a given time quantum backpropagation reaches far more parameters than parameter shift.",
        ABBAS + "Figure 2",
        "M^2 against M polylog M at 1 ms a primitive; 10^4 parameters a day by parameter shift",
        "figure2",
        _figure_2,
    ),
    Claim(
        "bowles",
        "Circuits of commuting generators train with about two orders of magnitude fewer shots.",
        "Bowles, Wierichs and Park, arXiv:2306.14962, figure 6",
        "ratio of shots about 100, equal accuracy",
        "bars_and_dots",
        _bowles,
    ),
)
