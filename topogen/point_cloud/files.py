"""Point clouds in files: .npy, .npz, .csv, .pt and .parquet; nothing is ever unpickled."""

from __future__ import annotations

import csv
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TextIO

import numpy as np

from ..errors import DataFileError, InvalidPoints
from .arrays import as_array

_KINDS = ".npy, .npz, .csv, .pt or .parquet"


def load_points(path: str | Path) -> np.ndarray:
    """Read a point cloud of shape (n, D) as float64.

    The suffix names the kind: .npy; .npz (key `points`, else the only two-dimensional array); .csv
    (with or without a header row); .pt (a tensor, or a dictionary as for .npz); .parquet (every
    column a number; needs pandas).

    Raises:
        DataFileError: the file cannot be read, or has not one two-dimensional array.
        InvalidPoints: the array is text, of the wrong rank, or contains NaN or infinity.
    """
    path = Path(path)
    reader = _READERS.get(path.suffix.lower())
    if path.is_dir():
        raise DataFileError(
            f"{path}: expected a data file ({_KINDS}), got a directory; name one file in it"
        )
    if not path.exists():
        raise DataFileError(f"{path}: expected a data file, but there is none; check the path")
    if reader is None:
        given = path.suffix or "no suffix"
        raise DataFileError(
            f"{path}: expected {_KINDS}, got {given}; convert it, for example with numpy.save"
        )
    try:
        if path.stat().st_size == 0:
            raise DataFileError(f"{path}: expected points, got an empty file; write it again")
        return as_array(reader(path), name=str(path))
    except PermissionError:
        raise DataFileError(
            f"{path}: expected a readable file, got one without read permission; change its mode"
        ) from None


def save_points(path: str | Path, points: np.ndarray) -> None:
    """Write points of shape (n, D) as .npy, .npz (key `points`), .csv or .pt, by the suffix.

    Raises:
        DataFileError: another suffix, or a place that cannot be written.
    """
    path = Path(path)
    writer = output_kind(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            writer(file, points)
    except OSError as error:
        raise DataFileError(
            f"{path}: expected a place to write to, got {error.strerror or error}; choose another"
        ) from None


def output_kind(path: str | Path) -> Callable[..., None]:
    """What writes points to a file of this name; DataFileError for another suffix."""
    path = Path(path)
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise DataFileError(
            f"{path}: expected {', '.join(_WRITERS)} to write points to, got "
            f"{path.suffix or 'no suffix'}; rename it"
        )
    return writer


def _damaged(path: Path, kind: str) -> DataFileError:
    return DataFileError(
        f"{path}: expected {kind}, got a file that is truncated or of another kind; write it again"
    )


def _pickled(path: Path) -> DataFileError:
    return DataFileError(
        f"{path}: expected plain numbers, got pickled objects, which are never loaded; save a "
        "numeric array"
    )


def _refused(path: Path, error: ValueError, kind: str) -> DataFileError:
    """What is wrong with a file; what numpy does not know it takes for a pickle."""
    with path.open("rb") as file:
        known = file.read(1) in (b"\x80", b"\x93")  # of pickles, and of .npy with some in it
    pickled = known and "pickle" in str(error).lower()
    return _pickled(path) if pickled else _damaged(path, kind)


def _npy(path: Path) -> object:
    try:
        with path.open("rb") as file:
            array = np.load(file, allow_pickle=False)
    except ValueError as error:
        raise _refused(path, error, "a .npy array") from None
    except EOFError:
        raise _damaged(path, "a .npy array") from None
    if not isinstance(array, np.ndarray):
        array.close()
        raise _damaged(path, "a .npy array (this is an .npz archive)")
    return array


def _npz(path: Path) -> object:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: _member(archive, name, path) for name in archive.files}
    except (zipfile.BadZipFile, EOFError, AttributeError, TypeError):
        raise _damaged(path, "an .npz archive") from None
    except ValueError as error:
        raise _refused(path, error, "an .npz archive") from None
    return _choose(path, {name: array for name, array in arrays.items() if array is not None})


def _member(archive: np.lib.npyio.NpzFile, name: str, path: Path) -> np.ndarray | None:
    try:
        return archive[name]
    except ValueError as error:
        if "pickle" not in str(error).lower():
            raise _damaged(path, "an .npz archive") from None
        # an array of objects beside the points does no harm: it is left unread
        if name != "points":
            return None
        raise _pickled(path) from None


