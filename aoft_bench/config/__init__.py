"""conf/ as one checked tree of options. No torch."""
