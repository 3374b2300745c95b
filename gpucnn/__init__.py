"""Convolutional neural networks with hand-derived gradients, written once for NumPy and CuPy."""

__version__ = "0.1.0"
