"""topogen: manifolds that are not topologically trivial, exact densities on them, and a verdict on their topology."""
