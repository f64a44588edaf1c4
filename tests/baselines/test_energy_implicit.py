"""The energy-based zero set: it runs, it is saved, and it cannot be a Klein bottle."""

import pytest
import torch

import topogen as tg
from topogen.baselines import DescentOptions, EnergyImplicit, EnergyOptions


def uniform(M, n, seed):
    return M.sample_uniform(n, torch.Generator().manual_seed(seed))


def test_bad_arguments():
    with pytest.raises(ValueError, match="1 <= dim < ambient_dim"):
        EnergyImplicit(2, 2)
    with pytest.raises(ValueError, match="width, depth >= 1"):
        EnergyImplicit(2, 3, depth=0)


@pytest.mark.filterwarnings("ignore:EnergyImplicit")
def test_the_published_objective_runs_and_is_kept(tmp_path):
    x = uniform(tg.Circle(3.0), 500, 0) + 5.0
    descent = DescentOptions(steps=100, batch=50, rate=0.01)
    N = EnergyImplicit(1, 2, energy=EnergyOptions(s_max=1.0), descent=descent)
    assert N.width == 8
    tg.fit(N, x)
    assert N.checks is not None
    tg.save(N, tmp_path / "m.safetensors")
    L = tg.load(tmp_path / "m.safetensors")
    assert (L.energy, L.descent) == (N.energy, N.descent)
    assert torch.equal(L.net(x), N.net(x))
    assert torch.equal(L.project(x).value, N.project(x).value)


@pytest.mark.slow
def test_the_published_objective_on_the_published_circle():
    """The authors' notebook 01: median .0012, mean .0021, largest .0154, in 189 s."""
    x = tg.VonMises(0.0, 2.0).sample((1000,), torch.Generator().manual_seed(0))
    N = EnergyImplicit(1, 2)
    result = tg.fit(N, x, progress=False)
    assert result.status == "converged"
    distance = (N.nearest(x).value - x).norm(dim=-1)
    assert float(distance.median()) < 0.01
    assert float(distance.max()) < 0.1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:EnergyImplicit")  # what is more than the one looked for
def test_the_published_objective_is_seen_to_fail_on_a_klein_bottle():
    """No F: R^4 -> R^2 of full rank vanishes on it, whatever its singular values at the data say.

    Negative control: the same checks pass on a flat torus.
    """
    descent = DescentOptions(steps=3000, batch=100, rate=0.01)
    N = EnergyImplicit(2, 4, width=16, descent=descent)
    with pytest.warns(UserWarning, match="EnergyImplicit: DF loses rank between projections"):
        result = tg.fit(N, uniform(tg.KleinBottle(), 2500, 0), progress=False)
    assert result.status == "max_steps"
    assert N.checks.problems
    assert N.checks.turned > 0.01
    fine = EnergyImplicit(2, 4, width=16, descent=descent)
    assert tg.fit(fine, uniform(tg.FlatTorus(2), 2500, 0), progress=False).status == "converged"
    assert fine.checks.problems == ()
    assert fine.checks.turned == 0.0
