"""Where the images of a task come from, a module a source."""
