"""Write folder packs, for other programs."""
