"""Records (one JSON a run) and the tables made from them. No module of this package imports torch."""
