"""From a release set and an approval to a GitOps pull request (design §6 and §7)."""
