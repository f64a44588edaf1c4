import json
import pickle

import pytest
import torch

import topogen as tg
from topogen import serialization
from topogen.errors import SaveError
from topogen.manifolds.operations import Restriction, Similarity
from topogen.manifolds.spaces import SPACES


@pytest.mark.parametrize(
    "make",
    [
        lambda: tg.Circle(2.0),
        lambda: tg.Sphere(3, radius=0.5),
        lambda: tg.Torus(2.0, 0.3),
        lambda: tg.Product(tg.Circle(), tg.Sphere()),
        *SPACES.values(),
    ],
)
def test_reference_spaces_come_back(tmp_path, make):
    M = make()
    tg.save(M, tmp_path / "m.safetensors")
    N = tg.load(tmp_path / "m.safetensors")
    assert type(N) is type(M)
    x = M.sample_uniform(5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(N.project(1.01 * x).value, M.project(1.01 * x).value)
    assert N.homology == M.homology


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def there_and_back(thing, path):
    tg.save(thing, path)
    return tg.load(path)


def spheres(shift=0.5):
    return [Similarity(tg.Sphere(), [s, 0.0, 0.0]) for s in (shift, -shift)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        lambda: tg.Union(*spheres()),
        lambda: tg.Union(*spheres(2.0), homology=tg.Homology((2, 0, 2))),
        lambda: tg.Union(*spheres(0.0), atol=1e-6, points=torch.eye(3), seed=3),
        lambda: tg.Union(tg.Union(*spheres()), tg.Torus(3.0, 0.3)),
        lambda: tg.Intersection(*spheres()),
        lambda: tg.Product(tg.Intersection(*spheres()), tg.Circle()),
        lambda: tg.Intersection(
            tg.FlatTorus(2), Similarity(tg.Sphere(3, 2**0.5), [0.3, 0.1, 0, 0])
        ),
    ],
)
def test_unions_and_intersections_come_back(tmp_path, make):
    M = make()
    N = there_and_back(M, tmp_path / "m.safetensors")
    assert type(N) is type(M)
    for name in ("dim", "volume", "volume_error", "homology", "closed", "orientable", "scale"):
        assert getattr(N, name) == getattr(M, name), name
    x = torch.randn(50, M.ambient_dim, generator=generator(), dtype=torch.float64)
    y = M.project(x)
    assert torch.equal(N.project(x).value, y.value)
    assert torch.equal(N.contains(y.value), M.contains(y.value))
    assert not bool(N.contains(x).any())
    if isinstance(M, tg.Union):
        drawn = [K.sample_uniform(20, generator=generator()) for K in (M, N)]
        assert torch.equal(*drawn)
    if isinstance(M, tg.Intersection):
        assert N.transversality == M.transversality
        assert torch.equal(N.found, M.found)


@pytest.mark.slow
def test_uniform_distributions_come_back(tmp_path):
    path = tmp_path / "m.safetensors"
    on_points = tg.Uniform(tg.Union(*spheres()), validate_args=False)
    charts = tg.ProjectedAtlas(tg.Circle())
    tg.fit(charts, tg.Circle().sample_uniform(300, generator=generator()))
    for distribution in (on_points, tg.Uniform(charts, tol=1e-3)):
        same = there_and_back(distribution, path)
        assert isinstance(same, tg.Uniform)
        x = distribution.sample((20,), generator=generator())
        assert torch.equal(same.sample((20,), generator=generator()), x)
        assert torch.equal(same.log_prob(x), distribution.log_prob(x))
        assert (same.likelihood, same.log_z_error) == (
            distribution.likelihood,
            distribution.log_z_error,
        )


@pytest.fixture(scope="module")
def learned_circles():
    """Two circles of the plane, learned each by itself."""
    parts = []
    for shift in (0.0, 0.8):
        x = tg.Circle().sample_uniform(120, generator=generator())
        M = tg.NeuralImplicit(1, 2, features=60, width=16)
        tg.fit(M, x + torch.tensor([shift, 0.0]))
        parts.append(M)
    return parts


@pytest.mark.slow
def test_learned_parts_come_back(tmp_path, learned_circles):
    path = tmp_path / "m.safetensors"
    x = torch.randn(50, 2, generator=generator(), dtype=torch.float64)
    for M in (tg.Union(*learned_circles), tg.Intersection(*learned_circles)):
        N = there_and_back(M, path)
        p, q = M.project(x), N.project(x)
        assert torch.equal(q.value, p.value)
        assert torch.equal(q.converged, p.converged)
        assert torch.equal(N.contains(p.value), M.contains(p.value))
        assert (N.scale, N.tolerance) == (M.scale, M.tolerance)
        path.write_bytes(path.read_bytes()[:-4])
        with pytest.raises(SaveError, match="truncated or of another kind"):
            tg.load(path)


@pytest.mark.slow
def test_a_distribution_on_a_union_comes_back(tmp_path, learned_circles):
    U = tg.Union(*learned_circles)
    x = torch.cat([tg.Circle().sample_uniform(200, generator=generator())] * 2)
    model = tg.EnergyModel(U, networks=1, width=8)
    tg.fit(model, U.project(x).value)
    same = there_and_back(model, tmp_path / "m.safetensors")
    distribution, again = model(), same()
    y = distribution.sample((20,), generator=generator())
    # the charts of both are grown anew: equal up to rounding
    assert torch.allclose(again.sample((20,), generator=generator()), y, rtol=0, atol=1e-9)
    assert torch.allclose(again.log_prob(y), distribution.log_prob(y))


