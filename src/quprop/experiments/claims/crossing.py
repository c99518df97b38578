"""What becomes of Abbas et al., arXiv:2305.13362, when copies are used again: where it wins, and whether it holds."""

from __future__ import annotations

from typing import Any

from quprop.experiments import crossing, training
from quprop.experiments.claims.claim import Claim, Verdict, graded
from quprop.sampling.estimate import shown

ABBAS = "Abbas et al., arXiv:2305.13362, "
REUSED = "; Aaronson and Rothblum, arXiv:1904.08747"


def _crossing(result: dict[str, Any]) -> Verdict:
    n, rows = result["n"], result["rows"]
    found = result["crossings"]
    most = max(r["M"] for r in rows if r["n"] == n)
    last: dict[str, list[float]] = {}
    for r in rows:
        if r["n"] == n and r["M"] == most and r.get("total") is not None:
            last.setdefault(r["method"], []).append(r["total"])
    ours = max(last[crossing.OURS])
    within = min(r["within"] for r in rows if r["method"] == crossing.OURS)
    met = [name for name in crossing.RIVALS if found.get(name, {}).get("side") == "measured"]
    words = "; ".join(
        f"{crossing.NAMES[name]} from M = {found[name]['M']:.0f} [{found[name]['low']:.0f}, {found[name]['high']:.0f}]"
        for name in met
    )
    beaten = {crossing.NAMES[name]: min(values) / ours for name, values in last.items() if name != crossing.OURS}
    ratios = ", ".join(f"{name} {ratio:.1f}" for name, ratio in beaten.items())
    measured = (
        f"n = {n}, rotations and Toffolis: cheaper than {words}; at M = {most:,} the others take so many times more: "
        f"{ratios}; {100 * within:.1f} % of components or more within {result['max_error']:g}"
    )
    first = "parameter_shift" in met and within >= 0.99
    whys = [
        "" if within >= 0.99 else "components are beyond the error",
        "" if all(r > 1 for r in beaten.values()) else "another method is cheaper at the largest size run",
        "" if {"parameter_shift", "pair_state", "gentle_sweep"} <= set(met) else "a crossing is not in what was run",
    ]
    why = "; ".join(filter(None, whys))
    return graded(measured, not why, first, why)


def _followed(result: dict[str, Any]) -> Verdict:
    rows, small = result["rows"], result["small"]
    sweeps, beyond = (sum(r[k] for r in small.values()) for k in ("sweeps", "beyond"))
    within, damage = min(r["within"] for r in rows), max(r["damage"] for r in rows)
    error = max(r["engine_error"] for r in (*rows, *small.values()))
    ratio = max(r["claimed"] / r["copies"] for r in rows)
    measured = (
        f"n = {rows[0]['n']}, M = {rows[0]['M']:,}, {len(rows)} seeds: {100 * within:.1f} % of components or more "
        f"within {result['max_error']:g}, in the worst batch {shown(damage)}, engine off by {error:.2g} at most; "
        f"copies claimed {ratio:.1f} times those used; {beyond} of {sweeps} small sweeps beyond a promise of "
        f"{result['promised']:g}"
    )
    whys = [
        "" if within >= 0.99 else "components are beyond the error",
        "the promise is void at this damage" if damage > 1 else "",
        "" if error < 0.05 else "the engine does not vouch for what it followed",
        "" if beyond <= result["promised"] * sweeps else "more sweeps fail than was promised",
        "" if ratio <= 5 else "the budget is far above what is used",
    ]
    why = "; ".join(filter(None, whys))
    return graded(measured, not why, within >= 0.9 and beyond <= 2 * result["promised"] * sweeps, why)


def _training(result: dict[str, Any]) -> Verdict:
    runs = result["runs"]
    shift, cold, warm, finer = (runs[k] for k in (training.SHIFT, training.COLD, training.WARM, training.FINER))
    ratio = warm["copies"][-1] / cold["copies"][-1]
    reached = [r["reached"] for r in (warm, finer) if r.get("reached") is not None]
    least = min(reached) if reached else None
    measured = (
        f"energies {shift['final']:.4f} by parameter shift, {cold['final']:.4f} cold, {warm['final']:.4f} warm, "
        f"{finer['final']:.4f} at half the error (ground {result['ground']:.4f}); a warm start takes {ratio:.2f} of "
        f"the copies; the energy of parameter shift, which spent {shift['copies'][-1]:.2g}, "
        + (f"after {least:.2g} copies" if least is not None else "is not reached")
    )
    equal = finer["final"] <= shift["final"] + 1e-3
    whys = [
        "" if equal and least is not None else "training ends above what parameter shift reaches",
        "" if ratio <= 0.6 else "a warm start saves little",
    ]
    why = "; ".join(filter(None, whys))
    return graded(measured, not why, finer["final"] <= shift["final"] + 0.01, why)


def _many_qubits(result: dict[str, Any]) -> Verdict:
    rows = result["rows"]
    within, above, cut = (
        min(r["within"] for r in rows),
        min(r["above"] for r in rows),
        max(r["truncation"] for r in rows),
    )
    readings = ", ".join(f"{r['triggers']} of {r['M']:,} components read ({r['observable']})" for r in rows)
    measured = (
        f"n = {rows[0]['n']}: {100 * within:.1f} % of components or more within the error asked, which "
        f"{100 * above:.0f} % or more exceed; {readings}; cut bonds off by {cut:.0e}"
    )
    whys = [
        "" if within >= 0.99 else "components are beyond the error",
        "" if above >= 0.3 else "zeros would nearly do",
        "" if cut < 0.01 else "the simulated copies are not those of the circuit",
    ]
    why = "; ".join(filter(None, whys))
    return graded(measured, not why, within >= 0.9 and cut < 0.1, why)


CLAIMS = (
    Claim(
        "crossing",
        "Fewest gates from some number of parameters on",
        "From some number of parameters on quantum backpropagation takes fewer gates than any method that measures "
        "copies one by one, checks counted.",
        ABBAS + "abstract" + REUSED,
        "crossings with parameter shift, the pair state and the gentle sweep at n = 12, cheapest at the largest M",
        "crossing",
        _crossing,
    ),
    Claim(
        "followed",
        "Copies that go on keep the promised accuracy",
        "Copies that are read where they trigger and go on keep the accuracy that is promised.",
        ABBAS + "Theorem 9" + REUSED,
        "errors beyond the promise as seldom as promised, damage at most 1, engine error below 0.05, copies claimed at "
        "most 5 times those used",
        "followed",
        _followed,
    ),
    Claim(
        "training",
        "Training end to end",
        "A model trains end to end on such gradients, and what was learned of the input serves all later steps.",
        ABBAS + "section on training",
        "the energy that parameter shift reaches, within 0.001; warm starts at most 0.6 of the copies",
        "training",
        _training,
    ),
    Claim(
        "many_qubits",
        "Hypothesis states of more qubits than can be held",
        "Structured hypothesis states carry the method past what a classical computer can hold.",
        ABBAS + "discussion of approximate hypothesis states",
        "99 % of components within the error at n = 50, M >= 1,000, of which 30 % exceed it",
        "many_qubits",
        _many_qubits,
    ),
)
