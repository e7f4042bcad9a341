"""Orthogonality: angles and norms of a backbone's matrices and of what methods train, beside random Gaussian ones."""
