"""Tables as Markdown, LaTeX, HTML, CSV and on a terminal."""
