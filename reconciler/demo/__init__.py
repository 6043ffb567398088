"""The whole path on one machine: a code repository, a GitOps repository, a registry, and pull requests of each kind.

Everything outside the reconciler is played here (developers, CI); everything inside it is the production code.
"""
