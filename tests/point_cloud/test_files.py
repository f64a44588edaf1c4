import gzip
import io
import os

import numpy as np
import pytest
import torch

from topogen.errors import DataFileError, InvalidPoints
from topogen.point_cloud.files import load_points, save_points, user_path

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
    "text",
    [
        "a,b,c\n1,2,3\n4,5,6\n",
        "1;2;3\n4;5;6\n",
        "1 2 3\n4 5 6",
        "1\t2\t3\n\n4\t5\t6\n",
        "# of numpy.savetxt\n# in two lines\n1.0e+00,2,3\n4,5,6",
        "1, 2, 3\n4, 5, 6\n",
        " 1  2   3\n 4  5   6 \n",
        "\ufeff1,2,3\r\n4,5,6\r\n",
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".txt", ".CSV", ".csv.gz", ".tsv.GZ"])
def test_csv_dialects(tmp_path, text, suffix):
    path = tmp_path / f"x.2{suffix}"
    data = text.encode()
    path.write_bytes(gzip.compress(data) if suffix.lower().endswith("gz") else data)
    assert np.array_equal(load_points(path), [[1, 2, 3], [4, 5, 6]])


A = np.array([[0.5, 0.25], [1.5, -2.0], [-0.75, 1e-5]])
TABLES = {
    "column numbers above": "0,1\n0.5,0.25\n1.5,-2.0\n-0.75,1e-05\n",
    "column numbers from 1": "1,2\n0.5,0.25\n1.5,-2.0\n-0.75,1e-05\n",
    "years": "1990,2000\n0.5,0.25\n1.5,-2.0\n-0.75,1e-05\n",
    "unnamed index": ",x,y\n0,0.5,0.25\n1,1.5,-2.0\n2,-0.75,1e-05\n",
    "unnamed index, filtered": ",x,y\n3,0.5,0.25\n12,1.5,-2.0\n7,-0.75,1e-05\n",
    "unnamed names": ",x,y\na,0.5,0.25\nb,1.5,-2.0\nc,-0.75,1e-05\n",
    "unnamed dates": ",x,y\n2020-01-01,0.5,0.25\n2020-01-02,1.5,-2.0\n2020-01-03,-0.75,1e-5\n",
    "written twice": ",Unnamed: 0,x,y\n0,0,0.5,0.25\n1,1,1.5,-2.0\n2,2,-0.75,1e-05\n",
    "index above numbers": ",0,1\n0,0.5,0.25\n1,1.5,-2.0\n2,-0.75,1e-05\n",
    "tabs": "\tx\ty\n0\t0.5\t0.25\n1\t1.5\t-2.0\n2\t-0.75\t1e-05\n",
    "write.csv of R": '"","x","y"\n"1",0.5,0.25\n"2",1.5,-2\n"3",-0.75,1e-05\n',
    "write.table of R": '"x" "y"\n"1" 0.5 0.25\n"2" 1.5 -2\n"3" -0.75 1e-05\n',
    "decimal commas": "0,5;0,25\n1,5;-2,0\n-0,75;1,0e-5\n",
    "decimal commas below names": "x;y\n0,5;0,25\n1,5;-2\n-0,75;1e-5\n",
    "decimal commas and tabs": "0,5\t0,25\n1,5\t-2,0\n-0,75\t1,0e-5\n",
    "decimal commas and spaces": "0,5 0,25\n1,5 -2,0\n-0,75 1,0e-5\n",
    "quoted decimal commas": '"0,5","0,25"\n"1,5","-2,0"\n"-0,75","1,0e-5"\n',
    "an index above them": ";x;y\n0;0,5;0,25\n1;1,5;-2\n2;-0,75;1e-5\n",
}


@pytest.mark.parametrize("name", TABLES)
def test_headers_row_names_and_decimal_commas(tmp_path, name):
    path = tmp_path / "x.csv"
    path.write_text(TABLES[name])
    assert np.array_equal(load_points(path), A)


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("columns", [None, ["x", "y", "z"]])
@pytest.mark.parametrize("sep", [",", ";", "\t", " "])
@pytest.mark.parametrize("decimal", [".", ","])
def test_what_pandas_writes(tmp_path, index, columns, sep, decimal):
    if sep == decimal:
        return  # pandas then quotes every number
    pandas = pytest.importorskip("pandas")
    path = tmp_path / "x.csv"
    frame = pandas.DataFrame(X, columns=columns)
    frame.to_csv(path, index=index, sep=sep, decimal=decimal)
    assert np.array_equal(load_points(path), X)
    frame[frame.iloc[:, 0] > 0].to_csv(path, sep=";", decimal=decimal)
    assert np.array_equal(load_points(path), X[X[:, 0] > 0])


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("0,1\n1,0\n0,0\n", None),  # a point of a grid, or the header of one
        ("5,1\n1,0\n0,0\n", [[5, 1], [1, 0], [0, 0]]),
        ("1,0\n0.5,0.25\n", [[1, 0], [0.5, 0.25]]),
        ("0.0,1.0\n0.5,0.25\n", [[0, 1], [0.5, 0.25]]),
        ("0\n0.5\n0.25\n", [[0.5], [0.25]]),
        ("3\n0.5\n0.25\n", [[3], [0.5], [0.25]]),
        ("0\n1\n2\n", [[0], [1], [2]]),
        ("0,1\n", [[0, 1]]),
        ("-0,1\n0.5,2\n", [[0, 1], [0.5, 2]]),
    ],
)
def test_whole_numbers_in_the_first_row(tmp_path, text, table):
    path = tmp_path / "x.csv"
    path.write_text(text)
    if table is None:
        with pytest.raises(DataFileError, match=r"may be either .* write the point as 0.0,1.0"):
            load_points(path)
    else:
        assert np.array_equal(load_points(path), table)


