"""What methods are built from: modules and hooks that several of them insert."""
