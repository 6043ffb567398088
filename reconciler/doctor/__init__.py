"""`ameide doctor`: everything that the configuration names is asked, and each answer that is not right has a remedy.

* `diagnosis`  the whole of it, in order
* `forge`, `github`, `gitlab`, `gitea`, `branch_rules`  what a token may do there, and what protects branches
* `registry`, `registry_rights`, `ghcr`  whether it answers, and what its credential may do
* `repository`, `log`, `publish`, `janitor`, `standby`, `secrets`  the other parts of the configuration
* `findings`, `permission_words`, `token_probes`  what all of them share
"""
