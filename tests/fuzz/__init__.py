"""Coverage-guided fuzzing of every parser of bytes from outside, and the kept corpus that each test run replays.

`python -m tests.fuzz --help`; method and figures are in docs/fuzzing.md.
"""
