"""Rows, statistics and tables made from records. No module of this package imports torch."""
