"""What methods are built from: where things are in a network, and modules that several methods insert."""
