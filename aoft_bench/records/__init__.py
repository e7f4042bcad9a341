"""What a run leaves behind. No torch."""
