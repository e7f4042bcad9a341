"""Small tools that every other package may import: errors, locks, files, imports. No torch."""
