"""Stochastic gradients of the log volume, against exact ones."""

import math

import pytest
import torch

from topogen import calculus
from topogen.baselines.injective.autoencoder import FreeAutoencoder
from topogen.baselines.injective.objectives import column_bound
from topogen.baselines.injective.stochastic_log_volume import (
    chosen_surrogate,
    conjugate_gradients,
    decoder_surrogate,
    encoder_surrogate,
    probes,
    stochastic_log_volume,
)
from topogen.models.injective.bases import standard

REPLICATES = 1000


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def free(d, D, width=16, seed=0, base="euclidean"):
    pair = FreeAutoencoder(standard(base, d), D, width=width, depth=1)
    pair.start(seeded(seed))
    return pair


def flat_gradient(loss, parameters, **options):
    grads = torch.autograd.grad(loss, parameters, allow_unused=True, **options)
    zeros = [torch.zeros_like(p) for p in parameters]
    return torch.cat(
        [(z if g is None else g).flatten() for g, z in zip(grads, zeros, strict=True)]
    )


def cosine(a, b):
    return float(a @ b / (a.norm() * b.norm()))


def test_probes_are_isotropic():
    b = torch.zeros(20_000, 1)
    for kind in ("rademacher", "gaussian", "orthogonal"):
        v = probes(b, 3, 1, seeded(), kind=kind)[0]
        # 9 entries at 5 standard errors: a false alarm in 2e5
        assert (v.mT @ v / len(v) - torch.eye(3)).abs().max() < 5 * math.sqrt(2 / len(v))
    with pytest.raises(ValueError, match="at most 3 orthogonal probes, got 4"):
        probes(b, 3, 4, seeded(), kind="orthogonal")


def test_conjugate_gradients_end_in_d_steps():
    A = torch.randn(8, 5, 5, generator=seeded()).double()
    G = A.mT @ A + 0.3 * torch.eye(5).double()
    v = torch.randn(8, 5, generator=seeded(1)).double()
    gram = lambda p: (G @ p[..., None])[..., 0]
    w, steps = conjugate_gradients(gram, v, tol=1e-12, relative=True)
    assert steps <= 5
    assert (w - torch.linalg.solve(G, v)).abs().max() < 1e-8
    rough, few = conjugate_gradients(gram, v, tol=1.0, relative=False)
    assert few < 5
    assert (gram(rough) - v).norm(dim=-1).mean() <= 1


def scale_along(exact, tol, relative):
    """Mean and standard error of the component of stochastic gradients along the exact one."""
    pair, parameters, b, direction = exact
    many = b.repeat(REPLICATES, 1)
    v = probes(many, 5, 1, seeded(7), kind="rademacher")
    l = stochastic_log_volume(pair, many, v, tol=tol, relative=relative)
    # the derivative of every row's l along the direction, from one gradient of their mixture
    c = torch.ones_like(l, requires_grad=True)
    along = flat_gradient(c @ l, parameters, create_graph=True) @ direction
    (values,) = torch.autograd.grad(along, c)
    values = values.reshape(REPLICATES, len(b)).sum(-1)
    return float(values.mean()), float(values.std()) / math.sqrt(REPLICATES)


@pytest.fixture(scope="module")
def exact():
    """A map from R^5 to R^12 that is not flat, and the exact gradient at 4 points."""
    pair = free(5, 12)
    parameters = list(pair.decoder.parameters())
    with torch.no_grad():
        # singular values of J around 1, condition about 5
        parameters[1].mul_(2.0)
    b = torch.randn(4, 5, generator=seeded(3)).double()
    g = flat_gradient(pair.log_volume(b).sum(), parameters)
    return pair, parameters, b, g / g.square().sum()


def test_rectangular_gradient_is_unbiased_at_full_conjugate_gradients(exact):
    mean, error = scale_along(exact, 1e-10, True)
    # three standard errors: a false alarm in 370 for a fresh seed
    assert abs(mean - 1) < 3 * error
    assert error < 0.1


def test_rectangular_gradient_is_biased_at_the_published_tolerance(exact):
    mean, error = scale_along(exact, 1.0, False)
    assert abs(mean - 1) > 5 * error
    assert abs(mean - 1) > 0.05


