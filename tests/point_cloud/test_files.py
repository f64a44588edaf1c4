import os

import numpy as np
import pytest
import torch

from topogen.errors import DataFileError, InvalidPoints
from topogen.point_cloud.files import load_points, save_points

X = np.random.default_rng(0).normal(size=(20, 3))


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".pt"])
def test_round_trip(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    save_points(path, X)
    assert np.array_equal(load_points(path), X)


def test_npz_takes_the_key_points_else_the_only_flat_array(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, points=X, other=X[:5])
    assert np.array_equal(load_points(path), X)
    np.savez(path, cloud=X, label=np.arange(20))
    assert np.array_equal(load_points(path), X)
    np.savez(path, a=X, b=X)
    with pytest.raises(
        DataFileError, match=r"exactly one two-dimensional array, got a \(20, 3\), b"
    ):
        load_points(path)


@pytest.mark.parametrize(
    "text", ["a,b,c\n1,2,3\n4,5,6\n", "1;2;3\n4;5;6\n", "1 2 3\n4 5 6", "1\t2\t3\n\n4\t5\t6\n"]
)
def test_csv_dialects(tmp_path, text):
    path = tmp_path / "x.csv"
    path.write_text(text)
    assert np.array_equal(load_points(path), [[1, 2, 3], [4, 5, 6]])


def test_pt_dictionary_and_float32(tmp_path):
    path = tmp_path / "x.pt"
    torch.save({"points": torch.ones(4, 2), "y": torch.zeros(4)}, path)
    loaded = load_points(path)
    assert loaded.dtype == np.float64
    assert loaded.shape == (4, 2)


class Evil:
    def __reduce__(self):
        return (os.mkdir, ("/tmp/topogen-must-not-exist",))


def _pickled_npy(path):
    np.save(path, np.array([Evil()], dtype=object), allow_pickle=True)


BAD = {
    "missing.npy": (lambda p: None, "there is none"),
    "folder.npy": (lambda p: p.mkdir(), "got a directory"),
    "empty.npy": (lambda p: p.write_bytes(b""), "empty file"),
    "empty.csv": (lambda p: p.write_bytes(b""), "empty file"),
    "header.csv": (lambda p: p.write_text("a,b\n"), "rows of numbers, got none"),
    "ragged.csv": (
        lambda p: p.write_text("1,2\n3\n"),
        "2 columns in every row, got 1 in data row 2",
    ),
    "binary.csv": (
        lambda p: p.write_bytes(b"\xff\xfe\x00\x81" * 9),
        "truncated or of another kind",
    ),
    "text.npy": (lambda p: p.write_text("hello"), "truncated or of another kind"),
    "text.npz": (lambda p: p.write_text("hello"), "truncated or of another kind"),
    "text.pt": (lambda p: p.write_text("hello"), "truncated or of another kind|pickled"),
    "points.xyz": (lambda p: p.write_text("1 2 3"), "got .xyz"),
    "pickled.npy": (_pickled_npy, "pickled objects, which are never loaded"),
    "pickled.pt": (lambda p: torch.save(Evil(), p), "pickled objects, which are never loaded"),
    "list.pt": (lambda p: torch.save([1.0], p), "expected a tensor, got list"),
    "none.npz": (lambda p: np.savez(p, y=np.arange(3)), "two-dimensional array, got y"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_file(tmp_path, name):
    write, message = BAD[name]
    path = tmp_path / name
    write(path)
    with pytest.raises(DataFileError, match=message) as caught:
        load_points(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert not os.path.exists("/tmp/topogen-must-not-exist")


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pt"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_truncated_file(tmp_path, suffix, share):
    path = tmp_path / f"x{suffix}"
    save_points(path, X)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataFileError, match="truncated or of another kind"):
        load_points(path)


def test_unreadable_file(tmp_path, monkeypatch):
    path = tmp_path / "x.npy"
    np.save(path, X)

    # not chmod(0): root reads everything
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(DataFileError, match="read permission"):
        load_points(path)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([["a", "b"]]), "not numeric"),
        (np.zeros((3, 2, 2)), r"expected shape \(n, D\), got \(3, 2, 2\)"),
        (np.zeros(5), r"reshape a curve of scalars to \(n, 1\)"),
        (np.array([[1.0, np.nan], [1.0, 2.0]]), "NaN or infinity in 1 of 2 rows"),
        (np.array([[1.0, np.inf]]), "NaN or infinity in 1 of 1 rows"),
        (np.zeros((0, 3)), "at least 1 points, got 0"),
    ],
)
def test_bad_points(tmp_path, array, message):
    path = tmp_path / "x.npy"
    np.save(path, array)
    with pytest.raises(InvalidPoints, match=message):
        load_points(path)


def test_text_in_csv(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("name,x\nfirst,1.0\nsecond,2.0\n")
    with pytest.raises(InvalidPoints, match="got 'first' in data row 1, column 1"):
        load_points(path)


def test_unwritable(tmp_path):
    with pytest.raises(DataFileError, match=r"expected \.npy.*got \.xyz"):
        save_points(tmp_path / "x.xyz", X)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataFileError, match="place to write"):
        save_points(tmp_path / "file" / "x.npy", X)
