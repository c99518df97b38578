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


@pytest.mark.slow
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
    with pytest.raises(QupropError, match=r"needs PyTorch, which is not installed: pip install 'torch>="):
        networks.make("mlp", (1, 8, 8), 10, seed=0)


# Files of the user


def write_csv(path, header, rows):
    path.write_text("\n".join(",".join(str(cell) for cell in row) for row in [header, *rows]) + "\n")
    return str(path)


def numbers(samples=20):
    rng = np.random.default_rng(0)
    return rng.normal(size=(samples, 2)), rng.normal(size=samples)


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("name", ["target", "Label", "y"])
def test_csv_rows_stay_together_wherever_the_target_stands(tmp_path, place, name):
    x, _ = numbers()
    y = x @ [2.0, -3.0]  # a sample is told by its target
    columns = [[repr(float(v)) for v in column] for column in (*x.T, y)]
    header = ["a", "b"]
    columns.insert(place, columns.pop())
    header.insert(place, name)
    data = datasets.load(write_csv(tmp_path / "d.csv", header, zip(*columns, strict=True)))
    assert data.classes == 0 and data.outputs == 1 and (len(data.x_train), len(data.x_test)) == (15, 5)
    for inputs, targets in ((data.x_train, data.y_train), (data.x_test, data.y_test)):
        assert np.allclose(inputs @ [2.0, -3.0], targets, atol=1e-12)
    found = np.concatenate([data.x_train, data.x_test])
    assert np.array_equal(np.sort(found, axis=0), np.sort(x, axis=0))
    again = datasets.load(str(tmp_path / "d.csv"))
    assert np.array_equal(again.x_test, data.x_test)


@pytest.mark.parametrize("labels", [["dog", "cat", "eel"], [7, -1, 30], [" 2", "0", "1 "]])
def test_csv_labels_become_classes_in_ascending_order(tmp_path, labels):
    rows = [(float(i % 3), labels[i % 3]) for i in range(24)]
    data = datasets.load(write_csv(tmp_path / "d.csv", ["x", "species"], rows))
    assert data.classes == 3 and data.y_train.dtype == np.int64
    values = [label.strip() if isinstance(label, str) else label for label in labels]
    order = sorted(values, key=lambda v: int(v) if str(v).lstrip("-").isdigit() else v)
    for inputs, targets in ((data.x_train, data.y_train), (data.x_test, data.y_test)):
        assert [order[t] for t in targets] == [values[int(v)] for v in inputs[:, 0]]
    assert np.array_equal(np.bincount(data.y_test), [2, 2, 2])  # split class by class


