"""The version of the package."""

__version__ = "0.1.0"


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    import platform
    import sys
    from importlib.metadata import PackageNotFoundError, version

    found = {"topogen": __version__, "python": platform.python_version()}
    for name in ("torch", "numpy", "scipy", "gudhi"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    found["platform"] = sys.platform
    return found
