import json
import pickle

import pytest
import torch

import topogen as tg
from topogen import storage
from topogen.errors import SaveError


@pytest.mark.parametrize(
    "make",
    [
        lambda: tg.Circle(2.0),
        lambda: tg.Sphere(3, radius=0.5),
        lambda: tg.Torus(2.0, 0.3),
        lambda: tg.FlatTorus(2),
        lambda: tg.KleinBottle(),
        lambda: tg.RotationGroup(),
        lambda: tg.ProjectivePlane(),
        lambda: tg.MobiusBand(),
        lambda: tg.Product(tg.Circle(), tg.Sphere()),
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
            "expected model format 2, got 99.*topogen 9.0",
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


def test_plain():
    nested = {1: (torch.tensor([1, 2]), float("nan")), "a": [True, None, "x"]}
    assert storage.plain(nested) == {"1": [[1, 2], None], "a": [True, None, "x"]}
