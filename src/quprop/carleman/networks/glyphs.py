"""A hundred classes of small images, made here: characters drawn from real fonts, turned, sheared and moved.

It stands in for CIFAR-100, of whose shape and size of problem it is (3 x 32 x 32, 100 classes), where that is not at
hand; its images are not photographs, and results on it say so. Fonts are those that Matplotlib ships (DejaVu and STIX,
which Debian ships as fonts-dejavu and fonts-stix), so that every machine makes the same characters, or all of a folder
of the user (such as /usr/share/fonts) that have all hundred.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from quprop.errors import QupropError

CHARACTERS = (
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"  # 62
    "ΓΔΘΛΞΠΣΦΨΩαβγδεζηθλμξπσφψω"  # 26
    "БДЖЗИЛЦЧШЭЮЯ"  # 12
)
SIDE = 32
DRAWN = 96  # pixels at which a character is drawn before it is turned and made small


def glyphs(train: int, test: int, *, folder: str | Path | None = None, seed: int = 0) -> dict[str, np.ndarray]:
    """x_train (train, 3, 32, 32) float32, y_train (train,) int64, x_test, y_test; pixels from -1 to 1.

    Every image: one character of one font, turned by up to 10 degrees, scaled by 0.9 to 1.15, sheared by up to 0.1 and
    moved by up to 2 pixels (all uniform), white on black in three channels, each with Gaussian noise of deviation 0.05.
    Classes take turns, so that all are as frequent.
    """
    rng = np.random.default_rng(seed)
    faces = [_drawn(path) for path in _fonts(folder)]
    # A font of last resort draws one box for many characters.
    table = np.stack([face for face in faces if len(np.unique(face.reshape(len(face), -1), axis=0)) == len(face)])
    parts: dict[str, np.ndarray] = {}
    for name, count in (("train", train), ("test", test)):
        classes = rng.permutation(np.arange(count) % len(CHARACTERS))
        parts[f"x_{name}"] = _images(table, classes, rng)
        parts[f"y_{name}"] = classes.astype(np.int64)
    return parts


def _images(table: np.ndarray, classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    from scipy.ndimage import affine_transform

    out = np.empty((len(classes), 3, SIDE, SIDE), np.float32)
    centre, middle = (DRAWN - 1) / 2, (SIDE - 1) / 2
    for i, c in enumerate(classes):
        angle, shear = np.deg2rad(rng.uniform(-10, 10)), rng.uniform(-0.1, 0.1)
        scale, shift = rng.uniform(0.9, 1.15), rng.uniform(-2, 2, 2)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix = turn @ np.array([[1.0, shear], [0.0, 1.0]]) * (DRAWN / SIDE / scale)
        face = table[rng.integers(len(table)), c]
        ink = affine_transform(face, matrix, centre - matrix @ (middle + shift), (SIDE, SIDE), order=1)
        image = 2 * ink - 1 + 0.05 * rng.standard_normal((3, SIDE, SIDE))
        out[i] = np.clip(image, -1, 1)
    return out


def _fonts(folder: str | Path | None) -> list[Path]:
    """The files of fonts with all characters, by name."""
    import matplotlib
    from matplotlib.ft2font import FT2Font

    root = Path(matplotlib.get_data_path()) / "fonts" / "ttf" if folder is None else Path(folder)
    if not root.is_dir():
        raise QupropError(f"glyphs are drawn with the fonts of a folder, and {str(folder)!r} is none")
    found = []
    for path in sorted(p for p in root.rglob("*") if p.suffix.lower() in (".ttf", ".otf")):
        try:
            known: Any = FT2Font(str(path)).get_charmap()
        except (RuntimeError, OSError):
            continue  # no font, whatever its name says
        if all(ord(c) in known for c in CHARACTERS):
            found.append(path)
    if not found:
        raise QupropError(
            f"{str(root)!r} has no font (.ttf, .otf) with all {len(CHARACTERS)} characters of the glyphs: Latin, Greek "
            "and Cyrillic; fonts-dejavu has them"
        )
    return found


def _drawn(path: Path) -> np.ndarray:
    """Every character as ink (characters, DRAWN, DRAWN) from 0 to 1, in the middle of its square."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.truetype(str(path), round(0.7 * DRAWN))
    out = np.empty((len(CHARACTERS), DRAWN, DRAWN), np.float32)
    for i, c in enumerate(CHARACTERS):
        image = Image.new("L", (DRAWN, DRAWN))
        ImageDraw.Draw(image).text((DRAWN / 2, DRAWN / 2), c, 255, font, anchor="mm")
        out[i] = np.asarray(image, np.float32) / 255
    return out
