"""Diversity volume: the determinant of a kernel on the chosen players."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np

from shapley_kernels.arrays import NUMPY, Array, compute_dtype, eps, in_row
from shapley_kernels.games.base import Game
from shapley_kernels.games.data import live_entries
from shapley_kernels.games.multilinear import product_tables, products_by_size
from shapley_kernels.games.term import AnyLauncher, Term
from shapley_kernels.values import Semivalue


class Volume(Game):
    """v(S) = det((I + L)_S), v(empty) = 1: large when the players of S are good and differ from each other.

    With L = Q diag(lam) Q^T, phi_i = sum_k Q_ik^2 c_k, where c are the credits of the product game of x = lam.

    Args:
        kernel: [..., players, players], L symmetric and positive semidefinite, both up to rounding to its dtype (it is
            taken as (L + L^T) / 2, with eigenvalues that float64 does not tell from 0 as 0); singular ones are fine.
        mask: [..., players] bool, True = live; None = all live. Rows and columns of masked players are never read.

    Raises:
        TypeError, ValueError: arrays of the wrong kind or shape; on the CPU, kernels that are not symmetric (here), or
            not positive semidefinite (when credits are computed; on a GPU such a game gets NaN).
        OverflowError: on the CPU, credits: det(I + L) of a row is larger than the dtype holds.

    Cost: O(players^3) per row, one eigendecomposition in float64 whatever the dtype.
    Error: (20 n^2 |L| + 20 n) 2.2e-16 times the determinants that meet in a credit (`VolumeTerm.error_bound`), |L| the
        largest eigenvalue; and a rounding to the dtype. Gradients need distinct eigenvalues.
    Source: determinantal point processes, Kulesza and Taskar (2012), arXiv 1207.6083; for the multilinear extension,
        Owen (1972), doi:10.1287/mnsc.18.5.64.
    """

    arguments: ClassVar[dict[str, Any]] = {"kernel": (-2, -1)}

    def __init__(self, kernel: Any, mask: Any = None) -> None:
        self.kernel = self._read("kernel", kernel, "[..., players, players]", mask)
        shape = tuple(self.kernel.shape)
        if shape[-1] != shape[-2]:
            raise ValueError(f"Volume: kernel must have shape [..., players, players], got {shape}")
        if self._can_be_looked_at(self.kernel):
            self._check_symmetric()

    def _check_symmetric(self) -> None:
        kernel = self.ops.to_float64(self.kernel)
        live = live_entries(None if self.mask is None else self.ops.to_host(self.mask), (-2, -1), kernel)
        known = np.isfinite(kernel) if live is None else np.isfinite(kernel) & live
        kernel = np.where(known & np.swapaxes(known, -1, -2), kernel, 0.0)
        size = np.abs(kernel).max(axis=(-1, -2), keepdims=True, initial=0.0)
        bad = np.abs(kernel - np.swapaxes(kernel, -1, -2)) > rounding(self) * size
        where = NUMPY.first_true(bad)
        if where is not None:
            there = (*where[:-2], where[-1], where[-2])
            raise ValueError(
                f"Volume: kernel must be symmetric, got {kernel[where]} at {list(where)} and {kernel[there]} at "
                f"{list(there)}; pass (kernel + kernel transposed) / 2 if that is what is meant"
            )

    @classmethod
    def example(cls, rng: "np.random.Generator", rows: int, players: int) -> dict[str, Any]:
        """Gram matrices of small integer vectors, exact in every dtype; singular ones, twins and null players."""
        vectors = rng.integers(-2, 3, (rows, players, max(1, min(players, 3)))) / 2
        vectors[:, :1][::2] = 0.0
        return {"kernel": vectors @ np.swapaxes(vectors, -1, -2) / 4}

    def terms(self, value: Semivalue) -> list[Term]:
        return [VolumeTerm(self, value)]

    def _exact_worth(self, row: int) -> Callable[[list[int]], Fraction]:
        kernel = self.in_rows(self.kernel)[row]
        return lambda members: _determinant(
            [[Fraction(float(kernel[i, j])) + (i == j) for j in members] for i in members]
        )

    def _worth(self, members: Array) -> Array:
        ops, xp, double = self.ops, self.ops.xp, self.ops.dtype("float64")
        inside = members[..., :, None] & members[..., None, :]
        kernel = xp.where(inside, ops.cast(self.kernel, double), 0.0)
        return self.wide(xp.linalg.det(kernel + ops.array_like(np.eye(self.players), kernel, double)))


def rounding(game: Volume) -> float:
    """How much of the largest entry (times sqrt n: of the largest eigenvalue) rounding of the kernel may explain."""
    return 8 * eps(game.given_dtype) * max(1, game.players) ** 0.5


def _determinant(matrix: list[list[Fraction]]) -> Fraction:
    """By elimination, of a positive definite matrix."""
    result = Fraction(1)
    for k, pivot in enumerate(matrix):
        result *= pivot[k]
        for i in range(k + 1, len(matrix)):
            factor = matrix[i][k] / pivot[k]
            matrix[i] = [x - factor * y for x, y in zip(matrix[i], pivot, strict=True)]
    return result


@dataclass(frozen=True, eq=False)
class VolumeTerm(Term):
    """The `multilinear` primitive on the eigenvalues, spread by the squares of the eigenvectors."""

    def credits(self, launch: AnyLauncher) -> Array:
        game, n = self.game, self.game.players
        lam, vectors, mask = self._spectrum()
        self._check_range(lam, launch.dtype)
        tables = product_tables(self.value, n, game.live_counts(self.value), -self.scale)
        credits = launch("multilinear", (-lam, mask), tables, tuple(lam.shape), lam.dtype)  # [rows, n]
        credits = (vectors * vectors * credits[:, None, :]).sum(-1)
        if game.mask is not None:
            credits = game.ops.xp.where(game.mask.reshape(-1, n), credits, 0.0)
        return game.ops.cast(credits, launch.dtype).reshape((*game.batch_shape, n))

    def _spectrum(self) -> tuple[Array, Array, Array | None]:
        """Eigenvalues [rows, players] of the live players, eigenvectors, and which eigenvalues these are: masked
        players become eigenvalues of their own, below all others."""
        game, n = self.game, self.game.players
        ops, xp = game.ops, game.ops.xp
        kernel = ops.cast(game.kernel, ops.dtype("float64")).reshape(-1, n, n)
        mask = None if game.mask is None else game.mask.reshape(-1, n)
        if mask is not None:
            kernel = xp.where(mask[:, :, None] & mask[:, None, :], kernel, 0.0)
        usable = xp.isfinite(kernel).reshape(-1, n * n).all(-1)  # [rows]; the others get NaN later
        kernel = xp.where(usable[:, None, None], kernel, 0.0)
        kernel = kernel / 2 + xp.swapaxes(kernel, 1, 2) / 2
        size = xp.amax(xp.abs(kernel).reshape(-1, n * n), -1)[:, None]  # [rows, 1]
        given = game.given_dtype
        allowed = -n * (8 * eps(given) * size + (2.0**-24 if str(given).endswith("float16") else 0.0))
        if mask is not None:
            # different ones, for the gradient, and of the size of the others, whose accuracy they would cost
            own = ops.array_like(np.diag(1 + np.arange(n) / n), kernel, kernel.dtype)  # [players, players]
            kernel = kernel - xp.where(mask, 0.0, size - allowed)[:, :, None] * own
        if ops.is_eager(kernel) and not ops.needs_grad(kernel):
            # not torch's, whose last bits may depend on the place of a matrix in its batch
            lam, vectors = (ops.array_like(x, kernel, kernel.dtype) for x in np.linalg.eigh(ops.to_float64(kernel)))
        else:
            lam, vectors = xp.linalg.eigh(kernel)
        indefinite = lam < allowed
        if mask is not None:
            first = n - mask.sum(-1)  # [rows]: masked players stand first
            mask = ops.array_like(np.arange(n), lam, ops.dtype("int64")) >= first[:, None]
            indefinite = indefinite & mask
        self._refuse_indefinite(lam, indefinite)
        lam = xp.where(lam < -8 * n * 2.0**-52 * size, lam, xp.clip(lam, 0.0, None))
        return xp.where(indefinite, float("nan"), lam), vectors, mask

    def _refuse_indefinite(self, lam: Array, indefinite: Array) -> None:
        if not self._can_look(lam):
            return
        where = self.game.ops.first_true(indefinite)
        if where is not None:
            row = in_row(where[0], self.game.batch_shape)
            raise ValueError(
                f"Volume: kernel must be positive semidefinite, got the eigenvalue {lam[where].item():.3g}{row}; use a "
                "Gram matrix X X^T, or add a multiple of the identity"
            )

    def _check_range(self, lam: Array, dtype: Any) -> None:
        """Refuse determinants that the dtype does not hold."""
        if not self._can_look(lam):
            return
        logarithm = np.log1p(np.maximum(self.game.ops.to_float64(lam), 0.0)).sum(-1)
        limit = {"float16": 11.0, "bfloat16": 88.7, "float32": 88.7}.get(str(dtype).split(".")[-1], 709.7)
        bad = NUMPY.first_true(logarithm >= limit)
        if bad is not None:
            row = in_row(bad[0], self.game.batch_shape)
            raise OverflowError(
                f"Volume: det(I + L) must be in the range of {dtype}, got e^{logarithm[bad]:.1f}{row}; scale the "
                "kernel down, or pass float64"
            )

    def _can_look(self, lam: Array) -> bool:
        return self.game.ops.on_cpu(lam) and not self.game.ops.is_compiling(lam)

    def error_bound(self) -> np.ndarray:
        """[rows, 1]: a perturbation of the kernel by 10 n 2.2e-16 |L|, which moves every determinant by n times that at
        most, and the roundings of the product game and of the sums, all times the mean determinants of S and S + i."""
        game, n = self.game, self.game.players
        kernels = game.in_rows(game.kernel)
        bound = np.zeros((len(kernels), 1))
        for row, live in enumerate(game.live_rows()):
            m = int(live.sum())
            if m == 0:
                continue
            lam = np.abs(np.linalg.eigvalsh(kernels[row][np.ix_(live, live)]))
            means = products_by_size(1 + lam)  # [s], s = 0 .. m: of det((I + L)_S) over |S| = s
            s = np.arange(m)
            # coalitions with i, or without, are a part of all; a mean over a part is at most the whole over its share
            without, with_i = m / (m - s) * means[:-1], m / (s + 1) * means[1:]
            weights = np.abs(self.value.size_weights(m))
            relative = (20 * n * n * lam.max() + 20 * n + 16) * 2.0**-52 + np.finfo(compute_dtype(game.dtype)).eps
            bound[row] = abs(self.scale) * relative * float(weights @ (without + with_i))
        return bound
