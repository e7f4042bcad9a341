"""Figures from records, for print: PDF and PNG at column width; no torch."""
