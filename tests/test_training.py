import math

import pytest
import torch
from torch import nn

from topogen.errors import InvalidPoints, NotFittedError, SaveError, TrainingError
from topogen.models.base import Fittable, Stage
from topogen.models.local_polynomials import LocalPolynomials
from topogen.models.projected_atlas import ProjectedAtlas
from topogen.training import fit


def circle(n=400, seed=0):
    t = (
        2
        * math.pi
        * torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    )
    return torch.stack([t.cos(), t.sin()], -1)


class Counter(Fittable):
    """Two stages; each yields its losses, and raises where one is an exception."""

    def __init__(self, first, second=(), good=True):
        super().__init__()
        self.losses, self.good, self.done, self.draws = (first, second), good, [], []

    def stages(self, points):
        for name, losses in zip(("first", "second"), self.losses, strict=True):
            if name not in self.done:
                yield Stage(name, lambda g, name=name, losses=losses: self._run(name, losses, g))

    def _run(self, name, losses, generator):
        self.draws.append(torch.rand((), generator=generator).item())
        for loss in losses:
            if isinstance(loss, BaseException):
                raise loss
            yield {"loss": loss}
        self.done.append(name)
        self.fitted = len(self.done) == 2
        return self.good


def test_runs_stages_in_order_and_keeps_records():
    model = Counter([3.0, 2.0], [1.0])
    result = fit(model, circle())
    assert (result.status, result.stage, result.converged) == ("converged", "second", True)
    assert [(r["stage"], r["step"], r["loss"]) for r in result.history] == [
        ("first", 1, 3.0),
        ("first", 2, 2.0),
        ("second", 1, 1.0),
    ]


def test_fitted_parts_are_skipped():
    model = Counter([1.0], [1.0])
    fit(model, circle())
    again = fit(model, circle())
    assert (again.status, again.stage, again.history) == ("converged", None, [])


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_fit(loss):
    model = Counter([1.0, loss, 1.0], [1.0])
    result = fit(model, circle())
    assert result.status == "diverged"
    assert "stage 'first'" in result.message
    assert "step 2" in result.message
    assert model.done == []
    assert not model.fitted


def test_a_stage_that_does_not_converge_is_said():
    result = fit(Counter([1.0], [1.0], good=False), circle())
    assert result.status == "max_steps"
    assert "ended before it converged" in result.message


def test_steps_cut_a_stage_and_what_follows():
    model = Counter([1.0, 1.0, 1.0], [1.0])
    result = fit(model, circle(), steps=2)
    assert (result.status, result.stage, len(result.history)) == ("max_steps", "first", 2)
    assert "cut at 2 steps" in result.message


def test_ctrl_c_returns_and_callbacks_stop():
    assert fit(Counter([1.0, KeyboardInterrupt()]), circle()).status == "interrupted"
    result = fit(Counter([1.0, 1.0]), circle(), callbacks=[lambda stage, record: True])
    assert (result.status, len(result.history)) == ("interrupted", 1)


def test_seeds_belong_to_stages():
    draws = {}
    for seed in (0, 0, 1):
        model = Counter([1.0], [1.0])
        state = torch.random.get_rng_state()
        fit(model, circle(), seed=seed)
        assert torch.equal(state, torch.random.get_rng_state())
        assert model.draws[0] != model.draws[1]
        assert draws.setdefault(seed, model.draws) == model.draws
    assert draws[0] != draws[1]


def test_checkpoint_and_resume_give_the_uninterrupted_result(tmp_path):
    path, x = tmp_path / "fit.safetensors", circle()

    def make():
        return ProjectedAtlas(LocalPolynomials(1, 2))

    whole = make()
    fit(whole, x, seed=3)

    def stop(stage, record):
        if stage == "charts":
            raise KeyboardInterrupt

    first = make()
    result = fit(first, x, seed=3, checkpoint=path, callbacks=[stop])
    assert result.status == "interrupted"
    assert str(path) in result.message
    second = make()
    with pytest.raises(NotFittedError, match="not fitted yet"):
        second.manifold.project(x)
    rest = fit(second, x, seed=3, checkpoint=path, resume=True)
    assert rest.status == "converged"
    assert {r["stage"] for r in rest.history} == {"charts"}
    assert torch.allclose(whole.weights(x), second.weights(x), atol=1e-9)
    with pytest.raises(
        SaveError, match="checkpoint of this LocalPolynomials, got one of a ProjectedAtlas"
    ):
        fit(LocalPolynomials(1, 2), x, checkpoint=path, resume=True)
    path.write_text("not a model")
    with pytest.raises(SaveError, match="truncated or of another kind"):
        fit(make(), x, checkpoint=path, resume=True)


def test_resume_without_a_file_starts_anew(tmp_path):
    result = fit(
        LocalPolynomials(1, 2), circle(), checkpoint=tmp_path / "a.safetensors", resume=True
    )
    assert result.status == "converged"
    assert (tmp_path / "a.safetensors").exists()


def test_bad_arguments():
    with pytest.raises(TrainingError, match="got Linear"):
        fit(nn.Linear(2, 2), circle())
    with pytest.raises(TrainingError, match="steps >= 1"):
        fit(Counter([1.0]), circle(), steps=0)
    with pytest.raises(TrainingError, match="expected a checkpoint"):
        fit(Counter([1.0]), circle(), resume=True)
    with pytest.raises(SaveError, match="topogen's own classes"):
        fit(Counter([1.0]), circle(), checkpoint="never.safetensors")


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([["a", "b"]], "not numeric"),
        (torch.zeros(5), "expected shape"),
        (torch.full((5, 2), math.nan), "NaN or infinity in 5 of 5 rows"),
        (torch.zeros(1, 2), "different points"),
        (torch.ones(50, 2), "different points"),
        (circle(8), "different points"),
        (circle(100)[:, :1], r"R\^2, got 1 columns"),
    ],
)
def test_bad_points(points, message):
    with pytest.raises(InvalidPoints, match=message) as caught:
        fit(LocalPolynomials(1, 2), points)
    assert "\n" not in str(caught.value)


def test_progress_is_silent_unless_asked(capsys):
    fit(Counter([1.0]), circle())
    assert capsys.readouterr() == ("", "")
    fit(Counter([1.0]), circle(), progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "first" in err
