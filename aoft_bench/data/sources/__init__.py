"""Where the images of a task come from: one file for each source, and `choose` with the table of them."""
