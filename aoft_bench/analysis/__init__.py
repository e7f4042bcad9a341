"""Orthogonality: angles and norms of the matrices of backbones and methods, compared with random Gaussian ones."""
