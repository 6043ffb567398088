"""The rendered lane in its GitOps repository: the list of its files, and its pull request."""
