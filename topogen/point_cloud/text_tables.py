"""Tables of numbers as text: separators, headers and index columns are recognised, not guessed."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from io import BufferedIOBase
from itertools import pairwise

import numpy as np

from ..errors import DataFileError, InvalidPoints

Rows = list[list[str]]

_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")
_DIGITS = re.compile(r"[+-]?[\d.,]*\d[\d.,]*([eE][+-]?\d+)?")
_UNNAMED = re.compile(r"(Unnamed: \d+)?")  # as pandas calls a column that had no name


def read_table(file: BufferedIOBase, name: str) -> np.ndarray:
    """Read lines of numbers, separated by commas, semicolons, tabs or spaces, as (n, D) float64.

    Lines that begin with # are comments. There may be one header row, also one of column numbers
    (0, 1, ...). A first column without a name, as pandas and R write their row names, is left out.
    Decimal commas are read where something else separates the columns.

    Raises:
        DataFileError: no text, no rows, rows of different length, or more than one way to read it.
        InvalidPoints: a cell that is not a number.
    """
    try:
        lines = [line.strip(" ") for line in file.read().decode("utf-8-sig").splitlines()]
        lines = [line for line in lines if line and not line.startswith("#")]
        table = csv.reader(lines, delimiter=_separator(lines), skipinitialspace=True)
        rows = [cells for row in table if any(cells := [cell.strip() for cell in row])]
    except (UnicodeDecodeError, csv.Error):
        raise damaged(name, "a text file of numbers") from None
    rows = _without_header(_decimal_points(rows), name)
    _refuse_split_decimals(rows, name)
    return _numbers(rows, name)


def damaged(name: str, kind: str) -> DataFileError:
    """The error of a file that is not of its kind."""
    return DataFileError(
        f"{name}: expected {kind}, got a file that is truncated or of another kind; write it again"
    )


def _separator(lines: Sequence[str]) -> str:
    """Semicolon, tab, comma or spaces, whichever the first line uses."""
    first = lines[0] if lines else ""
    words = first.split()
    if ";" in first or "\t" in first:
        return ";" if ";" in first else "\t"
    if len(words) > 1 and all(_DECIMAL_COMMA.fullmatch(word) for word in words):
        return " "
    return " " if "," not in first and len(words) > 1 else ","


def _decimal_points(rows: Rows) -> Rows:
    """The rows with 1,5 written 1.5, where no comma can stand between thousands or columns."""
    commas = {cell for row in rows for cell in row if _DECIMAL_COMMA.fullmatch(cell)}
    points = any("." in cell and _is_number(cell) for row in rows for cell in row)
    if points or all(_THOUSANDS.fullmatch(cell) for cell in commas):
        return rows
    return [[c.replace(",", ".") if c in commas else c for c in row] for row in rows]


def _without_header(rows: Rows, name: str) -> Rows:
    """The rows of numbers, without their names and without columns of row names."""
    names, body = _header(rows, name)
    if not body:
        raise DataFileError(f"{name}: expected rows of numbers, got none; write it again")
    if not names:
        return body
    if len(names) == len(body[0]) - 1 and _counts([row[0] for row in body]):
        names = ["", *names]  # as R writes its row names
    if len(names) != len(body[0]):
        raise DataFileError(
            f"{name}: expected a name for each of {len(body[0])} columns, got {len(names)} names; "
            "name every column, and write decimals with points"
        )
    unnamed = _unnamed(names)
    for j in range(unnamed):
        labels = [row[j] for row in body if j < len(row)]
        whole = len(set(labels)) == len(labels) and all(map(_is_whole, labels))
        if not whole and any(map(_is_number, labels)):
            raise DataFileError(
                f"{name}: expected row numbers in column {j + 1}, which has no name, got numbers; "
                "name the column where it is a coordinate, else leave it out"
            )
    return [row[unnamed:] for row in body]


def _header(rows: Rows, name: str) -> tuple[list[str], Rows]:
    """The names of the columns, if there are any, and the rows below."""
    if not rows:
        return [], []
    first, body = rows[0], rows[1:]
    unnamed = _unnamed(first)
    words = first[unnamed:]
    if not any(_DIGITS.fullmatch(cell) or _is_number(cell) for cell in words):
        return first, body
    if not all(cell.isdecimal() for cell in words) or not body:
        return [], rows
    # whole numbers may be names, such as the 0, 1, ... of pandas: are there others below?
    columns = list(zip(*(row[unnamed:] for row in body), strict=False))
    whole = [any(map(_is_whole, column)) for column in columns]
    numbers = [int(cell) for cell in words]
    counted = numbers == list(range(len(numbers)))
    rising = len(numbers) > 1 and all(a < b for a, b in pairwise(numbers))
    indexed = unnamed > 0 or len(body[0]) == len(first) + 1
    if (counted and indexed) or ((counted or rising) and not any(whole)):
        return first, body
    if counted and len(numbers) > 1 and all(whole):
        raise DataFileError(
            f"{name}: expected a header or a point in the first row, got {','.join(first)}, which "
            "may be either above whole numbers; give the columns names, or write the point as "
            f"{','.join(f'{number}.0' for number in numbers)}"
        )
    return [], rows


def _unnamed(names: Sequence[str]) -> int:
    """How many columns come before the first with a name."""
    return next((i for i, word in enumerate(names) if not _UNNAMED.fullmatch(word)), 0)


def _counts(labels: Sequence[str]) -> bool:
    """Whether labels count the rows, from any number on."""
    start = int(labels[0]) if labels[0].isdecimal() else 0
    return len(labels) > 1 and list(labels) == [str(start + i) for i in range(len(labels))]


def _refuse_split_decimals(rows: Rows, name: str) -> None:
    """Refuse what only a decimal comma explains: -0 and 05 of -0,05 in columns of their own."""
    if not all(_is_whole(cell) for row in rows for cell in row):
        return
    for i, row in enumerate(rows):
        odd = [cell for cell in row[1:] if re.fullmatch(r"0\d+", cell)]
        odd += [cell for cell in row[:-1] if cell == "-0"]
        if odd:
            raise DataFileError(
                f"{name}: expected numbers separated by commas, got {odd[0]!r} in data row "
                f"{i + 1}, a part of a number with a decimal comma; write it with a point, or "
                "separate the columns by semicolons"
            )


def _numbers(rows: Rows, name: str) -> np.ndarray:
    width = len(rows[0])
    table = np.empty((len(rows), width))
    for i, row in enumerate(rows):
        if len(row) != width:
            raise DataFileError(
                f"{name}: expected {width} columns in every row, got {len(row)} in data row "
                f"{i + 1}; repair that row"
            )
        for j, cell in enumerate(row):
            if not _is_number(cell):
                raise InvalidPoints(
                    f"{name}: expected numbers, got {cell[:40]!r} in data row {i + 1}, column "
                    f"{j + 1}; keep only numeric columns, with at most one header row"
                )
            table[i, j] = float(cell)
    return table


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell  # 1_000 is a number to Python alone


def _is_whole(cell: str) -> bool:
    return cell.lstrip("+-").isdecimal()
