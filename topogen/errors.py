"""Errors that topogen raises on purpose; they say what was expected, given, and is to be done."""


class TopogenError(Exception):
    """Root of all errors raised by topogen."""


class InvalidPoints(TopogenError, ValueError):
    """The points are not a finite (n, D) array with enough rows for the task."""


class DataFileError(TopogenError, OSError):
    """A data file is missing, truncated, of an unknown kind, or holds no usable array."""


class NotFittedError(TopogenError, RuntimeError):
    """A learned manifold or distribution is used before :func:`topogen.fit` has fitted it."""


class ProjectionError(TopogenError, ArithmeticError):
    """An iterative projection did not reach its tolerance; the message carries the numbers."""


class ChartDomainError(TopogenError, ValueError):
    """A latent point lies outside the domain of its chart, or an ambient one outside its range."""


class AtlasError(TopogenError, ValueError):
    """The charts do not form an atlas of the manifold they are said to cover."""


class MeasureError(TopogenError, TypeError):
    """Two distributions cannot be compared: their measures or their dimensions differ."""


class TrainingError(TopogenError, RuntimeError):
    """A fit cannot start or go on; the message carries the stage and its last numbers.

    Attributes:
        model: the model as it is, its finished parts `fitted`, where the time for it was over.
    """

    def __init__(self, message: str, model: object = None) -> None:
        super().__init__(message)
        self.model = model


class SaveError(TopogenError, OSError):
    """A model cannot be written to, or read from, a file."""


class UnsupportedError(TopogenError, NotImplementedError):
    """The mathematics asked for is not determined, or not known, for this object."""


class GeodesicError(TopogenError, ArithmeticError):
    """A geodesic was not found to its tolerance; the message carries the numbers."""
