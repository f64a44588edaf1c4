"""Harmonics and spectra: orthonormal, invariant, differentiated and bounded as they say."""

import math

import pytest
import torch

from topogen import calculus
from topogen.models.injective.bases import Spectrum, harmonics, product, standard
from topogen.models.injective.bases.harmonic_factors import RealLine, UnitInterval, UnitSphere

FACTORS = [UnitSphere(1), UnitSphere(2), UnitSphere(3), UnitInterval(), RealLine()]
BASES = {
    "circle": lambda: standard("circle"),
    "torus": lambda: standard("torus"),
    "sphere": lambda: standard("sphere"),
    "3-sphere": lambda: standard("sphere", 3),
    "cylinder": lambda: standard("cylinder"),
    "sphere x circle": lambda: product(standard("sphere"), standard("circle")),
    "sphere x interval": lambda: product(standard("sphere"), standard("interval", 1)),
    "klein": lambda: standard("klein"),
    "mobius": lambda: standard("mobius"),
    "projective plane": lambda: standard("projective", 2),
    "rotations": lambda: standard("projective", 3),
    "klein x circle": lambda: product(standard("klein"), standard("circle")),
    "lens space": None,
}
QUOTIENTS = list(BASES)[7:]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


@pytest.fixture
def base(request, lens_space):
    make = BASES[request.param]
    return lens_space if make is None else make()


every = pytest.mark.parametrize("base", BASES, indirect=True)
every_quotient = pytest.mark.parametrize("base", QUOTIENTS, indirect=True)


@pytest.mark.parametrize("factor", FACTORS, ids=repr)
@pytest.mark.parametrize("degree", [0, 1, 2, 7])
def test_tables_are_orthonormal_by_exact_quadrature(factor, degree):
    b, w = factor.nodes(degree)
    T = factor.table(b, degree)
    assert len(factor.degrees(degree)) == len(factor.laplacian(degree)) == T.shape[1]
    eye = torch.eye(T.shape[1], dtype=torch.float64)
    torch.testing.assert_close(T.mT @ (w[:, None] * T), eye, atol=1e-12, rtol=0)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_degrees_count_as_spaces_of_harmonics_do(n):
    degrees = UnitSphere(n).degrees(7)
    for k in range(8):
        # homogeneous polynomials of degree k, less those of k - 2
        dimension = math.comb(n + k, n) - (math.comb(n + k - 2, n) if k > 1 else 0)
        assert degrees.count(k) == dimension
    known = {1: 2, 2: 2 * 7 + 1, 3: 8**2}
    assert n not in known or degrees.count(7) == known[n]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_harmonics_are_harmonic_and_homogeneous(n):
    x = normal(20, n + 1)
    H = torch.func.vmap(torch.func.hessian(lambda y: harmonics.solid_harmonics(y, 5)))(x)
    trace = H.diagonal(dim1=-2, dim2=-1).sum(-1)
    assert float(trace.abs().max() / H.abs().max()) < 1e-13
    scale = 2.0 ** torch.tensor(harmonics.harmonic_degrees(n, 5), dtype=torch.float64)
    value = harmonics.solid_harmonics(x, 5)
    torch.testing.assert_close(harmonics.solid_harmonics(2 * x, 5), scale * value)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_nodes_integrate_monomials_exactly(n):
    degree = 5
    b, w = UnitSphere(n).nodes(degree)
    powers = torch.cartesian_prod(*[torch.arange(2 * degree + 1)] * (n + 1))
    powers = powers[powers.sum(1) <= 2 * degree]
    found = w @ b.unsqueeze(1).pow(powers).prod(-1)
    exact = []
    for alpha in powers.tolist():
        # Folland, 2001, "How to integrate a polynomial over a sphere"
        log_mean = sum(math.lgamma((a + 1) / 2) for a in alpha) - math.lgamma(
            (sum(alpha) + n + 1) / 2
        )
        log_one = (n + 1) * math.lgamma(0.5) - math.lgamma((n + 1) / 2)
        exact.append(0.0 if any(a % 2 for a in alpha) else math.exp(log_mean - log_one))
    torch.testing.assert_close(
        found, torch.tensor(exact, dtype=torch.float64), atol=1e-14, rtol=1e-12
    )


@every
def test_spectrum_is_orthonormal(base):
    spectrum = Spectrum(base, 4)
    b, w = base.nodes(4)
    phi = spectrum(b)
    eye = torch.eye(spectrum.count, dtype=torch.float64)
    torch.testing.assert_close(phi.mT @ (w[:, None] * phi), eye, atol=1e-11, rtol=0)
    assert len(spectrum.frequency) == len(spectrum.eigenvalues) == spectrum.count
    assert float(spectrum.frequency.max()) <= 16 + 1e-9
    # one constant
    assert int((spectrum.frequency < 1e-9).sum()) == 1


