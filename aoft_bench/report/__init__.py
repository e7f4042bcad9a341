"""One self-contained HTML page from a results folder. Nothing here imports torch or opens a connection."""
