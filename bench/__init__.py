"""The project's figures, each a ratio against a peer that is measured in the same run.

`python -m bench` runs all of them, `python -m bench NAME...` some. What each one means is in docs/benchmarks.md.
"""
