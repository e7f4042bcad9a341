"""Small archives in the raw formats of the TFDS builders of VTAB-1k."""
