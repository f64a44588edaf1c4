"""Point clouds in files: .npy, .npz, .csv, .pt and .parquet; nothing is ever unpickled."""

from __future__ import annotations

import gzip
import os
import pickle
import zipfile
import zlib
from collections.abc import Callable
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..errors import DataFileError
from .arrays import as_array
from .text_tables import damaged, read_table

KINDS = ".npy, .npz, .csv, .tsv, .txt, .pt or .parquet"


@runtime_checkable
class Readable(Protocol):
    """An open file, or what reads like one."""

    def read(self) -> bytes | str:
        """All that is left of it."""
        ...


def user_path(path: Any) -> Path:
    """A path, in which a leading ~ is the user's home as in a shell.

    Raises:
        DataFileError: no path.
    """
    if not isinstance(path, str | os.PathLike):
        raise DataFileError(f"expected a path, got {type(path).__name__}; pass a file name")
    try:
        return Path(path).expanduser()
    except RuntimeError:  # the home of nobody: a name like any other
        return Path(path)


def load_points(source: Any) -> np.ndarray:
    """Read a point cloud of shape (n, D) as float64.

    The suffix names the kind: .npy; .npz (key `points`, else the only two-dimensional array);
    .csv, .tsv or .txt (any separator, with or without a header; a first column without a name is
    left out); .pt (a tensor, or a dictionary as for .npz); .parquet (every column a number; needs
    pandas); each also with .gz.

    Args:
        source: a path; or an open file, whose kind its first bytes tell.

    Raises:
        DataFileError: the file cannot be read, or has not one two-dimensional array.
        InvalidPoints: the array is text, of the wrong rank, or contains NaN or infinity.
    """
    if isinstance(source, Readable):
        return _load_open(source)
    if not isinstance(source, str | os.PathLike):
        raise DataFileError(
            f"expected a path or an open file, got {type(source).__name__}; an array needs no "
            "reading"
        )
    path = user_path(source)
    try:
        return _load_path(path)
    except PermissionError:
        raise DataFileError(
            f"{path}: expected a readable file, got one without read permission; change its mode"
        ) from None
    except DataFileError:
        raise
    except OSError as error:
        raise DataFileError(
            f"{path}: expected a readable file, got {error.strerror or error}; check the path"
        ) from None


def _load_path(path: Path) -> np.ndarray:
    """The points of the file at a path; OSError where it cannot be read."""
    if path.is_dir():
        raise DataFileError(
            f"{path}: expected a data file ({KINDS}), got a directory; name one file in it"
        )
    if not path.exists():
        raise DataFileError(f"{path}: expected a data file, but there is none; check the path")
    *_, inner, suffix = ["", "", *path.suffixes]
    packed = suffix.lower() == ".gz"
    reader = _READERS.get((inner if packed else suffix).lower())
    if reader is None:
        given = path.suffix or "no suffix"
        raise DataFileError(
            f"{path}: expected {KINDS}, got {given}; convert it, for example with numpy.save"
        )
    if path.stat().st_size == 0:
        raise _empty(str(path))
    with path.open("rb") as file:
        content = _unpacked(file.read(), str(path)) if packed else file
        return as_array(reader(content, str(path)), name=str(path))


def _load_open(file: Any) -> np.ndarray:
    """The points of an open file, from its place on."""
    name = str(getattr(file, "name", "") or f"the open {type(file).__name__}")
    try:
        content = file.read()
    except (OSError, ValueError) as error:
        raise DataFileError(
            f"{name}: expected a file that can be read, got {error}; open it with mode 'rb'"
        ) from None
    content = content.encode() if isinstance(content, str) else bytes(content)
    if not content:
        raise _empty(name)
    if content.startswith(b"\x1f\x8b"):
        content = _unpacked(content, name).getvalue()
    kind = next((kind for start, kind in _STARTS.items() if content.startswith(start)), ".csv")
    if kind == ".npz" and _is_torch_archive(content):
        kind = ".pt"
    return as_array(_READERS[kind](BytesIO(content), name), name=name)


def _is_torch_archive(content: bytes) -> bool:
    try:
        names = zipfile.ZipFile(BytesIO(content)).namelist()
    except zipfile.BadZipFile:
        return False
    return any(name.endswith("data.pkl") for name in names)


def _unpacked(content: bytes, name: str) -> BytesIO:
    try:
        return BytesIO(gzip.decompress(content))
    except (OSError, EOFError, zlib.error):
        raise damaged(name, "a gzip file") from None


def _empty(name: str) -> DataFileError:
    return DataFileError(f"{name}: expected points, got an empty file; write it again")


def save_points(path: str | os.PathLike[str], points: np.ndarray) -> None:
    """Write points of shape (n, D) as .npy, .npz (key `points`), .csv or .pt, by the suffix.

    Raises:
        DataFileError: another suffix, or a place that cannot be written.
        InvalidPoints: not a finite (n, D) array.
    """
    path = user_path(path)
    writer, x = output_kind(path), as_array(points)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            writer(file, x)
    except OSError as error:
        raise DataFileError(
            f"{path}: expected a place to write to, got {error.strerror or error}; choose another"
        ) from None


