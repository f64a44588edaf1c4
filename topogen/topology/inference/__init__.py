"""From diagrams to a verdict: Betti numbers with error rates, cross-checks, the report."""
