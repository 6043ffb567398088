"""Tokens of whoever carries a marker: they say who asks, never who approves."""
