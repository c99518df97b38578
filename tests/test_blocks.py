"""The planner's laws: however it reorders and groups, the plan is the same circuit, in pieces the kernels accept."""

import time

import cases
import numpy as np
import pytest
from native_models import segmented_model, start

import quprop as qpr
from quprop.simulate.state_vector import blocks
from quprop.simulate.state_vector.blocks import planner

LAYOUTS = [  # (lane bits, bytes of a vector, block dimension)
    (3, 64, None),  # AVX-512 doubles
    (4, 64, 3),
    (2, 32, 4),
    (1, 16, 2),  # no vectors to speak of
    (0, 64, None),  # a batch: lanes are samples
    (0, 64, 3),
]
MODELS = [
    *(pytest.param(case.model, id=name) for name, case in cases.CASES.items()),
    *(
        pytest.param(segmented_model(s, n, 6, start(s, n, "basis")), id=f"segmented_{n}")
        for s, n in enumerate((5, 9, 12))
    ),
    pytest.param(cases.random_model(3, 20, 400), id="random_20"),
]


def anticommute(plan, i, j):
    x, z = plan["x"], plan["z"]
    return (int(x[i] & z[j]).bit_count() + int(z[i] & x[j]).bit_count()) % 2 == 1


def runs(plan):
    """(basis, passes) of each run; a pass is (tile, operations); an operation lists its rotations."""
    basis, passes, ops, terms = (plan[f"{p}_ptr"].tolist() for p in ("run_basis", "run_pass", "pass_op", "op_term"))
    for r in range(len(passes) - 1):
        yield (
            plan["run_basis"][basis[r] : basis[r + 1]].tolist(),
            [
                (
                    plan["pass_tile"][2 * p : 2 * p + 2].tolist(),
                    [plan["term"][terms[o] : terms[o + 1]].tolist() for o in range(ops[p], ops[p + 1])],
                )
                for p in range(passes[r], passes[r + 1])
            ],
        )


def span(masks):
    out = {0}
    for mask in masks:
        out |= {mask ^ known for known in out}
    return out


def rank(masks):
    """The dimension over GF(2)."""
    reduced = []
    for mask in masks:
        for row in reduced:
            mask = min(mask, mask ^ row)
        reduced += [mask] if mask else []
    return len(reduced)


@pytest.fixture(params=LAYOUTS, ids=lambda p: "lanes{}_bytes{}_block{}".format(*p))
def layout(request):
    return request.param


@pytest.fixture(params=MODELS)
def plan(request, layout):
    return blocks.plan(request.param, *layout)


def test_every_rotation_is_done_exactly_once(plan):
    assert sorted(plan["term"].tolist()) == list(range(len(plan["x"])))
    assert [len(plan[f"{p}_ptr"]) for p in ("run_basis",)] == [len(plan["run_pass_ptr"])]


def test_rotations_that_do_not_commute_keep_their_order(plan):
    order = plan["term"].tolist()
    place = {rotation: position for position, rotation in enumerate(order)}
    x, z = plan["x"], plan["z"]
    for i in range(len(order)):
        later = np.arange(i + 1, len(order))
        odd = (np.bitwise_count(x[i] & z[later]) ^ np.bitwise_count(z[i] & x[later])) & 1
        assert all(place[i] < place[j] for j in later[odd == 1].tolist()), f"rotation {i} was overtaken"


def test_the_order_test_sees_a_swap():
    model = cases.CASES["hardware_efficient"].model
    plan = blocks.plan(model, 3, 64, None)
    order = plan["term"]
    first = order[0]
    other = next(k for k in range(1, len(order)) if anticommute(plan, first, order[k]))
    order[0], order[other] = order[other], first
    with pytest.raises(AssertionError, match="overtaken"):
        test_rotations_that_do_not_commute_keep_their_order(plan)


def test_masks_lie_in_the_space_of_their_run_and_in_their_tile(plan):
    lane_bits, n_up = plan["lane_bits"], plan["n_up"]
    for basis, passes in runs(plan):
        upper = [mask >> lane_bits for mask in basis]
        assert rank(upper) == len(basis) <= n_up, "a basis is dependent or too large"
        for tile, operations in passes:
            assert len(span(tile)) == 4, "a tile has two dimensions"
            local = [_combine(upper, vector) for vector in span(tile)]
            for rotation in (i for group in operations for i in group):
                assert int(plan["x"][rotation]) >> lane_bits in local


