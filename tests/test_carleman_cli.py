"""``quprop carleman``: what it prints and writes, its exit status, one sentence for everything that is wrong."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from typer.testing import CliRunner

from quprop.cli import app
from quprop.experiments.networks import EXPERIMENTS
from quprop.report.sources import recognise

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # curvlinops imports it
ANALYSED = [
    *("parameters", "spectrum", "proxy", "radius", "block_length"),
    *("condition_number", "queries", "copies", "verdict"),
]
TINY = ["--data", "iris", "--set", "hidden=[4]"]


@pytest.fixture
def quprop(tmp_path, monkeypatch):
    """Runs the program in an empty folder and checks its exit status; returns (stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, status=0):
        result = CliRunner().invoke(app, ["carleman", *(str(a) for a in arguments)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == status, result.output
        return result.stdout, result.stderr

    return run


def refused(quprop, *arguments):
    text = quprop(*arguments, status=2)[1]
    assert text.startswith("quprop: ") and text.count("\n") == 1, text
    return text


def test_help_names_commands_options_and_networks(quprop):
    text = quprop("--help")[0]
    assert all(word in text for word in ("analyse", "train", "experiment"))
    text = quprop("train", "--help")[0]
    for word in (
        "--data",
        "--order",
        "--steps",
        "--blocks",
        "--block-length",
        "--sparsity",
        "--dense-steps",
        "--readout",
    ):
        assert word in text, word
    for word in ("--precision", "--out", "--json", "--plot", "--seed", "--quiet", "deep-linear", "module:factory"):
        assert word in text, word


def test_experiments_are_listed_and_one_writes_its_figure_and_numbers(quprop, tmp_path):
    listed = quprop("experiment")[0]
    for name in EXPERIMENTS:
        assert f"{name}: " in listed
    out = quprop("experiment", "euler", "--quick", "--out", "found")[0]
    assert all(len(line) <= 80 for line in out.splitlines())
    result = json.loads((tmp_path / "found/euler.json").read_text())
    exact, plateau = result["error"]["discrete"], result["error"]["euler"]
    assert exact[-1] < 1e-2 * plateau[-1] and plateau[-1] > 0.5 * plateau[2]
    assert (tmp_path / "found/euler.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_two_doors_to_an_experiment_give_the_same_result(quprop, tmp_path):
    quprop("experiment", "queries", "--quick", "--seed", 3, "--out", "one", "--json", "queries.json", "--quiet")
    done = CliRunner().invoke(app, ["reproduce", "carleman_queries", "--quick", "--seed", "3", "--out", "two"])
    assert done.exit_code == 0, done.output
    one, two = (json.loads((tmp_path / f).read_text()) for f in ("one/queries.json", "two/carleman_queries.json"))
    assert one == json.loads((tmp_path / "queries.json").read_text()) and one["kind"] == "experiment"
    assert (one.pop("experiment"), two.pop("experiment")) == ("queries", "carleman_queries")
    assert one | {"seconds": 0} == two | {"seconds": 0}


def test_unknown_experiments_and_misplaced_options_are_refused(quprop):
    assert "did you mean 'kappa'" in refused(quprop, "experiment", "kapa")
    assert "'full_size'" in refused(quprop, "experiment", "spectra", "--folder", "data")


def test_analyse_and_train_write_what_they_print(quprop, tmp_path):
    pytest.importorskip("torch")
    out = quprop("analyse", "mlp", *TINY, "--order", 2, "--sparsity", 0.5, "--json", "a.json", "--plot", "a.png")[0]
    assert all(len(line) <= 80 for line in out.splitlines())
    found = json.loads((tmp_path / "a.json").read_text())
    for key in ANALYSED:
        assert key in found, key
    assert " ".join(found["verdict"].split()) in " ".join(out.split())
    assert recognise(found) == found["format"].removeprefix("quprop-") == "carleman_analysis"
    fast = ["--warm-up", 10, "--blocks", 2, "--block-length", 4, "--rate", 0.3, "--sparsity", 0.5]
    out = quprop("train", "mlp", *TINY, *fast, "--readout", "shots", "--precision", 0.1, "--out", "run")[0]
    assert all(len(line) <= 80 for line in out.splitlines()), out
    found = json.loads((tmp_path / "run/training.json").read_text())
    header, *rows = out.splitlines()[[text.split()[:1] == ["block"] for text in out.splitlines()].index(True) :]
    assert header.split()[-1] == "by"
    assert [text.split()[-1] for text in rows[:2]] == [b["by"] for b in found["blocks"]] == ["jets", "jets"]
    assert {b["emulation"] for b in found["blocks"]} == set(found["emulation"]["blocks"])
    for key in ["accuracy", "plain_accuracy", "reuploads", "relative_error", "queries", "copies", "emulation"]:
        assert key in found, key
    assert recognise(found) == found["kind"] == "carleman_training"
    assert found["reuploads"] == 1 and len(found["relative_error"]) == 2
    assert np.load(tmp_path / "run/parameters.npy").shape == (found["parameters"],)
    assert (tmp_path / "a.png").read_bytes()[:4] == (tmp_path / "run/training.png").read_bytes()[:4] == b"\x89PNG"
    assert quprop("train", "mlp", *TINY, *fast, "--quiet")[0] == ""


def test_a_users_own_module_is_analysed_and_trained(quprop, tmp_path):
    pytest.importorskip("torch")
    (tmp_path / "waves.py").write_text(
        "import torch\n"
        "class Waves(torch.nn.Module):\n"
        "    def __init__(self, width, classes):\n"
        "        super().__init__()\n"
        "        self.a, self.b = torch.nn.Linear(4, width), torch.nn.Linear(width, classes)\n"
        "    def forward(self, x):\n"
        "        return self.b(torch.sin(self.a(x)))\n"
        "def make(classes, width=3):\n"
        "    return Waves(width, classes), lambda outputs, y: torch.nn.functional.cross_entropy(outputs, y)\n"
    )
    quprop("analyse", "waves:make", "--data", "iris", "--set", "width=5", "--order", 2, "--quiet", "--json", "a.json")
    assert json.loads((tmp_path / "a.json").read_text())["parameters"] == 4 * 5 + 5 + 5 * 3 + 3
    fast = ["--warm-up", 20, "--blocks", 2, "--block-length", 5, "--solver", "adiabatic", "--quiet", "--json", "t.json"]
    quprop("train", "waves:make", "--data", "iris", *fast)
    found = json.loads((tmp_path / "t.json").read_text())
    assert found["parameters"] == 4 * 3 + 3 + 3 * 3 + 3 and max(found["relative_error"]) < 1e-2


@pytest.mark.slow
def test_a_residual_network_of_cifars_shape_is_analysed(quprop, tmp_path):
    pytest.importorskip("torch")
    size = ["--data", "digits32", "--set", "depth=8", "--set", "widen=2", "--set", "classes=100"]
    quprop("analyse", "resnet", *size, "--samples", 4, "--lanczos", 6, "--probes", 1, "--quiet", "--json", "a.json")
    found = json.loads((tmp_path / "a.json").read_text())
    assert all(key in found for key in ANALYSED) and found["parameters"] > 300_000
    assert found["spectrum"]["products"] == 12 and not found["radius"].get("exists")


def test_a_divergent_run_ends_with_status_1_and_its_record(quprop, tmp_path):
    pytest.importorskip("torch")
    wild = ["--rate", 2, "--order", 4, "--warm-up", 5, "--block-length", 80, "--sparsity", 0.2, "--json", "t.json"]
    out = quprop("train", "mlp", *TINY, *wild, status=1)[0]
    assert "outside its radius" in " ".join(out.split()) and json.loads((tmp_path / "t.json").read_text())["diverged"]


def test_bad_input_gets_one_sentence(quprop, tmp_path):
    pytest.importorskip("torch")
    assert "did you mean 'logistic'" in refused(quprop, "analyse", "logistik")
    assert "did you mean 'digits'" in refused(quprop, "train", "mlp", "--data", "digit")
    assert "folder" in refused(quprop, "train", "mlp", "--data", "cifar10")
    assert "--block-length" in refused(quprop, "train", "mlp", "--block-length", "long")
    assert "readout" in refused(quprop, "train", "mlp", *TINY, "--readout", "guess")
    (tmp_path / "kinked.py").write_text(
        "import torch\ndef make():\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3), torch.nn.ReLU())\n"
    )
    assert "none; leave it out" in refused(quprop, "analyse", "mlp", *TINY, "--set", "seed=3")
    assert "at least the 3" in refused(quprop, "analyse", "mlp", *TINY, "--set", "classes=2")
    assert "ReLU" in refused(quprop, "train", "kinked:make", "--data", "iris")
    assert "could not be imported" in refused(quprop, "train", "nowhere:make")
    assert "no folder" in refused(quprop, "analyse", "mlp", *TINY, "--json", "missing/a.json")


def test_momentum_decay_and_mask_are_options_and_ctrl_c_is_one_sentence(quprop, tmp_path, monkeypatch):
    pytest.importorskip("torch")
    from quprop.carleman import train as module

    fast = ["--warm-up", 5, "--blocks", 2, "--block-length", 2, "--rate", 0.05, "--sparsity", 0.5, "--order", 2]
    heavy = [*TINY, *fast, "--momentum", 0.9, "--weight-decay", 0.002, "--unmasked", "--batch", 16]
    quprop("train", "mlp", *heavy, "--quiet", "--json", "whole.json")
    real = module.block_spectrum

    def interrupted(*given, **options):
        if (tmp_path / "run" / "metrics.jsonl").read_bytes():  # in the second block
            raise KeyboardInterrupt
        return real(*given, **options)

    monkeypatch.setattr(module, "block_spectrum", interrupted)
    said = quprop("train", "mlp", *heavy, "--quiet", "--out", "run", status=130)[1]
    assert said == "quprop: interrupted; continue with the same command and --resume\n"
    monkeypatch.setattr(module, "block_spectrum", real)
    quprop("train", "mlp", *heavy, "--quiet", "--out", "run", "--resume", "--json", "again.json")
    text = (tmp_path / "whole.json").read_text()
    assert (tmp_path / "again.json").read_text() == text
    found = json.loads(text)
    settings = found["settings"]
    assert (settings["momentum"], settings["weight_decay"], settings["masked"]) == (0.9, 0.002, False)
    assert {"torch", "numpy", "scipy", "quprop"} <= found["versions"].keys()
    assert "velocity" in found["emulation"]["momentum"]
    for wrong in (["--momentum", 1], ["--weight-decay", -1]):
        assert wrong[0].strip("-").replace("-", "_") in refused(quprop, "train", "mlp", *TINY, *wrong)


OWN = """
import torch
from torch import nn
class Tokens(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.embed = nn.Embedding(6, 4)
        layer = nn.TransformerEncoderLayer(4, 2, 5, activation="gelu", batch_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False), nn.Linear(4, classes)
    def forward(self, x):
        return self.head(self.encoder(self.embed(x)).mean(1))
def tokens(classes):
    return Tokens(classes).eval()
def house(input_shape, classes):
    return nn.Sequential(nn.Linear(*input_shape, 4), nn.SiLU(), nn.Linear(4, classes)), nn.MSELoss()
def plain(input_shape, classes):
    return nn.Sequential(nn.Linear(*input_shape, 4), nn.SiLU(), nn.Linear(4, classes))
def kinked(input_shape, classes):
    return nn.Sequential(nn.Linear(*input_shape, 4), nn.ReLU(), nn.Linear(4, classes))
def network(input_shape, classes):
    from quprop.carleman.networks.networks import Network
    return Network("built", plain(input_shape, classes), nn.HuberLoss(), 0.1)
"""
SHORT = ["--warm-up", 4, "--blocks", 1, "--block-length", 2, "--sparsity", 0.2, "--rate", 0.05, "--quiet"]
BRIEF = ["--lanczos", 4, "--probes", 1, "--order", 1, "--sparsity", 0.2, "--quiet"]


@pytest.fixture
def own(tmp_path):
    """A file of networks in another folder than the command's, tokens and a table of numbers."""
    pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "nets.py").write_text(OWN)
    x = rng.integers(6, size=(40, 5))
    np.savez(tmp_path / "tokens.npz", x=x, y=x[:, 0] % 3)
    x = rng.normal(size=(40, 3))
    rows = [",".join(map(repr, row)) for row in np.column_stack([x, np.sin(x[:, 0]) + x[:, 1]]).tolist()]
    (tmp_path / "house.csv").write_text("\n".join(["area,rooms,age,price", *rows]) + "\n")
    return tmp_path / "other" / "nets.py"


def test_a_file_of_networks_is_analysed_and_trained_on_files_of_data(quprop, tmp_path, own):
    for name, data, metric in (
        ("other/nets.py:tokens", "tokens.npz", "accuracy"),
        (f"{own}:house", "house.csv", "r_squared"),
        (f"{own}:plain", tmp_path / "house.csv", "r_squared"),
        ("other/nets.py:network", "house.csv", "r_squared"),
        ("mlp", "house.csv", "r_squared"),
    ):
        quprop("analyse", name, "--data", data, *BRIEF, "--json", "a.json")
        found = json.loads((tmp_path / "a.json").read_text())
        assert found["spectrum"]["operator"] == "double-backward" and not found["kinks"]
        assert found["versions"]["torch"] and found["versions"]["torch"] != "not installed"
        quprop("train", name, "--data", data, *SHORT, "--json", "t.json")
        found = json.loads((tmp_path / "t.json").read_text())
        assert found["metric"] == metric and found[metric] is not None and recognise(found) == "carleman_training"
        assert max(found["relative_error"]) < 1e-3
    out = quprop("train", "other/nets.py:house", "--data", "house.csv", *SHORT[:-1], "--plot", "t.png")[0]
    assert "R squared" in out and "mean squared error" in out and "accuracy" not in out


def test_kinks_are_analysed_with_their_caveat_and_not_trained(quprop, tmp_path, own):
    out = quprop("analyse", "other/nets.py:kinked", "--data", "house.csv", *BRIEF[:-1], "--json", "a.json")[0]
    assert "ReLU in layer '1'" in " ".join(out.split()) and "no expansion sees" in " ".join(out.split())
    found = json.loads((tmp_path / "a.json").read_text())
    assert found["kinks"] == ["ReLU in layer '1'"] and found.get("bound") is None
    assert "'1' is ReLU" in refused(quprop, "train", "other/nets.py:kinked", "--data", "house.csv")


def test_momentum_and_weight_decay_are_options_of_analyse(quprop, tmp_path, own):
    options = ["--momentum", 0.9, "--weight-decay", 0.25, "--json", "a.json"]
    quprop("analyse", "other/nets.py:network", "--data", "house.csv", *BRIEF, "--json", "own.json")
    quprop("analyse", "other/nets.py:network", "--data", "house.csv", *BRIEF, *options)
    before, found = (json.loads((tmp_path / f).read_text()) for f in ("own.json", "a.json"))
    assert found["momentum"] == 0.9 and before["momentum"] == 0
    assert found["spectrum"]["greatest"] - before["spectrum"]["greatest"] == pytest.approx(0.25 - 0.1, abs=1e-9)
    assert "momentum is from 0" in refused(quprop, "analyse", "mlp", *TINY, "--momentum", 1.5)
    assert "weight_decay is finite" in refused(quprop, "analyse", "mlp", *TINY, "--weight-decay", -1)


def test_bad_files_of_networks_get_one_sentence(quprop, tmp_path, own):
    (tmp_path / "broken.py").write_text("import nothing_of_this_name\n")
    (tmp_path / "wrong.py").write_text("def f(:\n")
    assert "there is no file 'nowhere.py'" in refused(quprop, "analyse", "nowhere.py:make")
    assert "could not be imported" in refused(quprop, "analyse", "broken.py:make")
    assert "could not be imported (SyntaxError" in refused(quprop, "analyse", "wrong.py:make")
    assert "did you mean 'tokens'" in refused(quprop, "analyse", "other/nets.py:token")
    assert "the network fails on inputs" in refused(quprop, "train", "other/nets.py:tokens", "--data", "house.csv")
    assert "the network fails on inputs" in refused(quprop, "analyse", "other/nets.py:tokens", "--data", "house.csv")
    assert "targets are numbers" in refused(quprop, "analyse", "logistic", "--data", "house.csv")
    assert "there is no data file" in refused(quprop, "analyse", "mlp", "--data", "nowhere.csv")


def layered(*layers):
    return f"import torch\nfrom torch import nn\ndef net():\n    return nn.Sequential({', '.join(layers)})\n"


DENSE = layered("nn.Linear(16, 3)", "nn.SiLU()", "nn.Linear(3, 3)")
CONVOLUTION = layered("nn.Conv2d(1, 2, 3)", "nn.Tanh()", "nn.Flatten()", "nn.Linear(8, 3)")
EMBEDDING = layered("nn.Embedding(4, 2)", "nn.Flatten()", "nn.Linear(32, 3)")
LAID = {  # the network, how the inputs lie, and the advice
    "images for a dense network": (DENSE, lambda x: x.reshape(-1, 4, 4), "x.reshape(len(x), -1)"),
    "pixels of 8 bits": (DENSE, lambda x: (9 * x).astype(np.uint8), "x.astype(float)"),
    "channels last": (CONVOLUTION, lambda x: x.reshape(-1, 4, 4, 1), "x.transpose(0, 3, 1, 2)"),
    "no channel": (CONVOLUTION, lambda x: x.reshape(-1, 4, 4), "x[:, None]"),
    "flat images": (CONVOLUTION, lambda x: x, "x.reshape(-1, 1, 4, 4)"),
    "floating words": (EMBEDDING, lambda x: np.floor(3 * np.abs(x) % 4), "x.astype(int)"),
}


@pytest.mark.parametrize("case", LAID)
def test_the_advice_on_inputs_that_a_network_does_not_take_is_followed_to_a_verdict(quprop, tmp_path, case):
    pytest.importorskip("torch")
    text, lay, advice = LAID[case]
    (tmp_path / "nets.py").write_text(text)
    x, y = lay(np.random.default_rng(0).normal(size=(24, 16)) ** 2), np.arange(24) % 3
    command = ("analyse", "nets.py:net", "--data", "d.npz", "--order", 1, "--lanczos", 4, "--longest", 3, "--quiet")
    np.savez(tmp_path / "d.npz", X=x, y=y)
    sentence = refused(quprop, *command)
    assert f"store the inputs as {advice}" in sentence
    np.savez(tmp_path / "d.npz", X=eval(advice, {"x": x, "len": len, "float": float, "int": int, "None": None}), y=y)
    quprop(*command)


TARGETS = {  # the network, its targets, what is said, and what mends it
    "floating classes": (DENSE, lambda y: y.astype(float), "y.astype(int)", {}),
    "one output": (
        DENSE.replace("3, 3)", "3, 1)"),
        lambda y: y % 2,
        "let the factory return (module, loss)",
        {"return nn.Sequential(": "return nn.Sequential(nn.Identity(), ", "nn.Linear(3, 1))": "nn.Linear(3, 1)), LOSS"},
    ),
}


@pytest.mark.parametrize("case", TARGETS)
def test_the_advice_on_targets_is_followed_to_a_verdict(quprop, tmp_path, case):
    pytest.importorskip("torch")
    text, targets, advice, change = TARGETS[case]
    x, y = np.random.default_rng(0).normal(size=(24, 16)), np.arange(24) % 3
    np.savez(tmp_path / "d.npz", x=x, y=targets(y))
    command = ("analyse", "nets.py:net", "--data", "d.npz", "--order", 1, "--lanczos", 4, "--longest", 3, "--quiet")
    (tmp_path / "nets.py").write_text(text)
    sentence = refused(quprop, *command)
    assert advice in sentence
    if "loss = " in sentence:
        change = change | {"LOSS": sentence.split("loss = ")[1].strip()}
        for old, new in change.items():
            text = text.replace(old, new)
        (tmp_path / "nets.py").write_text(text)
    else:
        np.savez(tmp_path / "d.npz", x=x, y=targets(y).astype(int))
    quprop(*command)


@pytest.mark.parametrize("kink, mend", [("nn.ReLU()", "nn.SiLU()"), ("nn.ELU()", "nn.Softplus()")])
def test_a_kink_is_refused_by_train_with_two_ways_on_that_work(quprop, tmp_path, kink, mend):
    pytest.importorskip("torch")
    x, y = np.random.default_rng(0).normal(size=(24, 16)), np.arange(24) % 3
    np.savez(tmp_path / "d.npz", x=x, y=y)
    (tmp_path / "nets.py").write_text(DENSE.replace("nn.SiLU()", kink))
    fast = ["--data", "d.npz", "--blocks", 1, "--block-length", 2, "--warm-up", 2, "--rate", 0.1, "--quiet"]
    sentence = refused(quprop, "train", "nets.py:net", *fast)
    assert mend.removeprefix("nn.").removesuffix("()") in sentence and "`quprop carleman analyse`" in sentence
    out = quprop("analyse", "nets.py:net", "--data", "d.npz", "--lanczos", 4, "--json", "a.json")[0]
    caveat = json.loads((tmp_path / "a.json").read_text())["spectrum"]["caveat"]
    assert "almost everywhere" in caveat and "almost everywhere: kinks carry no" in " ".join(out.split())
    (tmp_path / "nets.py").write_text(DENSE.replace("nn.SiLU()", mend))
    quprop("train", "nets.py:net", *fast)
    quprop("analyse", "nets.py:net", "--data", "d.npz", "--lanczos", 4, "--json", "a.json", "--quiet")
    assert json.loads((tmp_path / "a.json").read_text())["spectrum"].get("caveat") is None


@pytest.mark.parametrize("steps", [0, 30])
def test_an_analysis_says_where_it_stands_and_what_was_pruned_of_what(quprop, tmp_path, steps):
    torch = pytest.importorskip("torch")
    from quprop.carleman.networks import networks
    from quprop.carleman.networks.data import load
    from quprop.carleman.networks.plain import descend

    given = ["analyse", "mlp", *TINY, "--steps", steps, "--rate", 0.3, "--sparsity", 0.5, "--lanczos", 4]
    out = " ".join(quprop(*given, "--json", "a.json")[0].split())
    found = json.loads((tmp_path / "a.json").read_text())
    data = load("iris")
    network = networks.make("mlp", (4,), 3, seed=0, hidden=[4])
    network.set_parameters(descend(network, network.parameters(), [data.train()], steps, 0.3))
    (x, y), (tx, ty) = data.train(), data.test()
    with torch.no_grad():
        decay = network.weight_decay / 2 * float(network.parameters() @ network.parameters())
        loss = float(torch.nn.functional.cross_entropy(network.module(x), y)) + decay
        accuracy = float((network.module(tx).argmax(1) == ty).double().mean())
    assert found["point"]["loss"] == pytest.approx(loss, rel=1e-10) and found["point"]["plain_steps"] == steps
    assert found["point"]["accuracy"] == pytest.approx(accuracy)
    assert ("(--steps N trains first)" in out) == (steps == 0) and "random initial weights" in found["verdict"]
    assert f"loss {loss:.4g}, test accuracy {accuracy:.4f}" in out
    # 4 x 4 weights of the first layer may be pruned, half of them are; 12 of the last and 7 biases stay
    pruning = found["pruning"]
    assert (pruning["prunable"], pruning["pruned"], pruning["kept"], pruning["parameters"]) == (16, 8, 27, 35)
    assert sum(layer["kept"] for layer in pruning["layers"].values()) + sum(pruning["whole"].values()) == 27
    assert "kept 27 of 35 parameters (77.1 %): 50 % of the 16 weights that may be pruned are, as asked" in out


@pytest.mark.slow
def test_what_control_c_promises_of_a_run_is_kept(tmp_path):
    pytest.importorskip("torch")
    command = [
        sys.executable,
        "-c",
        "from quprop.cli import main; main()",
        "carleman",
        "train",
        "mlp",
        *TINY,
        "--blocks",
        6,
        "--block-length",
        30,
    ]
    command = [str(c) for c in (*command, "--rate", 0.1, "--warm-up", 20, "--quiet")]
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    process = subprocess.Popen([*command, "--out", cut], stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not (cut / "checkpoint.npz").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and said == "quprop: interrupted; continue with the same command and --resume\n"
    assert subprocess.run([*command, "--out", cut, "--resume"]).returncode == 0
    assert subprocess.run([*command, "--out", whole]).returncode == 0
    assert (cut / "training.json").read_bytes() == (whole / "training.json").read_bytes()
