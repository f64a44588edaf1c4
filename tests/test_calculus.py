"""Derivatives against closed forms and dense float64 twins."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from topogen import calculus

MODES: list[calculus.Mode] = ["forward", "reverse", "double"]


def g(z: Tensor) -> Tensor:
    """R^2 to R^4, with a closed-form derivative."""
    a, b = z.unbind(-1)
    return torch.stack([a.sin() * b, a * a, (a * b).exp(), b], -1)


def dense(z: Tensor) -> Tensor:
    a, b = z.unbind(-1)
    e = (a * b).exp()
    zero, one = torch.zeros_like(a), torch.ones_like(a)
    columns = [
        torch.stack([a.cos() * b, 2 * a, b * e, zero], -1),
        torch.stack([a.sin(), zero, a * e, one], -1),
    ]
    return torch.stack(columns, -1)


def draw(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(2,), (7, 2), (3, 5, 2), (0, 2)])
def test_jacobian_in_closed_form(mode: calculus.Mode, shape: tuple[int, ...]) -> None:
    z = draw(*shape)
    x, J = calculus.value_and_jacobian(g, z, mode=mode)
    torch.testing.assert_close(J, dense(z), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(x, g(z))


@pytest.mark.parametrize("mode", MODES)
def test_float32_against_its_float64_twin(mode: calculus.Mode) -> None:
    z = draw(50, 2, dtype=torch.float32)
    J = calculus.jacobian(g, z, mode=mode)
    assert J.dtype == torch.float32
    torch.testing.assert_close(J.double(), dense(z.double()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_chunks_equal_the_whole(mode: calculus.Mode) -> None:
    z = draw(5, 7, 2)
    whole = calculus.jacobian(g, z, mode=mode)
    for chunk_size in (1, 4, 35, 100):
        part = calculus.jacobian(g, z, mode=mode, chunk_size=chunk_size)
        torch.testing.assert_close(part, whole, rtol=0, atol=1e-15)
    volume = calculus.log_volume(g, z, chunk_size=4)
    torch.testing.assert_close(volume, calculus.log_volume(g, z), rtol=0, atol=1e-14)


@pytest.mark.parametrize("mode", MODES)
def test_dtype_is_kept_where_forward_mode_promotes(mode: calculus.Mode) -> None:
    def promoting(z: Tensor) -> Tensor:
        scale = torch.tensor(3.0, dtype=torch.float64)  # 0-dim: does not promote values
        return z.sin() * (scale * 0.5) + z * scale

    z = draw(4, 2, dtype=torch.float32)
    x, J = calculus.value_and_jacobian(promoting, z, mode=mode)
    assert (x.dtype, J.dtype) == (torch.float32, torch.float32)
    assert calculus.jvp(promoting, z, torch.ones_like(z))[1].dtype == torch.float32
    assert calculus.log_volume(promoting, z, mode=mode).dtype == torch.float32


def test_products_with_vectors() -> None:
    z, v, c = draw(6, 2), draw(6, 2).flip(0), draw(6, 4)
    J = dense(z)
    torch.testing.assert_close(calculus.jvp(g, z, v)[1], (J @ v.unsqueeze(-1)).squeeze(-1))
    torch.testing.assert_close(calculus.vjp(g, z, c)[1], (J.mT @ c.unsqueeze(-1)).squeeze(-1))
    expanded = torch.ones(2, dtype=torch.float64).expand(6, 2)
    torch.testing.assert_close(calculus.jvp(g, z, expanded)[1], J.sum(-1))


def test_bad_mode() -> None:
    # TypeError where run-time type checks are on
    with pytest.raises((ValueError, TypeError), match="mode"):
        calculus.jacobian(g, draw(2), mode="sideways")  # pyright: ignore[reportArgumentType]


def test_nested_hessian_of_the_log_volume() -> None:
    # graph of |z|^2 / 2: log volume is log(1 + |z|^2) / 2
    def graph(z: Tensor) -> Tensor:
        return torch.cat([z, (z * z).sum(-1, keepdim=True) / 2], -1)

    z = draw(5, 2)
    s = (1 + (z * z).sum(-1))[..., None, None]
    eye = torch.eye(2, dtype=torch.float64)
    expected = eye / s - 2 * z.unsqueeze(-1) * z.unsqueeze(-2) / s**2

    def gradient(mode: calculus.Mode) -> calculus.RowMap:
        f = lambda y: calculus.log_volume(graph, y).unsqueeze(-1)
        return lambda y: calculus.jacobian(f, y, mode=mode).squeeze(-2)

    for inner in MODES:
        for outer in MODES:
            H = calculus.jacobian(gradient(inner), z, mode=outer)
            torch.testing.assert_close(H, expected, rtol=1e-10, atol=1e-10)


def test_gradients_through_autograd_agree() -> None:
    z = draw(5, 2).requires_grad_(True)
    (slope,) = torch.autograd.grad(calculus.log_volume(g, z).sum(), z)
    f = lambda y: calculus.log_volume(g, y).unsqueeze(-1)
    torch.testing.assert_close(slope, calculus.jacobian(f, z.detach()).squeeze(-2))


@pytest.mark.parametrize("d", [1, 2, 3, 8, 9, 12])
def test_log_gram_against_the_dense_determinant(d: int) -> None:
    J = draw(20, 15, d)
    expected = torch.linalg.slogdet(J.mT @ J)[1] / 2
    torch.testing.assert_close(calculus.log_gram(J), expected, rtol=1e-10, atol=1e-10)
    Q, diagonal = calculus.orthonormalize(J)
    eye = torch.eye(d, dtype=J.dtype).expand(20, d, d)
    torch.testing.assert_close(Q.mT @ Q, eye)
    assert bool((diagonal >= 0).all())
    # same oriented frame: J = Q R with det R > 0
    assert bool((torch.linalg.det(Q.mT @ J) > 0).all())


def test_log_gram_at_condition_1e4_in_float32() -> None:
    U = torch.linalg.qr(draw(200, 6, 3))[0]
    V = torch.linalg.qr(draw(200, 3, 3))[0]
    sigma = torch.tensor([1.0, 1e-2, 1e-4], dtype=torch.float64)
    J = ((U * sigma) @ V.mT).float()
    exact = torch.linalg.svdvals(J.double()).log().sum(-1)
    by_gram = torch.linalg.slogdet(J.mT @ J)[1].double() / 2
    by_qr = calculus.log_gram(J).double()
    # columns far from orthogonal lose some digits whatever the algorithm; the Gram form loses all
    assert float((by_qr - exact).abs().median()) < 1e-4
    assert float((by_qr - exact).abs().max()) < 5e-3
    assert float((by_gram - exact).abs().nan_to_num(nan=math.inf).median()) > 1e-2


def test_rank_deficient_rows_stay_alone() -> None:
    J = draw(4, 5, 2)
    J[1, :, 1] = 2 * J[1, :, 0]
    J[2] = 0
    J.requires_grad_(True)
    value = calculus.log_gram(J)
    good = torch.tensor([True, False, False, True])
    assert float(value[2].detach()) == -math.inf
    assert float(value[1].detach()) < -30
    assert bool(value[good].isfinite().all())
    (slope,) = torch.autograd.grad(value[good].sum(), J)
    assert bool(slope.isfinite().all())
    Q = calculus.tangent_basis(J.detach())
    assert bool(Q[good].isfinite().all())


def test_more_columns_than_rows() -> None:
    with pytest.raises(ValueError, match="transpose it"):
        calculus.log_gram(draw(2, 3))


def test_bases_and_projectors() -> None:
    J = draw(6, 5, 2)
    Q = calculus.tangent_basis(J)
    N = calculus.complement(Q)
    assert N.shape == (6, 5, 3)
    torch.testing.assert_close(Q.mT @ N, torch.zeros(6, 2, 3, dtype=J.dtype))
    P = calculus.projector(Q)
    torch.testing.assert_close(P @ P, P)
    torch.testing.assert_close(P @ J, J)
    identity = torch.eye(5, dtype=J.dtype).expand(6, 5, 5)
    torch.testing.assert_close(P + calculus.projector(N), identity)
    F = draw(6, 2, 5)
    normal = calculus.normal_basis(F)
    assert normal.shape == (6, 5, 2)
    torch.testing.assert_close(calculus.projector(normal) @ F.mT, F.mT)


def test_singular_values_of_an_isometry() -> None:
    rotation = torch.linalg.qr(draw(3, 3))[0]
    z = draw(10, 3)
    volume = calculus.log_volume(lambda y: y @ rotation.T, z)
    torch.testing.assert_close(volume, torch.zeros(10, dtype=z.dtype), rtol=0, atol=1e-14)


def test_second_derivative_in_closed_form() -> None:
    x, V = draw(5, 3), torch.randn(5, 3, 2, generator=torch.Generator().manual_seed(1)).double()

    def f(x: Tensor) -> Tensor:
        a, b, c = x.unbind(-1)
        return torch.stack([a * a * b, b * c, a + c], -1)

    H = calculus.second_derivative(f, x, V)
    full = torch.zeros(5, 3, 3, 3, dtype=torch.float64)
    full[:, 0, 0, 0], full[:, 0, 0, 1], full[:, 0, 1, 0] = 2 * x[:, 1], 2 * x[:, 0], 2 * x[:, 0]
    full[:, 1, 1, 2] = full[:, 1, 2, 1] = 1
    expected = torch.einsum("nmab,nai,nbj->nmij", full, V, V)
    torch.testing.assert_close(H, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("tie", [False, True])
def test_bases_of_a_matrix_of_known_rank_have_right_derivatives(tie: bool) -> None:
    # J(t) of rank 2 with two equal singular values, where the SVD itself has no derivative
    A = torch.linalg.qr(draw(4, 4))[0][:, :2]
    B = torch.linalg.qr(draw(3, 3))[0][:, :2]
    C, D = draw(4, 4), draw(3, 3)
    s = torch.tensor([1.0, 1.0 if tie else 0.5], dtype=torch.float64)

    def J(t: Tensor) -> Tensor:
        left = torch.linalg.matrix_exp(t[..., None] * (C - C.T)) @ A
        right = torch.linalg.matrix_exp(t[..., None] * (D - D.T)) @ B
        return (left * s) @ right.mT

    def projectors(t: Tensor) -> Tensor:
        U, T = calculus.leading_range(J(t), 2), calculus.kernel(J(t), 2)
        return torch.cat([(U @ U.mT).flatten(-2), (T @ T.mT).flatten(-2)], -1)

    t, h = torch.tensor([[0.3]], dtype=torch.float64), 1e-6
    expected = (projectors(t + h) - projectors(t - h)) / (2 * h)
    for mode in MODES:
        found = calculus.jacobian(projectors, t, mode=mode).squeeze(-1)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-8)
    parts = calculus.split(J(t), 2)
    torch.testing.assert_close(parts.solve(J(t)), parts.N @ parts.N.mT)


@pytest.mark.parametrize("D", [50, 51])
def test_log_gram_of_long_columns_on_both_sides_of_the_switch(D):
    # Gram-Schmidt below, LAPACK above: one value, one gradient, and no row spoils another
    J = torch.randn(3, D, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    J[1] = 0
    J.requires_grad_()
    value = calculus.log_gram(J)
    assert value[1] == -torch.inf
    value[[0, 2]].sum().backward()
    for i in (0, 2):
        K = J[i].detach()
        gram = K.mT @ K
        assert abs(float(value[i].detach() - 0.5 * torch.logdet(gram))) < 1e-12
        assert (J.grad[i] - K @ torch.linalg.inv(gram)).abs().max() < 1e-12


plain_jvp: Any = torch.func.jvp
CONSTANT = torch.tensor([0.7, -1.3, 2.1], dtype=torch.float64)
WITH_CONSTANTS: dict[str, Callable[[Any], tuple[Any, ...]]] = {
    "number": lambda x: (((2.0 * x + 1) - 0.3) / 4, 1.5 - x, 3 / x, (x - 2) * True),
    "tensor": lambda x: (x + CONSTANT, CONSTANT - x, x * CONSTANT, CONSTANT / x, x / CONSTANT),
    "0-dim": lambda x: (x * torch.tensor(2.0), torch.tensor(1.0) - x, x / torch.tensor(3)),
    "other kinds": lambda x: (x * torch.tensor([1, 2, 3]), (x > 0) * x),
    "rows": lambda x: (x + CONSTANT.expand(4, 3), x.sum(-1, keepdim=True) * CONSTANT),
}


@pytest.mark.parametrize("name", WITH_CONSTANTS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_constants_have_the_derivatives_of_torch(name: str, dtype: torch.dtype) -> None:
    for i in range(len(WITH_CONSTANTS[name](draw(4, 3)))):

        def f(x: Tensor, i: int = i) -> Tensor:
            return WITH_CONSTANTS[name](x)[i]

        x, v = draw(4, 3, dtype=dtype), torch.ones(4, 3, dtype=dtype)
        y, Jv = plain_jvp(f, (x,), (v,))
        for got, expected in zip(calculus.jvp(f, x, v), (y, Jv.to(y.dtype)), strict=True):
            torch.testing.assert_close(got, expected, rtol=0, atol=0)
        second = calculus.jvp(lambda y, f=f, v=v: calculus.jvp(f, y, v)[1] ** 2, x, v)[1]
        _, twin = plain_jvp(lambda y, f=f, v=v: plain_jvp(f, (y,), (v,))[1] ** 2, (x,), (v,))
        torch.testing.assert_close(second, twin.to(y.dtype), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["number", "tensor"])
def test_constants_run_no_python_kernel(name: str) -> None:
    # an operation of a dual tensor with a constant costs torch.func.jvp .4 ms there
    def of_kernels(run: Callable[[], object]) -> int:
        run()  # what is imported at the first call
        files: list[str] = []
        sys.setprofile(lambda frame, *_: files.append(frame.f_code.co_filename))
        try:
            run()
        finally:
            sys.setprofile(None)
        return sum("torch/_prims" in file or "torch/_refs" in file for file in files)

    def f(x: Tensor) -> Tensor:
        return torch.cat(WITH_CONSTANTS[name](x), -1)

    x = draw(4, 3)
    assert of_kernels(lambda: plain_jvp(f, (x,), (x,))) > 100
    assert of_kernels(lambda: calculus.jvp(f, x, x)) == 0


def windows(rows: int) -> Tensor:
    """Delay embedding of a series: rows that share their memory."""
    return draw(rows + 2).unfold(0, 3, 1)


@pytest.mark.parametrize(
    "z", [windows(6), draw(3).expand(6, 3), draw(3, 6).mT, draw(6, 6)[:, ::2]]
)
def test_how_points_lie_in_memory_does_not_matter(z: Tensor) -> None:
    def f(x: Tensor) -> Tensor:
        return torch.cat([x**3, x.sin() * x.sum(-1, keepdim=True)], -1)

    v = draw(6, 3)
    for mode in MODES:
        J = calculus.jacobian(f, z, mode=mode)
        torch.testing.assert_close(J, calculus.jacobian(f, z.clone().contiguous(), mode=mode))
    reverse = calculus.jacobian(f, z, mode="reverse")
    torch.testing.assert_close(calculus.jacobian(f, z), reverse)
    torch.testing.assert_close(calculus.jvp(f, z, v)[1], (reverse @ v.unsqueeze(-1)).squeeze(-1))
    twice = calculus.second_derivative(lambda x: x**3, z, v.unsqueeze(-1))[..., 0, 0]
    torch.testing.assert_close(twice, 6 * z * v**2)
