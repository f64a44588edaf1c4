"""Data that ship with the package, each with its provenance beside it."""