def test_surrogates_are_exact_where_f_is_the_pseudo_inverse():
    # a linear pair with f' = J^+: two orthogonal probes give the trace itself
    pair = FreeAutoencoder(standard("euclidean", 2), 5, width=4, depth=0)
    W = torch.randn(2, 5, generator=seeded()).double()
    with torch.no_grad():
        # the functions are 1, z_2, z_1
        pair.decoder.W[0].copy_(torch.cat([torch.zeros(1, 5), W.flip(0)]))
        pair.encoder.W[0].copy_(torch.linalg.pinv(W))
    x = torch.randn(10, 2, generator=seeded(1)).double() @ W
    b = pair.encode(x).detach()
    v = probes(b, 2, 2, seeded(2), kind="orthogonal")
    of_decoder, of_encoder = [pair.decoder.W[0]], [pair.encoder.W[0]]
    exact = flat_gradient(pair.log_volume(b).mean(), of_decoder)
    found = flat_gradient(decoder_surrogate(pair, x, b, v).mean(), of_decoder)
    assert (found - exact).norm() < 1e-10 * exact.norm()
    F = calculus.jacobian(pair.encode, x)
    exact = flat_gradient(-0.5 * torch.logdet(F @ F.mT).mean(), of_encoder)
    found = flat_gradient(encoder_surrogate(pair, x, b, v).mean(), of_encoder)
    assert (found - exact).norm() < 1e-10 * exact.norm()


def test_chosen_surrogate_does_not_fight_the_reconstruction():
    pair = free(1, 3)
    parameters = list(pair.parameters())
    for scale in (0.3, 3.0):
        with torch.no_grad():
            pair.encoder.W[-1].mul_(scale)
        x = torch.randn(1, 3, generator=seeded(1)).double()
        b = pair.encode(x).detach()
        v = probes(b, 1, 1, seeded(2), kind="orthogonal")
        slope = flat_gradient(chosen_surrogate(pair, x, b, v).sum(), parameters)
        # q = v^T f' g' v, which reconstruction wants to be |v|^2 = 1
        push, pull = pair.along(b, v[0])[1], pair.encoder_against(x, v[0])[1]
        gap = flat_gradient(((pull * push).sum() - 1).square(), parameters)
        assert float(slope @ gap) >= 0


def test_bounds_hold_on_the_torus_base():
    pair = free(2, 3, base="torus")
    pair.requires_grad_(False)
    b = pair.base.sample(200, generator=seeded(1))
    J = pair.value_and_jacobian(b)[1]
    exact = pair.log_volume(b)
    assert (column_bound(J) >= exact - 1e-12).all()
    # relaxed: the mean of d log |Jv| over directions v, by quadrature
    t = torch.arange(200).double() * (math.pi / 200)
    v = torch.stack([t.cos(), t.sin()], -1)
    mean = 2 * (J @ v.mT).norm(dim=-2).log().mean(-1)
    assert (mean >= exact - 1e-9).all()


def surface(n, seed, noise):
    """A curved surface in R^6."""
    g = seeded(seed)
    z = torch.randn(n, 2, generator=g)
    A, c = torch.randn(2, 6, generator=seeded(99)), torch.randn(6, generator=seeded(98))
    x = z @ A + torch.sin(z.sum(-1, keepdim=True)) * c
    x = x / x.square().sum(-1).mean().sqrt()
    return x + noise * torch.randn(n, 6, generator=g)


def cosines_after_training(noise, steps=4000):
    pair = free(2, 6, width=64).float()
    generator = seeded(5)
    optimiser = torch.optim.Adam(pair.parameters(), lr=3e-3, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    data = surface(8000, 0, 0.0)
    for _ in range(steps):
        x = data[torch.randint(8000, (256,), generator=generator)]
        x = x + noise * torch.randn(x.shape, generator=generator)
        loss = (x - pair(pair.encode(x))).square().sum(-1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    pair.double()
    x = surface(500, 1, noise).double()
    b = pair.encode(x).detach()
    v = probes(b, 2, 2, seeded(6), kind="orthogonal")
    f, g = list(pair.encoder.parameters()), list(pair.decoder.parameters())
    F = calculus.jacobian(pair.encode, x)
    encoder = cosine(
        flat_gradient(encoder_surrogate(pair, x, b, v).mean(), f),
        flat_gradient(-0.5 * torch.logdet(F @ F.mT).mean(), f),
    )
    decoder = cosine(
        flat_gradient(decoder_surrogate(pair, x, b, v).mean(), g),
        flat_gradient(pair.log_volume(b).mean(), g),
    )
    return encoder, decoder


@pytest.mark.slow
def test_free_form_surrogate_needs_noise():
    encoder, decoder = cosines_after_training(0.1)
    assert encoder > 0.99
    assert decoder > 0.95
    # without, reconstruction makes f a left inverse of g on M, and nothing makes f' its
    # pseudo-inverse
    encoder, decoder = cosines_after_training(0.0)
    assert encoder < 0.9
    assert decoder < 0.9
