"""Classical models whose gradient-descent step is a polynomial, or has its Taylor series in closed form.

| model | loss | degree of the step |
|---|---|---|
| `ridge_regression` | (1/2m) |X theta - y|^2 + (lambda/2) |theta|^2 | 1: the tower is exact at N = 1 |
| `ridge_logistic` | mean log(1 + exp z) - y z, z = X theta, + (lambda/2) |theta|^2 | analytic: a Taylor series |
| `matrix_factorisation` | (1/2) |U V - A|^2 | 3 |
| `quadratic_network` | (1/2m) |a · (W x)^2 - y|^2 | 5 |
| `deep_linear` | (1/2m) |W_L ... W_1 x - y|^2 | 2 L - 1 |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from quprop.arrays import checked
from quprop.carleman.maps.dynamics import PolynomialMap, check_vector, check_vectors
from quprop.carleman.maps.taylor import Series, concatenate, sigmoid_series
from quprop.errors import QupropError


class LinearModelMap(PolynomialMap):
    """Gradient descent on mean_i phi_i(x_i · theta) + (lambda/2) |theta|^2, expanded at ``at``.

    All jets are cheap: G_k[v_1..v_k] = -(eta/m) X^T (d_k * (X v_1) * ... * (X v_k)) with d_k the Taylor coefficients of
    phi' at the margins z = X at, plus (1 - eta lambda) v_1 for k = 1.
    """

    def __init__(
        self,
        x: np.ndarray,
        slope: Callable[[np.ndarray, int], np.ndarray],
        at: np.ndarray,
        order: int,
        degree: int | None,
        learning_rate: float,
        ridge: float,
    ) -> None:
        self.x, self.slope, self.at = x, slope, at
        self.learning_rate, self.ridge = learning_rate, ridge
        self.dimension, self.degree, self.order = x.shape[1], degree, order if degree is None else degree
        self.margins = x @ at
        self.coefficients = slope(self.margins, self.order)  # (order + 1, m): of phi' at the margins
        gradient = x.T @ self.coefficients[0] / len(x) + ridge * at
        self._constant = -learning_rate * gradient

    def constant(self) -> np.ndarray:
        return self._constant

    def series(self, path: np.ndarray) -> np.ndarray:
        top = len(path)
        if top > self.order and self.degree is None:
            self.coefficients, self.order = self.slope(self.margins, top), top
        z = path @ self.x.T  # (K, ..., m), orders 1..K
        composed = np.zeros((top + 1, *z.shape[1:]))  # Horner in z, cut at K
        for k in range(min(top, self.order), 0, -1):
            composed[0] += self.coefficients[k]
            grown = np.zeros_like(composed)
            for a in range(1, top + 1):
                grown[a:] += z[a - 1] * composed[: top + 1 - a]
            composed = grown
        out = composed @ self.x * (-self.learning_rate / len(self.x))
        out[0] = self._constant
        out[1:] += (1 - self.learning_rate * self.ridge) * path
        return np.asarray(out)

    def jet(self, k: int, vectors: Sequence[np.ndarray]) -> np.ndarray:
        check_vectors(k, vectors, self.dimension)
        if k == 0:
            return self._constant
        if k > self.order and self.degree is None:
            self.coefficients, self.order = self.slope(self.margins, k), k
        weight: Any = self.coefficients[k] if k <= self.order else np.zeros(len(self.x))
        for vector in vectors:
            weight = weight * (np.asarray(vector) @ self.x.T)
        out = weight @ self.x * (-self.learning_rate / len(self.x))
        return np.asarray(out + (1 - self.learning_rate * self.ridge) * np.asarray(vectors[0]) if k == 1 else out)

    def derivatives(self, k: int, monomials: np.ndarray) -> np.ndarray:
        basis = np.eye(self.dimension)
        pieces = np.array_split(monomials, max(1, len(monomials) * self.dimension // 500_000))
        return np.concatenate([self.jet(k, [basis[piece[:, leg]] for leg in range(k)]) for piece in pieces])

    def gradient(self, theta: np.ndarray) -> np.ndarray:
        """grad L at parameters (n,)."""
        return np.asarray(self.x.T @ self.slope(self.x @ theta, 0)[0] / len(self.x) + self.ridge * theta)

    def descend(self, u: np.ndarray) -> np.ndarray:
        return np.asarray(u - self.learning_rate * self.gradient(self.at + u))


def ridge_regression(
    x: np.ndarray, y: np.ndarray, *, learning_rate: float, ridge: float = 0.0, at: np.ndarray | None = None
) -> LinearModelMap:
    """Least squares with weight decay: x (m, n), y (m,). Degree 1."""
    x, y, at = _checked(x, y, at)

    def slope(z: np.ndarray, order: int) -> np.ndarray:
        out = np.zeros((max(order, 1) + 1, len(z)))
        out[0], out[1] = z - y, 1.0
        return out

    return LinearModelMap(x, slope, at, 1, 1, learning_rate, ridge)


def ridge_logistic(
    x: np.ndarray,
    y: np.ndarray,
    *,
    learning_rate: float,
    ridge: float = 0.0,
    at: np.ndarray | None = None,
    order: int = 4,
) -> LinearModelMap:
    """Logistic regression with weight decay: x (m, n), labels y (m,) of 0 and 1, expanded at ``at`` (default 0)."""
    x, y, at = _checked(x, y, at)
    if not np.all((y == 0) | (y == 1)):
        raise QupropError(f"labels of logistic regression are 0 and 1, got {np.unique(y)[:5].tolist()}")

    def slope(z: np.ndarray, top: int) -> np.ndarray:
        out = sigmoid_series(z, top)
        out[0] -= y
        return out

    return LinearModelMap(x, slope, at, order, None, learning_rate, ridge)


def minimum(model: LinearModelMap, *, tolerance: float = 1e-14, attempts: int = 100) -> np.ndarray:
    """The parameters (n,) where grad L = 0, by damped Newton steps on the samples' side (m unknowns, not n).

    With H = X^T D X / m + lambda I, H^-1 g is formed by the Woodbury identity. Needs lambda > 0.
    """
    if model.ridge <= 0:
        raise QupropError(f"a minimum to expand at needs ridge > 0, got {model.ridge}: without it there may be none")
    x, m, theta = model.x, len(model.x), model.at.copy()
    kernel = x @ x.T / (m * model.ridge)
    gradient = model.gradient(theta)
    for _ in range(attempts):
        size = float(np.linalg.norm(gradient))
        if size <= tolerance * max(1.0, float(np.linalg.norm(theta))):
            break
        curvature = model.slope(x @ theta, 1)[1]
        inner = np.linalg.solve(np.eye(m) + curvature[:, None] * kernel, curvature * (x @ gradient))
        direction = (gradient - x.T @ inner / (m * model.ridge)) / model.ridge
        length = 1.0
        while length > 1e-6:
            trial = model.gradient(theta - length * direction)
            if np.linalg.norm(trial) < size:
                theta, gradient = theta - length * direction, trial
                break
            length /= 2
        else:  # rounding is all that is left
            break
    return theta


class GradientMap(PolynomialMap):
    """u -> u - eta grad L(at + u) for a gradient written in `Series` arithmetic, expanded at ``at``."""

    def __init__(
        self,
        gradient: Callable[[Any], Any],
        at: np.ndarray,
        degree: int,
        learning_rate: float,
        weight_decay: float = 0.0,
    ) -> None:
        self.gradient, self.at = gradient, at
        self.dimension, self.degree, self.order = len(at), degree, degree
        self.learning_rate, self.weight_decay = learning_rate, weight_decay

    def series(self, path: np.ndarray) -> np.ndarray:
        path = np.asarray(path, dtype=float)
        whole = np.concatenate([np.zeros((1, *path.shape[1:])), path])
        out = np.empty_like(whole)
        batch = whole.shape[1:-1]
        for index in np.ndindex(*batch):
            each = (slice(None), *index)
            theta = whole[each].copy()
            theta[0] += self.at
            slope = self.gradient(Series(theta)).coefficients + self.weight_decay * theta
            out[each] = whole[each] - self.learning_rate * slope
        return out

    def descend(self, u: np.ndarray) -> np.ndarray:
        theta = (self.at + u)[None]
        return np.asarray(
            u - self.learning_rate * (self.gradient(Series(theta)).coefficients + self.weight_decay * theta)[0]
        )


def matrix_factorisation(
    target: np.ndarray, rank: int, *, learning_rate: float, at: np.ndarray | None = None, weight_decay: float = 0.0
) -> GradientMap:
    """(1/2) |U V - A|^2 with A (a, b); theta is U (a, rank), then V (rank, b), row by row. Degree 3."""
    target = checked("`target`", target, ("a", "b"))
    if rank < 1:
        raise QupropError(f"rank must be at least 1, got {rank}")
    a, b = target.shape

    def gradient(theta: Series) -> Series:
        u, v = theta[: a * rank].reshape(a, rank), theta[a * rank :].reshape(rank, b)
        residual = u @ v - target
        return concatenate([(residual @ v.T).reshape(-1), (u.T @ residual).reshape(-1)])

    return GradientMap(gradient, _point(at, rank * (a + b)), 3, learning_rate, weight_decay)


def quadratic_network(
    x: np.ndarray,
    y: np.ndarray,
    width: int,
    *,
    learning_rate: float,
    at: np.ndarray | None = None,
    weight_decay: float = 0.0,
) -> GradientMap:
    """f = sum_h a_h (w_h · x)^2, square loss (1/2m) sum (f - y)^2; theta is W (width, d), then a (width,). Degree 5."""
    x, y, _ = _checked(x, y, None)
    m, d = x.shape

    def gradient(theta: Series) -> Series:
        w, a = theta[: width * d].reshape(width, d), theta[width * d :]
        hidden = x @ w.T  # (m, width)
        squares = hidden * hidden
        residual = ((squares @ a.reshape(width, 1)).reshape(m) - y) * (1 / m)
        inward = residual.reshape(m, 1) * hidden * a.reshape(1, width) * 2.0
        return concatenate([(inward.T @ x).reshape(-1), residual @ squares])

    return GradientMap(gradient, _point(at, width * (d + 1)), 5, learning_rate, weight_decay)


def deep_linear(
    x: np.ndarray,
    y: np.ndarray,
    widths: Sequence[int],
    *,
    learning_rate: float,
    at: np.ndarray | None = None,
    weight_decay: float = 0.0,
) -> GradientMap:
    """f = W_L ... W_1 x, square loss (1/2m) sum |f - y|^2, x (m, d), y (m, e), hidden ``widths``. Degree 2 L - 1."""
    x = checked("x", x, ("m", "d"))
    y = checked("y", y, (len(x), "e"))
    sizes = [x.shape[1], *widths, y.shape[1]]
    shapes = [(sizes[i + 1], sizes[i]) for i in range(len(sizes) - 1)]
    edges = np.concatenate([[0], np.cumsum([p * q for p, q in shapes])])

    def gradient(theta: Series) -> Series:
        layers = [theta[edges[i] : edges[i + 1]].reshape(*shape) for i, shape in enumerate(shapes)]
        signals: list[Any] = [x]
        for layer in layers:
            signals.append(signals[-1] @ layer.T)
        back = (signals[-1] - y) * (1 / len(x))
        slopes = []
        for i in range(len(layers) - 1, -1, -1):
            slopes.append((back.T @ signals[i]).reshape(-1))
            back = back @ layers[i]
        return concatenate(slopes[::-1])

    return GradientMap(gradient, _point(at, int(edges[-1])), 2 * len(shapes) - 1, learning_rate, weight_decay)


def _point(at: np.ndarray | None, n: int) -> np.ndarray:
    return np.zeros(n) if at is None else check_vector(at, n, "at")


def _checked(x: np.ndarray, y: np.ndarray, at: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x = checked("samples x", x, ("m", "n"))
    return x, checked("targets y", y, (len(x),)), _point(at, x.shape[1])
