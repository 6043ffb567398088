"""Scaffolding and verifying on a real file system, with real processes."""
