"""Small networks: perceptrons, sines, splines and coupling layers."""
