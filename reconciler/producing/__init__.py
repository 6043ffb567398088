"""The CI side of publishing: images of one commit built, pushed, proven and tagged (`ameide publish`).

Not `reconciler.publishing`, which brings approved digests to GitOps: here digests are made, there they are pinned.
look → decide (pure) → apply; the registry is what is true, and what is written down besides only saves work.
"""
