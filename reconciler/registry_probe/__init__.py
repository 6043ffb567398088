"""Measuring what a registry really does, in a scratch repository, and what that means for the reconciler.

`measured` holds the values, `consequences` says what follows from them (pure), `scratch` makes and removes the
probe's own names, `measure` asks.
"""
