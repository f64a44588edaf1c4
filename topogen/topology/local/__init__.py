"""What a cloud is locally: its dimension, whether it is a manifold, whether it is orientable."""
