"""Persistence diagrams: Rips, alpha and witness complexes, cocycles, and what noise may reach."""
