"""One state over the ranks of MPI gives the numbers of the native engine, and moves what was said beforehand."""

import json
from pathlib import Path

import mpi
import pytest

pytestmark = mpi.needs_mpi
PROGRAM = Path(__file__).with_name("ranks_program.py")


def together(ranks, tmp_path, name, *arguments, seconds=mpi.SECONDS):
    """What the ranks agreed on."""
    out = tmp_path / "found.json"
    done = mpi.run(ranks, PROGRAM, name, out, *arguments, seconds=seconds)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(out.read_text())


@pytest.mark.parametrize("ranks", [2, 4])
def test_values_and_gradients_are_those_of_one_process(tmp_path, ranks):
    assert max(together(ranks, tmp_path, "models", 0, 15)) < 1e-13


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2, 4, 8])
def test_values_and_gradients_of_200_random_models_are_those_of_one_process(tmp_path, ranks):
    assert max(together(ranks, tmp_path, "models", 0, 200, seconds=900)) < 1e-13


@pytest.mark.parametrize("rows", [3, 8])
def test_batches_are_divided_among_groups_of_ranks(tmp_path, rows):
    assert max(together(4, tmp_path, "models", 100, 5, rows)) < 1e-13


def test_single_precision_agrees_to_its_own_rounding(tmp_path):
    assert max(together(2, tmp_path, "models", 50, 8, "", "single")) < 2e-5


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2, 4, 8])
def test_circuits_of_20_qubits_agree(tmp_path, ranks):
    found = together(ranks, tmp_path, "workloads", 20, seconds=600)
    assert max(found.values()) < 1e-13, found


@pytest.mark.parametrize("ranks", [2, 4])
def test_what_is_sent_is_what_was_said(tmp_path, ranks):
    for value, value_said, gradient, said, messages, messages_said, exchanges, exchanges_said in together(
        ranks, tmp_path, "counts", 13
    ):
        assert (value, gradient) == (value_said, said)
        assert (messages, exchanges) == (messages_said, exchanges_said)


@pytest.mark.parametrize("ranks", [1, 4])
def test_registers_and_samples_are_those_of_one_process(tmp_path, ranks):
    assert max(together(ranks, tmp_path, "registers", 12)) < 1e-12


def test_every_refusal_is_one_sentence_on_all_ranks(tmp_path):
    found = together(2, tmp_path, "refusals")
    wanted = ["Hessian-vector", "channel", "ranks run", "spread over", "needs", "power of two", "whole number of bytes"]
    for sentence, words in zip(found, wanted, strict=True):
        assert words in sentence and "\n" not in sentence, sentence