def _pt(path: Path) -> object:
    import torch

    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        pickled = "weights_only" in str(error).lower()
        raise (_pickled(path) if pickled else _damaged(path, "a .pt file")) from None
    except (RuntimeError, EOFError, ValueError, KeyError, AttributeError, TypeError, IndexError):
        raise _damaged(path, "a .pt file") from None
    if isinstance(loaded, torch.Tensor):
        return loaded
    if not isinstance(loaded, dict):
        raise DataFileError(
            f"{path}: expected a tensor, got {type(loaded).__name__}; save the tensor itself"
        )
    arrays = {str(k): v.numpy() for k, v in loaded.items() if isinstance(v, torch.Tensor)}
    return _choose(path, arrays)


def _choose(path: Path, arrays: dict[str, np.ndarray]) -> np.ndarray:
    if "points" in arrays:
        return arrays["points"]
    flat = [name for name, array in arrays.items() if array.ndim == 2]
    if len(flat) != 1:
        found = ", ".join(f"{name} {array.shape}" for name, array in arrays.items()) or "no array"
        raise DataFileError(
            f"{path}: expected the key 'points', or exactly one two-dimensional array, got "
            f"{found}; save the cloud under 'points'"
        )
    return arrays[flat[0]]


def _csv(path: Path) -> object:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            given = csv.reader(file, _dialect(file))
            rows = [row for row in given if any(cell.strip() for cell in row)]
    except (UnicodeDecodeError, csv.Error):
        raise _damaged(path, "a text file of numbers") from None
    if rows and not any(_is_number(cell) for cell in rows[0]):
        rows = rows[1:]
    if not rows:
        raise DataFileError(f"{path}: expected rows of numbers, got none; write it again")
    width = len(rows[0])
    table = np.empty((len(rows), width))
    for i, row in enumerate(rows):
        if len(row) != width:
            raise DataFileError(
                f"{path}: expected {width} columns in every row, got {len(row)} in data row "
                f"{i + 1}; repair that row"
            )
        for j, cell in enumerate(row):
            if not _is_number(cell):
                shown = cell.strip()[:40]
                raise InvalidPoints(
                    f"{path}: expected numbers, got {shown!r} in data row {i + 1}, column "
                    f"{j + 1}; keep only numeric columns, with at most one header row"
                )
            table[i, j] = float(cell)
    return table


def _dialect(file: TextIO) -> type[csv.Dialect]:
    """Comma, semicolon, tab or spaces, whichever the first line uses."""
    first = file.readline()
    file.seek(0)
    found = next((c for c in ",;\t" if c in first), " " if " " in first.strip() else ",")

    class Dialect(csv.excel):
        delimiter = found
        skipinitialspace = True

    return Dialect


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _parquet(path: Path) -> object:
    try:
        import pandas
    except ImportError:
        raise _uninstalled(path, "pandas") from None
    try:
        return pandas.read_parquet(path).to_numpy()
    except ImportError:
        raise _uninstalled(path, "pyarrow") from None
    except (ValueError, OSError):
        raise _damaged(path, "a .parquet table") from None


def _uninstalled(path: Path, package: str) -> DataFileError:
    return DataFileError(
        f"{path}: expected {package} to read .parquet, and it is not installed; "
        "pip install 'topogen-manifolds[parquet]'"
    )


def _save_csv(file: BinaryIO, x: np.ndarray) -> None:
    header = ",".join(f"x{i}" for i in range(x.shape[1]))
    np.savetxt(file, x, delimiter=",", fmt="%.17g", comments="", header=header)


def _save_pt(file: BinaryIO, x: np.ndarray) -> None:
    import torch

    torch.save(torch.from_numpy(np.asarray(x)), file)


_READERS: dict[str, Callable[[Path], object]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".csv": _csv,
    ".pt": _pt,
    ".parquet": _parquet,
}

_WRITERS: dict[str, Callable[..., None]] = {
    ".npy": np.save,
    ".npz": lambda file, x: np.savez(file, points=x),
    ".csv": _save_csv,
    ".pt": _save_pt,
}
