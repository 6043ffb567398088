"""Primitives: code skeletons that are written deterministically, and what must hold for them in a code repository."""
