"""ResidualDecoder: its derivatives, its start at 0, and what it is for."""

import math

import pytest
import torch

import topogen as tg
from topogen import serialization
from topogen.models.injective import ResidualDecoder, SpectralDecoder
from topogen.models.injective.bases import standard
from topogen.models.injective.decoder import Decoder


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def random_start(base, bandwidth=4, D=5):
    g = SpectralDecoder(base, bandwidth, D)
    g.coefficients = torch.randn(g.coefficients.shape, generator=seeded(1), dtype=torch.float64)
    return g


every = pytest.mark.parametrize("base", ["circle", "torus", "sphere", "klein", "mobius"])


@every
def test_it_starts_as_the_spectral_decoder(base):
    g = random_start(standard(base))
    h = ResidualDecoder.of(g, seeded())
    b = g.base.sample(50, generator=seeded(2))
    assert torch.equal(h(b), g(b))


@every
def test_values_are_those_of_the_base_and_derivatives_are_exact(base):
    h = ResidualDecoder.of(random_start(standard(base)), seeded())
    h.net.C.copy_(torch.randn(h.net.C.shape, generator=seeded(3), dtype=torch.float64))
    b = h.base.sample(20, generator=seeded(4))
    for gamma in h.base.group:
        torch.testing.assert_close(h(b @ gamma.mT), h(b), atol=1e-10, rtol=0)
    value, J = h.value_and_jacobian(b)
    other_value, other_J = Decoder.value_and_jacobian(h, b)
    torch.testing.assert_close(value, other_value, atol=1e-10, rtol=0)
    torch.testing.assert_close(J, other_J, atol=1e-8, rtol=1e-9)


def peak(n, seed):
    """A circle with a narrow peak: r = 1 + 0.3 exp(-(t / 0.1)^2)."""
    t = 2 * math.pi * torch.rand(n, generator=seeded(seed), dtype=torch.float64) - math.pi
    r = 1 + 0.3 * torch.exp(-((t / 0.1) ** 2))
    return torch.stack([r * t.cos(), r * t.sin()], -1)


def fitted(decoder):
    flow = tg.InjectiveFlow(1, 2, base="circle", density="uniform", decoder=decoder)
    return flow, tg.fit(flow, peak(4000, 0), progress=False)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the decoder is no embedding")
def test_a_narrow_peak_needs_the_residual(tmp_path):
    y = peak(2000, 1)

    def off(flow):
        moved = flow.manifold.project(y)
        assert bool(moved.converged.all())
        return float((moved.value - y).norm(dim=-1).quantile(0.99))

    spectral, refused = fitted("spectral")
    flow, result = fitted("auto")
    assert isinstance(flow.image.decoder, ResidualDecoder)
    assert (refused.status, result.status) == ("max_steps", "converged")
    assert off(flow) < 1e-5 < 1e-4 < off(spectral)
    assert "with residual" in flow.attempts[-1]
    assert flow.certificate.injectivity.proved is None
    # the length of the curve, by quadrature
    t = 2 * math.pi * torch.arange(20_000, dtype=torch.float64) / 20_000 - math.pi
    bump = 0.3 * torch.exp(-((t / 0.1) ** 2))
    speed = torch.hypot(1 + bump, 200 * t * bump)
    assert flow.manifold.volume == pytest.approx(float(speed.mean()) * 2 * math.pi, abs=1e-4)
    serialization.write(tmp_path / "m.safetensors", flow)
    loaded, _ = serialization.read(tmp_path / "m.safetensors")
    assert isinstance(loaded.image.decoder, ResidualDecoder)
    torch.testing.assert_close(
        loaded().log_prob(y[:50]), flow().log_prob(y[:50]), atol=1e-12, rtol=0
    )


@pytest.mark.parametrize("decoder", ["auto", pytest.param("residual", marks=pytest.mark.slow)])
def test_no_residual_where_none_is_needed(decoder):
    t = 2 * math.pi * torch.rand(400, generator=seeded(), dtype=torch.float64)
    x = torch.stack([2 * t.cos(), t.sin()], -1)
    flow = tg.InjectiveFlow(1, 2, base="circle", density="uniform", decoder=decoder)
    tg.fit(flow, x, progress=False)
    assert isinstance(flow.image.decoder, SpectralDecoder)


def test_an_unknown_decoder_is_refused():
    with pytest.raises(ValueError, match="expected a decoder among"):
        tg.InjectiveFlow(1, 2, decoder="neural")