def test_npz_parts_are_taken_as_they_are_and_tokens_stay_whole(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.integers(9, size=(12, 4)), rng.integers(1, 4, size=12)
    y[:3] = [1, 2, 3]
    np.savez(tmp_path / "parts.npz", x_train=x[:8], y_train=y[:8], x_test=x[8:], y_test=y[8:], more=y)
    data = datasets.load(str(tmp_path / "parts.npz"))
    assert data.x_train.dtype == np.int64 and np.array_equal(data.x_test, x[8:])
    assert np.array_equal(data.y_train, y[:8] - 1) and data.classes == 3
    np.savez(tmp_path / "whole.npz", x=x.astype(np.float32), y=rng.normal(size=(12, 2)))
    whole = datasets.load(str(tmp_path / "whole.npz"))
    assert whole.classes == 0 and whole.outputs == 2 and len(whole.x_test) == 3
    torch = pytest.importorskip("torch")
    assert data.train("single")[0].dtype == torch.int64 and whole.train("single")[1].dtype == torch.float32
    shaped = whole.like(networks.make("mlp", (4,), 2, seed=0, regression=True))
    assert shaped.y_train.shape == (9, 2)


BAD_CSV = {
    "": "must have a header and samples, got 0 lines",
    "a,b\n": "got 1 line",
    "1,2\n3,4\n": "first line .* must be a header with names",
    "a\n1\n": "must name two columns at least",
    "a,a\n1,2\n": "all different",
    "a,b\n1,2\n3\n": "line 3 of .* has 1 cells, the header 2",
    "a,b\n1,2\nred,3\n": "column 'a' on line 3 of .* is 'red': inputs must be numbers",
    "a,b\n1,2\n,3\n": "column 'a' on line 3 of .* is ''",
    "a,b\n1,2\n3,\n": "the target 'b' on line 3 .* is empty",
    "a,b\n1,2\nnan,3\n": "not finite",
    "a,b\n1,inf\n2,0.5\n": "y_train of .* must be finite",
    "target,y\n1,2\n3,4\n": "has 2 target columns",
    "a,b\n1,2\n3,2\n4,2\n5,2\n": "two classes at least",
    "a,b\n1,0.5\n2,0.25\n": "2 samples, and four at least",
    'a,b\n1,"2\n': "no readable .csv",
}


@pytest.mark.parametrize("content", BAD_CSV)
def test_a_malformed_csv_gets_one_sentence(tmp_path, content):
    (tmp_path / "d.csv").write_text(content)
    with pytest.raises(QupropError, match=BAD_CSV[content]):
        datasets.load(str(tmp_path / "d.csv"))


BAD_NPZ = {
    "must hold x and y": {"z": np.ones(3)},
    "must hold x and y, or": {"x": np.ones((4, 1)), "y": np.arange(4), "x_train": np.ones((4, 1))},
    "lacks y$": {"x": np.ones((4, 1))},
    "lacks x$": {"y": np.arange(4)},
    "lacks y_train$": {"x_train": np.ones((4, 1))},
    "lacks x_test$": {"x_train": np.ones((4, 1)), "y_train": np.arange(4), "y_test": np.arange(4)},
    "has 4 samples in x_train and 3 in y_train": {"x": np.ones((4, 1)), "y": np.arange(3)},
    r"must have shape \(samples, \.\.\.\)": {"x": np.ones(4), "y": np.arange(4)},
    "must be real numbers, got complex128": {"x": np.ones((4, 1), complex), "y": np.arange(4)},
    "must be whole numbers or text": {"x": np.ones((4, 1)), "y": np.ones(4, complex)},
    r"are classes and must have shape \(samples,\)": {"x": np.ones((4, 1)), "y": np.ones((4, 2), int)},
    "plain arrays": {"x": np.array([{}]), "y": np.arange(1)},
    "training inputs of shape .* and test inputs": {
        "x_train": np.ones((4, 1)),
        "y_train": np.arange(4),
        "x_test": np.ones((4, 2)),
        "y_test": np.arange(4),
    },
}


@pytest.mark.parametrize("words", BAD_NPZ)
def test_a_malformed_npz_gets_one_sentence(tmp_path, words):
    np.savez(tmp_path / "d.npz", **BAD_NPZ[words])
    with pytest.raises(QupropError, match=words):
        datasets.load(str(tmp_path / "d.npz"))


def test_files_that_are_none_get_one_sentence(tmp_path):
    (tmp_path / "d.npz").write_bytes(b"PK\x03\x04 nonsense")
    (tmp_path / "e.npz").write_bytes(b"")
    (tmp_path / "d.csv").write_bytes(b"a,b\n\xff\xfe,1\n")
    for name in ("d.npz", "e.npz", "d.csv"):
        with pytest.raises(QupropError, match="no readable"):
            datasets.load(str(tmp_path / name))
    with pytest.raises(QupropError, match="there is no data file"):
        datasets.load(str(tmp_path / "missing.csv"))
    with pytest.raises(QupropError, match="takes no folder"):
        datasets.load(str(tmp_path / "d.csv"), folder=tmp_path)


NAMES = [
    {"X": "x", "y": "y"},
    {"data": "x", "target": "y"},
    {"features": "x", "labels": "y"},
    {"x": "x", "Labels": "y"},
    {"images": "x", "target": "y", "target_names": "y"},
]


@pytest.mark.parametrize("names", NAMES)
def test_arrays_under_other_usual_names_are_read_as_x_and_y(tmp_path, names):
    rng = np.random.default_rng(0)
    arrays = {"x": rng.normal(size=(12, 3)), "y": np.arange(12) % 3}
    np.savez(tmp_path / "plain.npz", **arrays)
    np.savez(tmp_path / "named.npz", **{name: arrays[role] for name, role in names.items()})
    plain, named = (datasets.load(str(tmp_path / f"{f}.npz")) for f in ("plain", "named"))
    for part in ("x_train", "y_train", "x_test", "y_test"):
        assert np.array_equal(getattr(plain, part), getattr(named, part))


@pytest.mark.parametrize("name", ["X_{}", "{}_images", "inputs_{}", "x_{}"])
def test_parts_under_other_usual_names_stay_parts(tmp_path, name):
    x, y = np.random.default_rng(0).normal(size=(8, 2)), np.arange(8) % 2
    parts = {"train": slice(0, 6), "test": slice(6, 8)}
    labels = "{}_labels" if name.startswith("{}") else "y_{}"
    arrays = {n.format(p): a[i] for p, i in parts.items() for n, a in ((name, x), (labels, y))}
    np.savez(tmp_path / "d.npz", **arrays)
    data = datasets.load(str(tmp_path / "d.npz"))
    assert np.array_equal(data.x_train, x[:6]) and np.array_equal(data.y_test, y[6:])


def test_arrays_called_x_and_y_go_before_others_and_two_of_a_kind_are_refused(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(8, 2)), np.arange(8) % 2
    np.savez(tmp_path / "d.npz", x=x, y=y, data=x + 1, X=x + 2)
    data = datasets.load(str(tmp_path / "d.npz"))
    assert np.isin(data.x_train, x).all()
    np.savez(tmp_path / "d.npz", data=x, images=x, target=y)
    with pytest.raises(QupropError, match=r"holds inputs twice, 'data' and 'images': keep one, called x$"):
        datasets.load(str(tmp_path / "d.npz"))


@pytest.mark.parametrize("kind", [float, np.float32, int, bool])
def test_one_hot_rows_and_columns_of_classes_are_classes(tmp_path, kind):
    x, y = np.random.default_rng(0).normal(size=(12, 2)), np.arange(12) % 3
    np.savez(tmp_path / "plain.npz", x=x, y=y)
    np.savez(tmp_path / "hot.npz", x=x, y=np.eye(3)[y].astype(kind))
    np.savez(tmp_path / "column.npz", x=x, y=y[:, None])
    plain, hot, column = (datasets.load(str(tmp_path / f"{f}.npz")) for f in ("plain", "hot", "column"))
    assert hot.classes == column.classes == 3 and hot.y_train.dtype == np.int64
    for data in (hot, column):
        assert np.array_equal(data.y_train, plain.y_train) and np.array_equal(data.y_test, plain.y_test)


@pytest.mark.parametrize("rows", [[[1.0, 0.0], [0.5, 0.5]] * 6, [[1.0, 1.0], [0.0, 1.0]] * 6, [[1.0], [0.0]] * 6])
def test_rows_that_are_not_one_hot_stay_numbers(tmp_path, rows):
    np.savez(tmp_path / "d.npz", x=np.ones((12, 1)), y=np.array(rows))
    assert datasets.load(str(tmp_path / "d.npz")).classes == 0
