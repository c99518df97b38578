"""Claims of Liu et al., Nat. Commun. 15, 434 (2024), on how cost grows: with n, with readout and upload, with T."""

from __future__ import annotations

from typing import Any

from quprop.experiments.claims.claim import HOLDS, IN_PART, NOT_SEEN, Claim, Verdict, graded, interval

LIU = "Liu et al., Nat. Commun. 15, 434 (2024), "
FLAT = 0.05  # an exponent is taken for 0 if its interval reaches below this


def _flat(fit: dict[str, float]) -> bool:
    return bool(fit["low"] <= FLAT and fit["slope"] <= 0.2)


def _polylog(result: dict[str, Any], case: str) -> Verdict:
    slopes = result["exponents"]

    def fit(structure: str, encoding: str) -> dict[str, float]:
        return dict(slopes[f"{case}, {structure}, {encoding}"])

    rows = [r for r in result["rows"] if r["case"] == case]
    nets = [r for r in rows if r["structure"] == "pruned network"]
    structures = ["chain", "blocks", "low rank", "dense", *["pruned network"] * bool(nets)]
    parts = []
    for structure in structures:
        mine = [r for r in rows if r["structure"] == structure]
        each = ", ".join(f"{e} n^{interval(fit(structure, e))}" for e in ("access", "factors"))
        parts.append(f"{structure}, n to {mine[-1]['n']}: {each}")
    ideal = max(abs(fit(s, "ideal")["slope"]) for s in structures[:4])
    measured = f"kappa_eff with ideal normalisation ~ n^{ideal:.2f} at most; " + "; ".join(parts)
    if not all(_flat(fit(s, "ideal")) for s in structures):
        return Verdict(measured, NOT_SEEN, "the condition number itself grows with n")
    accessed = [s for s in structures if _flat(fit(s, "access"))]
    if len(accessed) == len(structures):
        return Verdict(measured, HOLDS)
    held = [s for s in structures if _flat(fit(s, "factors"))]
    if not held:
        return Verdict(measured, NOT_SEEN, "no structure has a flat normalisation")
    why = (
        f"by sparse access it holds for {', '.join(accessed) or 'none'} (through the force a column feeds n "
        f"pairs), encoded factor by factor for {', '.join(held)} "
        "(low rank: loads of its vectors, n gates each, are not counted)"
    )
    if nets:
        last = nets[-1]
        why += (
            f"; the obstacle is alpha, {last['alpha_factors']:.3g} against ||L|| = {last['alpha_ideal']:.3g} for "
            f"{last['n']} survivors of a pruned network, {last['density']:.0%} of whose Hessian is filled"
        )
    return Verdict(measured, IN_PART, why)


def _whole(result: dict[str, Any]) -> Verdict:
    fixed = result["fixed_density"]
    measured = (
        f"by formula, with {fixed['density']:.0%} of n parameters kept: copies of a readout ~ "
        f"n^{fixed['copies']['slope']:.2f}, CNOTs of a load ~ n^{fixed['load']['slope']:.2f}"
    )
    worst = max(fixed["copies"]["slope"], fixed["load"]["slope"])
    return graded(
        measured, worst <= FLAT, worst < 0.5, "what is kept is a share of n, and each entry is loaded and read"
    )


def _precision(result: dict[str, Any]) -> Verdict:
    rows = result["rows"]
    free = [r for r in rows if r["case"] == "no force"]
    driven = [r for r in rows if r["case"] == "force"]
    power, kept = result["rates"]["no force, error"], result["rates"]["force, error"]
    powers = ", ".join(f"{r['times_power']:.2g}" for r in free)
    measured = (
        f"factor 1/sqrt(2) a step, no force: P 2^T = {powers} at T = "
        f"{', '.join(str(r['steps']) for r in free)}; relative error of a fixed number of runs, up to sqrt(T + 1), ~ "
        f"2^({interval(power)} T), amplified runs a copy {free[0]['runs_amplified']:.3g} to "
        f"{free[-1]['runs_amplified']:.3g}; with a force P = {driven[-1]['success']:.2g}, error ~ "
        f"2^({kept['slope']:.2f} T)"
    )
    lost, steady = abs(power["slope"] - 0.5) <= 0.05, abs(kept["slope"]) <= 0.1
    found = graded(measured, lost and steady, lost or steady, "the output decays otherwise than its deviation")
    return found._replace(
        why=found.why or "a driven block, as training is, keeps its output: nothing of this is seen there"
    )


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "carleman_n_fully",
        "Fully dissipative training: cost in the number of parameters",
        "Fully dissipative training costs polylogarithmically in the number n of parameters.",
        LIU + "Theorem 1",
        "exponent 0 of kappa_eff = alpha/sigma_min in n",
        "carleman_scaling_n",
        lambda result: _polylog(result, "fully dissipative"),
    ),
    Claim(
        "carleman_n_almost",
        "Almost dissipative training: cost in the number of parameters",
        "Almost dissipative training costs polylogarithmically in n too.",
        LIU + "Theorem 2",
        "exponent 0 of kappa_eff = alpha/sigma_min in n",
        "carleman_scaling_n",
        lambda result: _polylog(result, "almost dissipative"),
    ),
    Claim(
        "carleman_n_transfer",
        "Upload and download: cost in the number of parameters",
        "Upload and download of a sparse network are included in that cost.",
        LIU + "Theorem 1",
        "exponents 0 in n at the density that was used, 10 %",
        "carleman_scaling_n",
        _whole,
    ),
    Claim(
        "carleman_precision",
        "Precision after T steps",
        "After T steps the parameters are recovered to a precision like 1/sqrt(2^T).",
        LIU + "discussion of readout",
        "error of a fixed number of runs ~ 2^(T/2) where modes contract by 1/sqrt(2) without a force",
        "carleman_decay",
        _precision,
    ),
)
