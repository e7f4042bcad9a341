r"""How alike two sets of features of the same images are: linear CKA and cosine.

For features X (N, D) and Y (N, E) of N images, their means over images subtracted:

.. math:: \text{CKA}(X, Y) = \frac{\|Y^\top X\|_F^2}{\|X^\top X\|_F \, \|Y^\top Y\|_F}

It is from 0 to 1, and 1 for features that differ by a rotation, one scale and a shift. The cosine does not forgive
rotations: it is the mean over images of x_i . y_i / (|x_i| |y_i|), nothing subtracted.

Source: Kornblith et al., Similarity of neural network representations revisited, ICML 2019, arXiv 1905.00414, section 3
(linear CKA, the centered kernel alignment of the kernels X X^T and Y Y^T).
"""

from torch import Tensor


def linear_cka(x: Tensor, y: Tensor) -> float:
    """Linear CKA of x (N, D) and y (N, E), computed in float64; NaN where one of them is the same for all images."""
    x, y = (features.double() - features.double().mean(dim=0) for features in (x, y))
    both, own_x, own_y = (a.T @ b for a, b in ((y, x), (x, x), (y, y)))
    scale = own_x.norm() * own_y.norm()
    return float(both.norm().square() / scale) if scale > 0 else float("nan")


def mean_cosine(x: Tensor, y: Tensor) -> float:
    """Mean cosine of the rows of x (N, D) and y (N, D), computed in float64; NaN where a row is zero."""
    x, y = x.double(), y.double()
    return float(((x * y).sum(dim=1) / (x.norm(dim=1) * y.norm(dim=1))).mean())
