"""Data for classical networks: shapes, both published formats of CIFAR, and what is said of data that is not there."""

import pickle
import sys

import numpy as np
import pytest

from quprop.carleman.networks import data as datasets
from quprop.carleman.networks import networks
from quprop.errors import QupropError


@pytest.mark.parametrize("name, shape, classes", [("digits", (1, 8, 8), 10), ("wine", (13,), 3), ("iris", (4,), 3)])
def test_shipped_data_have_their_shapes(name, shape, classes):
    data = datasets.load(name)
    assert data.input_shape == shape and data.classes == classes
    assert np.all(np.bincount(data.y_train) > 0) and len(data.first(train=20).y_train) == 20


def test_digits_in_the_shape_of_cifar_are_the_same_images():
    small, large = datasets.load("digits"), datasets.load("digits32")
    assert large.x_train.shape[1:] == (3, 32, 32) and large.x_train.dtype == np.float32
    blocks = large.x_test.reshape(-1, 3, 8, 4, 8, 4)
    assert np.ptp(blocks, axis=(1, 3, 5)).max() == 0
    assert np.array_equal(blocks[:, 1, :, 2, :, 3], small.x_test[:, 0]) and np.array_equal(large.y_test, small.y_test)


def test_glyphs_are_a_hundred_characters_alike_for_a_seed():
    from quprop.carleman.networks.glyphs import CHARACTERS, glyphs

    assert len(set(CHARACTERS)) == 100
    made, again, other = glyphs(200, 100), glyphs(200, 100), glyphs(200, 100, seed=1)
    assert made["x_train"].shape == (200, 3, 32, 32) and made["x_train"].dtype == np.float32
    assert np.all(np.bincount(made["y_train"]) == 2) and np.all(np.bincount(made["y_test"]) == 1)
    assert all(np.array_equal(made[k], again[k]) for k in made)
    assert not np.array_equal(made["x_train"], other["x_train"])
    assert np.abs(made["x_train"]).max() <= 1 and made["x_train"].std((1, 2, 3)).min() > 0.2  # something is drawn
    # One class, many images: two of a class are nearer than two of different ones, in the mean
    large = glyphs(2000, 100)
    means = np.stack([large["x_train"][large["y_train"] == c].mean((0, 1)).ravel() for c in range(100)])
    guess = [np.argmin(((x.mean(0).ravel() - means) ** 2).sum(1)) for x in large["x_test"]]
    assert np.mean(guess == large["y_test"]) > 0.25


def test_glyphs_ask_for_fonts_with_all_characters(tmp_path):
    with pytest.raises(QupropError, match="fonts of a folder"):
        datasets.load("glyphs", folder=tmp_path / "none")
    (tmp_path / "no.ttf").write_bytes(b"not a font")
    with pytest.raises(QupropError, match="has no font"):
        datasets.load("glyphs", folder=tmp_path)


def test_tensors_have_the_precision_asked_for():
    torch = pytest.importorskip("torch")
    x, y = datasets.load("iris").first(test=5).test("single")
    assert x.shape == (5, 4) and x.dtype == torch.float32 and y.dtype == torch.int64
    assert datasets.load("iris").train()[0].dtype == torch.float64


def cifar_files(folder, name, version, rng):
    """CIFAR's layout with 3 random images a file, written by this test from the published description."""
    inner, train, test = datasets.FILES[name][version]
    (folder / inner).mkdir()
    images, fine = [], []
    for file in train + test:
        pixels = rng.integers(256, size=(3, 3072), dtype=np.uint8)
        coarse, labels = rng.integers(10, size=3), rng.integers(10 if name == "cifar10" else 100, size=3)
        if version == "python":
            keys = {b"labels": labels.tolist()}
            if name == "cifar100":
                keys = {b"fine_labels": labels.tolist(), b"coarse_labels": coarse.tolist()}
            content = pickle.dumps({b"data": pixels, b"batch_label": b"x", **keys}, protocol=2)
        else:
            columns = [labels] if name == "cifar10" else [coarse, labels]
            content = np.column_stack([*columns, pixels]).astype(np.uint8).tobytes()
        (folder / inner / file).write_bytes(content)
        images.append(pixels)
        fine.append(labels)
    return np.concatenate(images), np.concatenate(fine)


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("version", ["python", "binary"])
@pytest.mark.parametrize("name", datasets.CIFAR)
def test_cifar_is_read_in_both_published_formats(tmp_path, name, version, inside):
    images, labels = cifar_files(tmp_path, name, version, np.random.default_rng(1))
    folder = tmp_path / datasets.FILES[name][version][0] if inside else tmp_path
    data = datasets.load(name, folder=folder)
    assert np.array_equal(np.concatenate([data.y_train, data.y_test]), labels)
    green = images[:, 1024 + 32 * 5 + 7] / 255  # green channel, row 5, column 7
    found = np.concatenate([data.x_train, data.x_test])[:, 1, 5, 7]
    assert np.allclose(found, (green - 0.4822) / 0.1994, atol=1e-5)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda p: datasets.load("digit"), "did you mean 'digits'"),
        (lambda p: datasets.load("cifar10"), "give its path"),
        (lambda p: datasets.load("cifar100", folder=p), "does not hold cifar100: expected 'cifar-100-python'"),
        (lambda p: datasets.load("cifar10", folder=p / "none"), "is no folder"),
        (lambda p: datasets.load("digits", folder=p), "takes no folder"),
        (lambda p: datasets.load("wine").first(train=1000), "from 1 to 133"),
        (lambda p: next(datasets.batches(np.ones(3), np.ones(3), 4, np.random.default_rng(0))), "batch size is from 1"),
    ],
)
def test_data_that_is_not_there_gets_one_sentence(tmp_path, call, message):
    with pytest.raises(QupropError, match=message):
        call(tmp_path)


class Evil:
    def __reduce__(self):
        return (print, ("a pickle ran code",))


@pytest.mark.parametrize("content", [b"", b"\x80\x02nonsense", pickle.dumps({b"data": Evil()})])
def test_a_damaged_or_foreign_pickle_is_refused_and_not_run(tmp_path, content, capsys):
    cifar_files(tmp_path, "cifar10", "python", np.random.default_rng(1))
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").write_bytes(content)
    with pytest.raises(QupropError, match="is not the published pickle"):
        datasets.load("cifar10", folder=tmp_path)
    assert capsys.readouterr().out == ""


def test_a_missing_or_cut_file_is_named(tmp_path):
    cifar_files(tmp_path, "cifar10", "binary", np.random.default_rng(1))
    path = tmp_path / "cifar-10-batches-bin" / "data_batch_2.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(QupropError, match=r"data_batch_2.bin' is damaged"):
        datasets.load("cifar10", folder=tmp_path)
    path.unlink()
    with pytest.raises(QupropError, match=r"data_batch_2.bin' is missing"):
        datasets.load("cifar10", folder=tmp_path)


def test_batches_visit_every_sample_once_an_epoch():
    x = np.arange(10)
    source = datasets.batches(x, x, 5, np.random.default_rng(0))
    seen = [np.concatenate([next(source)[0] for _ in range(2)]) for _ in range(3)]
    assert all(np.array_equal(np.sort(s), x) for s in seen)
    assert not np.array_equal(seen[0], seen[1])


def test_without_torch_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(QupropError, match=r"needs PyTorch, which is not installed: pip install 'quprop\[torch\]'"):
        networks.make("mlp", (1, 8, 8), 10, seed=0)