def test_parts_that_cannot_be_saved_are_named(tmp_path):
    def my_circle(x):
        return (x * x).sum(-1, keepdim=True) - 1

    path = tmp_path / "m.safetensors"
    U = tg.Union(Similarity(tg.Circle(), [0.5, 0.0]), tg.ImplicitManifold(my_circle, 1, 2))
    with pytest.raises(SaveError, match=r"Union\.parts\[1\] \(ImplicitManifold\).*my_circle"):
        tg.save(U, path)
    with pytest.raises(SaveError, match=r"manifold\.parts\[1\] \(ImplicitManifold\).*my_circle"):
        tg.save(tg.EnergyModel(U), path)
    half = Restriction(tg.Circle(), lambda x: x[..., 0])
    for M in (half, tg.Union(half, tg.Circle())):
        with pytest.raises(SaveError, match=r"Restriction.*an inequality.*save its `manifold`"):
            tg.save(M, path)
    assert list(tmp_path.iterdir()) == []


def test_a_function_of_the_user_is_named(tmp_path):
    def my_field(x):
        return (x * x).sum(-1, keepdim=True) - 1

    path = tmp_path / "m.safetensors"
    with pytest.raises(SaveError, match=r"a function cannot be written to a file.*my_field"):
        tg.save(tg.ImplicitManifold(my_field, 1, 2), path)
    chart = tg.FunctionChart(
        lambda z: torch.cat([z, z], -1), lambda x: x[..., :1], domain=tg.Ball(1)
    )
    with pytest.raises(SaveError, match=r"FunctionChart\.decode"):
        tg.save(chart, path)
    with pytest.raises(SaveError, match=r"got Linear|topogen's own classes"):
        tg.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(SaveError, match="got dict"):
        tg.save({"a": 1}, path)
    with pytest.raises(SaveError, match="a learned distribution or Uniform, got VonMisesFisher"):
        tg.save(tg.VonMisesFisher([0.0, 0.0, 1.0], 2.0), path)
    assert list(tmp_path.iterdir()) == []


def _header(path, change):
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["topogen"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}
    change(header)
    save_file(tensors, path, metadata={"topogen": json.dumps(header)})


def test_bad_files(tmp_path):
    good = tmp_path / "good.safetensors"
    tg.save(tg.Circle(), good)

    def expect(path, message):
        with pytest.raises(SaveError, match=message) as caught:
            tg.load(path)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)

    path = tmp_path / "m.safetensors"
    expect(path, "there is none")
    expect(tmp_path, "got a directory")
    path.write_bytes(b"")
    expect(path, "truncated or of another kind")
    path.write_bytes(good.read_bytes()[:-4])
    expect(path, "truncated or of another kind")
    path.write_text("some text, no model")
    expect(path, "truncated or of another kind")
    path.write_bytes(pickle.dumps({"a": 1}))
    expect(path, "truncated or of another kind")
    torch.save({"a": torch.ones(2)}, path)
    expect(path, "truncated or of another kind")
    from safetensors.torch import save_file

    save_file({"a": torch.ones(2)}, path)
    expect(path, "another safetensors file")
    for change, message in [
        (
            lambda h: h.update(format=99, version="9.0"),
            "expected model format 5, got 99.*topogen 9.0; update topogen",
        ),
        (
            lambda h: h.update(format=2, version="0.1.0"),
            "expected model format 5, got 2 written by topogen 0.1.0; fit the model again",
        ),
        (lambda h: h["module"].update({"class": "Popen"}), "expected a class of topogen"),
        (lambda h: h["module"]["arguments"].update(extra=1), "does not fit"),
        (lambda h: h.pop("module"), "does not fit"),
    ]:
        path.write_bytes(good.read_bytes())
        _header(path, change)
        expect(path, message)


def test_an_older_file_survives_a_failed_save(tmp_path, monkeypatch):
    import safetensors.torch

    path = tmp_path / "m.safetensors"
    tg.save(tg.Circle(2.0), path)
    before = path.read_bytes()

    def full(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(SaveError, match="no space left"):
        tg.save(tg.Circle(3.0), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_tilde_is_the_home_of_the_user_and_files_are_not_private(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    tg.save(tg.Circle(2.0), "~/deep/m.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]
    assert tg.load("~/deep/m.safetensors").radius == 2.0
    with pytest.raises(SaveError, match=f"{tmp_path}/m.safetensors: .* there is none"):
        tg.load("~/m.safetensors")
    (tmp_path / "plain").touch()
    mode = (tmp_path / "plain").stat().st_mode
    assert (tmp_path / "deep" / "m.safetensors").stat().st_mode == mode


def test_plain():
    nested = {1: (torch.tensor([1, 2]), float("nan")), "a": [True, None, "x"]}
    assert serialization.plain(nested) == {"1": [[1, 2], None], "a": [True, None, "x"]}