@every_quotient
def test_functions_on_a_quotient_are_invariant(base):
    spectrum = Spectrum(base, 5)
    b = base.sample(300, generator=seeded(1))
    phi = spectrum(b)
    for image in base.orbit(b)[1:]:
        torch.testing.assert_close(spectrum(image), phi, atol=1e-12, rtol=1e-12)


@every_quotient
def test_invariant_functions_are_as_many_as_characters_say(base):
    spectrum = Spectrum(base, 4)
    cover = Spectrum(type(base)(base.factors, name="cover"), 4)
    b, w = base.nodes(4)
    phi = cover(b)
    # dim V^G = mean of the traces of G on V
    traces = [float((w[:, None] * phi * cover(image)).sum()) for image in base.orbit(b)]
    assert spectrum.count == pytest.approx(sum(traces) / len(traces), abs=1e-9)


def test_counts_that_are_known():
    # even harmonics to degree 4: 1 + 5 + 9; on S^3 1 + 9 + 25
    assert Spectrum(standard("projective", 2), 4).count == 15
    assert Spectrum(standard("projective", 3), 4).count == 35
    assert Spectrum(standard("circle"), 6).count == 13


@every
def test_derivatives_are_those_of_autodiff(base):
    spectrum = Spectrum(base, 4)
    C = normal(spectrum.count, 3, seed=2)
    b = base.sample(40, generator=seeded(3))
    value, slope = calculus.value_and_jacobian(lambda c: spectrum(c) @ C, b)
    torch.testing.assert_close(spectrum.raw(b) @ spectrum.to_raw(C), value, atol=1e-10, rtol=0)
    found = torch.einsum("nq,wqD->nDw", spectrum.raw(b), spectrum.derivatives(C))
    torch.testing.assert_close(found, slope, atol=1e-9, rtol=1e-9)


@every
def test_eigenvalues_are_those_of_the_laplacian(base):
    if any(f == UnitInterval() for f in base.factors):
        return
    spectrum = Spectrum(base, 4)
    b, w = base.nodes(4)
    E = base.frame(b)
    slopes = torch.stack(
        [
            torch.einsum("nq,wqD,nw->nD", spectrum.raw(b), A, E[..., k])
            for A in [spectrum.derivatives(torch.eye(spectrum.count).double())]
            for k in range(base.dim)
        ]
    )
    # int <grad f, grad g> = int f (-Laplacian g)
    found = torch.einsum("knp,n,knq->pq", slopes, w, slopes)
    torch.testing.assert_close(found, spectrum.eigenvalues.sum(1).diag(), atol=1e-9, rtol=0)


def along_geodesics(base, spectrum, C, b, v):
    """Norms of g and its first three derivatives at time 0, from polynomials through values."""
    k = torch.arange(19, dtype=torch.float64)
    t = 0.4 * torch.cos(math.pi * (k + 0.5) / 19)
    moved = base.move(b[:, None], t[:, None] * v[:, None], ends=False)
    values = (spectrum(moved) @ C).movedim(1, 0).flatten(1)
    c = torch.linalg.solve((t / 0.4)[:, None] ** k, values).reshape(19, len(b), -1)
    return torch.stack([math.factorial(j) / 0.4**j * c[j].norm(dim=-1) for j in range(4)], -1)


@every
def test_bounds_hold_along_geodesics(base):
    spectrum = Spectrum(base, 3)
    for seed in range(3):
        # all functions, then steep ones alone
        C = normal(spectrum.count, 2, seed=seed) * (spectrum.frequency >= 2 * seed)[:, None]
        b = base.sample(200, generator=seeded(seed))
        at = 0
        for f in base.factors:
            if f == UnitInterval():
                b[:50, at] = 1.0
            at += f.width
        v = (base.frame(b) @ normal(200, base.dim, 1, seed=seed + 9)).squeeze(-1)
        v = v / v.norm(dim=-1, keepdim=True)
        found = along_geodesics(base, spectrum, C, b, v).amax(0)
        bound = torch.tensor(spectrum.bounds(C), dtype=torch.float64)
        assert bool((found <= bound * (1 + 1e-6)).all()), (found, bound)
        # and they are not idle
        assert bool((bound < 200 * found).all()), (found, bound)


def test_bound_of_one_harmonic_is_attained():
    base = standard("circle")
    spectrum = Spectrum(base, 5)
    C = torch.zeros(spectrum.count, 2, dtype=torch.float64)
    C[-2, 0], C[-1, 1] = 1.0, 1.0
    # (cos 5t, sin 5t) times sqrt 2
    expected = [math.sqrt(2) * 5**k for k in range(4)]
    assert spectrum.bounds(C) == pytest.approx(expected)


def test_no_bounds_on_a_line():
    spectrum = Spectrum(standard("euclidean", 1), 2)
    assert spectrum.bounds(torch.ones(3, 1).double())[0] == math.inf
