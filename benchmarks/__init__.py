"""How fast the methods train and score, as ratios to what cannot be avoided. `make bench`, docs/performance.md.

Times are medians of rounds in which a case and its reference alternate, so that what else the machine does meets both.
Weights and images are random numbers of the real shapes; zeros would be multiplied faster.
"""
