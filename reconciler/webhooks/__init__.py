"""Deliveries of forges: who sent them, and what they hint at. Nothing is decided from what they say."""
