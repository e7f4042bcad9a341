"""One self-contained HTML page from a results folder. It imports no torch and opens no connection."""