def _combine(basis, vector):
    out = 0
    for k, mask in enumerate(basis):
        out ^= mask if vector >> k & 1 else 0
    return out


def test_operations_of_a_group_commute_and_share_x(plan):
    for _, passes in runs(plan):
        for _, operations in passes:
            bits = 0
            for group in operations:
                assert len({int(plan["x"][i]) for i in group}) == 1
                assert not any(anticommute(plan, group[0], i) for i in group)
                drivers = {int(plan["driver"][i]) for i in group}
                zs = [int(plan["z"][i]) for i in group]
                if len(drivers) == 1 and len(group) > 1:
                    bits_of = rank(zs)
                    assert bits_of <= planner.MAX_RANK
                else:
                    bits_of = len(group)
                    assert bits_of <= planner.MAX_GROUP
                bits += bits_of
            assert bits <= 64, "a signature has 64 bits"


def test_every_observable_term_is_in_one_bucket(plan):
    assert sorted(plan["bucket_term"].tolist()) == list(range(len(plan["obs_x"])))
    for k in range(len(plan["bucket_term_ptr"]) - 1):
        members = plan["bucket_term"][plan["bucket_term_ptr"][k] : plan["bucket_term_ptr"][k + 1]]
        assert len({int(plan["obs_x"][t]) for t in members}) == 1
        assert len({int(plan["obs_x"][t] & plan["obs_z"][t]).bit_count() % 2 for t in members}) == 1
        assert rank(int(plan["obs_z"][t]) for t in members) <= planner.MAX_RANK
    assert np.all(np.diff(plan["group_bucket_ptr"]) <= planner.MAX_BUCKETS)


def test_observables_are_their_strings(layout):
    model = cases.CASES["several_observables"].model
    plan = blocks.plan(model, *layout)
    for k, observable in enumerate(model.observables):
        part = slice(plan["obs_ptr"][k], plan["obs_ptr"][k + 1])
        pairs = zip(plan["obs_term"][part], plan["obs_coefficient"][part], strict=True)
        found = {qpr.PauliString(int(plan["obs_x"][t]), int(plan["obs_z"][t])): c for t, c in pairs}
        assert qpr.PauliSum(found) == observable


@pytest.mark.parametrize("name", ["shared_parameters", "products_of_angles", "identity_terms", "qaoa", "random_gates"])
def test_drivers_are_the_angles(name):
    """angle = coefficient * driver, the driver being a polynomial in theta and x."""
    model = cases.CASES[name].model
    theta, x = cases.values_for(model)
    plan = blocks.plan(model, 3, 64)
    variables = np.concatenate([theta, x])
    monomials = [
        c * np.prod(variables[plan["var"][a:b]])
        for c, a, b in zip(plan["mono"], plan["var_ptr"], plan["var_ptr"][1:], strict=False)
    ]
    drivers = [sum(monomials[a:b]) for a, b in zip(plan["mono_ptr"], plan["mono_ptr"][1:], strict=False)]
    angles = plan["coefficient"] * np.array(drivers)[plan["driver"]]
    np.testing.assert_allclose(angles, model.angle_table.evaluate(theta[None], x[None])[0], rtol=1e-14, atol=1e-14)


def test_few_passes_for_what_the_planner_is_made_for():
    """A layer of RY is packed two to a pass and one of RZ joins them: passes, not rotations, cost memory traffic."""
    n = 12
    model = qpr.Model(qpr.ansatz.hardware_efficient(n, 4), "Z0 Z1")
    plan = blocks.plan(model, 3, 64)
    assert len(plan["run_pass_ptr"]) - 1 < model.n_rotations / 10
    assert len(plan["pass_op_ptr"]) - 1 < 0.75 * model.n_rotations


@pytest.mark.slow
def test_planning_time_is_linear_in_the_rotations():
    """A plan of 100,000 rotations takes about ten times that of 10,000."""
    seconds = {}
    for m in (10_000, 100_000):
        layers = m // 32
        model = qpr.Model(qpr.ansatz.hardware_efficient(16, layers), "Z0")
        _ = model.x_masks, model.z_masks
        tries = []
        for _ in range(5):  # of processor time, and the best of them: another process on this core slows a single one
            began = time.process_time()
            plan = blocks.plan(model, 3, 64)
            tries.append(time.process_time() - began)
        seconds[m] = min(tries)
        assert len(plan["term"]) == model.n_rotations
    assert seconds[100_000] < 30 * seconds[10_000], seconds  # 100 if it were quadratic
