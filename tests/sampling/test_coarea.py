"""The co-area formula: volumes from level sets.

Values are compared at 5 standard errors and the stated bias: a right library fails one of these
with probability below 1e-5, and the seeds are fixed.
"""

from __future__ import annotations

import pytest
import torch

import topogen as tg
from topogen.errors import UnsupportedError
from topogen.sampling.coarea import coarea_volume
from topogen.sampling.tube import Tube


def test_torus(known) -> None:
    tube = Tube(known.torus(), generator=known.seeded())
    v = coarea_volume(tube, 60_000)
    assert abs(v.value - known.TORUS_AREA) < 5 * v.standard_error + v.bias
    assert v.error < 0.03 * v.value


def test_extrapolation_removes_the_bias_of_a_wide_kernel(known) -> None:
    # (rho - 1)^2 + z^2 - 1/4 has no symmetric level sets: a kernel alone is off by O(rho^2)
    tube = Tube(known.torus(), region="ball", generator=known.seeded())
    x = tube.region.draw(200_000, tube.generator)
    with torch.no_grad():
        F, J = tube.M.linearize(x)
    size, _ = tube.region.refined(0.01, None)
    K = 0.75 / 0.2 * (1 - (F.squeeze(-1) / 0.2) ** 2).clamp_min(0)
    plain = size * K * J.squeeze(-2).norm(dim=-1)
    assert known.z_score(plain, known.TORUS_AREA) > 5
    v = coarea_volume(tube, 200_000, radius=0.2)
    assert abs(v.value - known.TORUS_AREA) < 5 * v.standard_error + v.bias


@pytest.mark.slow
def test_clifford_torus_whose_factor_is_four(known) -> None:
    M = known.clifford()
    x = tg.FlatTorus(2).sample_uniform(50, generator=known.seeded())
    factor = torch.linalg.svdvals(M.linearize(x)[1]).prod(-1)
    torch.testing.assert_close(factor, torch.full_like(factor, 4.0))
    v = coarea_volume(Tube(M, generator=known.seeded()), 100_000)
    assert abs(v.value - known.CLIFFORD_AREA) < 5 * v.standard_error + v.bias


def test_more_equations_than_the_codimension_are_refused(known) -> None:
    M = tg.KleinBottle()
    tube = Tube.__new__(Tube)
    tube.M, tube.known, tube.tau = M, M.sample_uniform(10, generator=known.seeded()), 0.1
    with pytest.raises(UnsupportedError, match="D - d = 2 equations"):
        coarea_volume(tube)


def test_a_function_whose_derivative_vanishes_is_refused(known) -> None:
    def square(x: torch.Tensor) -> torch.Tensor:
        return ((x * x).sum(-1, keepdim=True) - 1) ** 2

    tube = Tube(tg.ImplicitManifold(square, 2, 3), generator=known.seeded())
    with pytest.raises(UnsupportedError, match=r"a square|full rank"):
        coarea_volume(tube, 2000)
