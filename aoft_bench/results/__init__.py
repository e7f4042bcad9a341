"""Records (one JSON a run) and the tables made from them. Nothing here imports torch."""