def output_kind(path: str | os.PathLike[str]) -> Callable[..., None]:
    """What writes points to a file of this name; DataFileError for another suffix."""
    path = user_path(path)
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise DataFileError(
            f"{path}: expected {', '.join(_WRITERS)} to write points to, got "
            f"{path.suffix or 'no suffix'}; rename it"
        )
    return writer


def _pickled(name: str) -> DataFileError:
    return DataFileError(
        f"{name}: expected plain numbers, got pickled objects, which are never loaded; save a "
        "numeric array"
    )


def _refused(file: BufferedIOBase, name: str, error: ValueError, kind: str) -> DataFileError:
    """What is wrong with a file; what numpy does not know it takes for a pickle."""
    file.seek(0)
    known = file.read(1) in (b"\x80", b"\x93")  # of pickles, and of .npy with some in it
    pickled = known and "pickle" in str(error).lower()
    return _pickled(name) if pickled else damaged(name, kind)


def _npy(file: BufferedIOBase, name: str) -> object:
    try:
        array = np.load(file, allow_pickle=False)
    except ValueError as error:
        raise _refused(file, name, error, "a .npy array") from None
    except EOFError:
        raise damaged(name, "a .npy array") from None
    if not isinstance(array, np.ndarray):
        array.close()
        raise damaged(name, "a .npy array (this is an .npz archive)")
    return array


def _npz(file: BufferedIOBase, name: str) -> object:
    try:
        with np.load(file, allow_pickle=False) as archive:
            arrays = {key: _member(archive, key, name) for key in archive.files}
    except (zipfile.BadZipFile, EOFError, AttributeError, TypeError):
        raise damaged(name, "an .npz archive") from None
    except ValueError as error:
        raise _refused(file, name, error, "an .npz archive") from None
    return _choose({key: array for key, array in arrays.items() if array is not None}, name)


def _member(archive: np.lib.npyio.NpzFile, key: str, name: str) -> np.ndarray | None:
    try:
        return archive[key]
    except ValueError as error:
        if "pickle" not in str(error).lower():
            raise damaged(name, "an .npz archive") from None
        # an array of objects beside the points does no harm: it is left unread
        if key != "points":
            return None
        raise _pickled(name) from None


def _pt(file: Any, name: str) -> object:
    import torch

    try:
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        pickled = "weights_only" in str(error).lower()
        raise (_pickled(name) if pickled else damaged(name, "a .pt file")) from None
    except (RuntimeError, EOFError, ValueError, KeyError, AttributeError, TypeError, IndexError):
        raise damaged(name, "a .pt file") from None
    if isinstance(loaded, torch.Tensor):
        return loaded
    if not isinstance(loaded, dict):
        raise DataFileError(
            f"{name}: expected a tensor, got {type(loaded).__name__}; save the tensor itself"
        )
    # nested ones have no shape
    tensors = {str(k): v for k, v in loaded.items() if isinstance(v, torch.Tensor)}
    return _choose({k: v for k, v in tensors.items() if not v.is_nested}, name)


def _choose(arrays: dict[str, Any], name: str) -> object:
    if "points" in arrays:
        return arrays["points"]
    flat = [key for key, array in arrays.items() if array.ndim == 2]
    if len(flat) != 1:
        sizes = [f"{key} {tuple(array.shape)}" for key, array in arrays.items()]
        found = ", ".join(sizes) or "no array"
        raise DataFileError(
            f"{name}: expected the key 'points', or exactly one two-dimensional array, got "
            f"{found}; save the cloud under 'points'"
        )
    return arrays[flat[0]]


def _parquet(file: BufferedIOBase, name: str) -> object:
    try:
        import pandas
    except ImportError:
        raise _uninstalled(name, "pandas") from None
    try:
        return pandas.read_parquet(file)
    except ImportError:
        raise _uninstalled(name, "pyarrow") from None
    except (ValueError, OSError):
        raise damaged(name, "a .parquet table") from None


def _uninstalled(name: str, package: str) -> DataFileError:
    return DataFileError(
        f"{name}: expected {package} to read .parquet, and it is not installed; "
        "pip install 'topogen-manifolds[parquet]'"
    )


def _save_csv(file: BufferedIOBase, x: np.ndarray) -> None:
    header = ",".join(f"x{i}" for i in range(x.shape[1]))
    np.savetxt(file, x, delimiter=",", fmt="%.17g", comments="", header=header)


def _save_pt(file: Any, x: np.ndarray) -> None:
    import torch

    torch.save(torch.from_numpy(np.asarray(x)), file)


_READERS: dict[str, Callable[[BufferedIOBase, str], object]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".csv": read_table,
    ".tsv": read_table,
    ".txt": read_table,
    ".pt": _pt,
    ".parquet": _parquet,
}

# the first bytes of what is no text; .pt is a zip archive of its own kind
_STARTS = {b"\x93NUMPY": ".npy", b"PK\x03\x04": ".npz", b"PAR1": ".parquet", b"\x80": ".pt"}

_WRITERS: dict[str, Callable[..., None]] = {
    ".npy": np.save,
    ".npz": lambda file, x: np.savez(file, points=x),
    ".csv": _save_csv,
    ".pt": _save_pt,
}
