"""What every other package may use. No torch."""