REFUSED_TABLES = {
    "one column with decimal commas": ("0,512\n0,045\n1,5\n", "'045' in data row 2"),
    "negative ones": ("-0,5\n0,25\n", "'-0' in data row 1"),
    "two of them": ("0,512,0,25\n1,045,3,7\n", "decimal comma"),
    "a name above them": ("x\n0,5\n0,25\n", "a name for each of 2 columns, got 1"),
    "thousands": ("1,234;2,345\n5,678;9,012\n", "got '1,234' in data row 1"),
    "points and commas": ("1.5;2,5\n1.5;2.5\n", "got '2,5' in data row 1"),
    "a coordinate without a name": (",x\n0.5,0.25\n1.5,2.5\n", "column 1, which has no name"),
    "a missing value": (",0.5\n1.5,2.5\n", "got '' in data row 1, column 1"),
    "underscores": ("1_000,2\n3,4\n", "got '1_000'"),
    "too few names": ("x,y\n1.5,2,3\n4,5,6\n", "got 2 names"),
    "only comments": ("# nothing\n", "rows of numbers, got none"),
}


@pytest.mark.parametrize("name", REFUSED_TABLES)
def test_tables_that_cannot_be_read(tmp_path, name):
    text, words = REFUSED_TABLES[name]
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises((DataFileError, InvalidPoints), match=words):
        load_points(path)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".pt"])
def test_open_and_packed_files(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    save_points(path, X)
    data = path.read_bytes()
    packed = tmp_path / f"x{suffix}.gz"
    packed.write_bytes(gzip.compress(data))
    assert np.array_equal(load_points(packed), X)
    for content in (data, gzip.compress(data)):
        assert np.array_equal(load_points(io.BytesIO(content)), X)
    for opened in (path.open("rb"), packed.open("rb"), gzip.open(packed)):
        with opened as file:
            assert np.array_equal(load_points(file), X)
    if suffix == ".csv":
        assert np.array_equal(load_points(io.StringIO(data.decode())), X)
        with path.open() as file:
            assert np.array_equal(load_points(file), X)


def test_open_files_that_cannot_be_read(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, X)
    with path.open("rb") as file:
        pass
    with pytest.raises(DataFileError, match=r"x.npy: expected a file that can be read"):
        load_points(file)
    with path.open("ab") as file, pytest.raises(DataFileError, match="can be read"):
        load_points(file)
    with path.open(encoding="utf-8") as file, pytest.raises(DataFileError, match="mode 'rb'"):
        load_points(file)
    with pytest.raises(DataFileError, match="the open BytesIO: expected points, got an empty"):
        load_points(io.BytesIO())
    with pytest.raises(DataFileError, match="truncated"):
        load_points(io.BytesIO(path.read_bytes()[:90]))
    with pytest.raises(DataFileError, match=r"pickled objects|truncated"):
        load_points(io.BytesIO(b"\x80\x02]q\x00."))
    (tmp_path / "x.csv.gz").write_text("1,2")
    with pytest.raises(DataFileError, match="a gzip file"):
        load_points(tmp_path / "x.csv.gz")
    for given in (X, b"x.npy", None, 3):
        with pytest.raises(DataFileError, match="expected a path or an open file, got"):
            load_points(given)


def test_a_tilde_is_the_home_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    save_points("~/deep/x.npy", X)
    assert np.array_equal(load_points("~/deep/x.npy"), X)
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]
    with pytest.raises(DataFileError, match=f"{tmp_path}/nothing.npy: .* there is none"):
        load_points("~/nothing.npy")
    assert str(user_path("~nobody-of-this-name/x")) == "~nobody-of-this-name/x"
    with pytest.raises(DataFileError, match="expected a path, got BytesIO"):
        user_path(io.BytesIO())


def test_pt_dictionary_and_float32(tmp_path):
    path = tmp_path / "x.pt"
    torch.save({"points": torch.ones(4, 2), "y": torch.zeros(4)}, path)
    loaded = load_points(path)
    assert loaded.dtype == np.float64
    assert loaded.shape == (4, 2)


@pytest.mark.filterwarnings("ignore:.*(prototype|nested|Sparse)")
def test_pt_of_any_tensor(tmp_path):
    path = tmp_path / "x.pt"
    exact = torch.tensor([[1.0, -2.0], [0.5, 0.0]], dtype=torch.float64)
    beside = {
        "half": torch.ones(3, dtype=torch.bfloat16),
        "weights": torch.nn.Parameter(torch.ones(2)),
        "ragged": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        "sparse": torch.eye(3).to_sparse().unsqueeze(0),
        "n": 7,
    }
    for x in (exact, torch.nn.Parameter(exact), exact.bfloat16(), exact.to_sparse()):
        for content in (x, {"points": x, **beside}, {"cloud": x, **beside}):
            torch.save(content, path)
            assert np.array_equal(load_points(path), exact)
    torch.save({"a": exact, "b": torch.nn.Parameter(exact), "c": exact[0].bfloat16()}, path)
    with pytest.raises(DataFileError, match=r"array, got a \(2, 2\), b \(2, 2\), c \(2,\)"):
        load_points(path)
    torch.save({"points": exact * 1j}, path)
    with pytest.raises(InvalidPoints, match="complex"):
        load_points(path)


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
