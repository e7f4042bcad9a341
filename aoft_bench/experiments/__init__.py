"""One run from end to end, and many runs."""
