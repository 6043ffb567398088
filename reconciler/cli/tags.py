"""`ameide tags`."""
