"""Folder packs written for other programs."""
