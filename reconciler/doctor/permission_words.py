"""How a permission that is too much is named: with what it lets its holder do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final


def named(permissions: Iterable[str], lets: Mapping[str, str]) -> str:
    """`a (lets its holder …), b`: each permission, with the words that `lets` has for it."""
    return ", ".join(f"{name} (lets its holder {lets[name]})" if name in lets else name for name in permissions)


CLASSIC_SCOPES: Final[Mapping[str, str]] = {
    "repo": "read and push every repository of its user, private ones too",
    "public_repo": "push to every public repository of its user",
    "workflow": "change workflows, and with them what CI runs",
    "write:packages": "push images and move tags",
    "delete:packages": "delete packages and versions, those behind :main too",
    "delete_repo": "delete repositories",
    "admin:org": "change members and settings of the organisations",
    "write:org": "change teams and memberships of the organisations",
    "admin:public_key": "add SSH keys to its user",
    "admin:gpg_key": "add signing keys to its user",
    "admin:ssh_signing_key": "add signing keys to its user",
    "admin:repo_hook": "change the webhooks of repositories",
    "write:repo_hook": "change the webhooks of repositories",
    "admin:org_hook": "change the webhooks of organisations",
    "admin:enterprise": "change the enterprise",
    "user": "change its user's profile and addresses",
    "gist": "write gists of its user",
    "project": "change projects",
    "codespace": "make and change codespaces",
}
"""Of a classic token of GitHub. Source: docs.github.com, "Scopes for OAuth apps"."""
GITHUB: Final[Mapping[str, str]] = {
    "Contents: read": "read the code",
    "Pull requests: read": "read pull requests",
    "Commit statuses: write": "set the status of any commit",
    "Pull requests: write": "open, change and approve pull requests",
    "Issues: write": "write issues and comments",
    "Actions: write": "start and cancel runs of workflows",
    "Deployments: write": "make deployments",
    "Administration: read": "read the repository's settings",
    "Webhooks: read": "read where webhooks go",
    "Secrets: read": "list the secrets of CI by name",
    "Variables: read": "read the variables of CI",
    "Dependabot secrets: read": "list Dependabot's secrets by name",
    "the role admin": "change the repository's settings, its protection and who has access",
    "the role maintain": "change some of the repository's settings",
}
"""Permissions of a fine-grained token, and roles. Source: docs.github.com, "Permissions required for fine-grained
personal access tokens", "Repository roles for an organization"."""
GITHUB_APP: Final[Mapping[str, str]] = {
    "actions: write": "start and cancel runs of workflows",
    "administration: read": "read the repository's settings",
    "administration: write": "change the repository's settings, its protection and who has access, or delete it",
    "checks: write": "set the checks of any commit",
    "contents: write": "push to the repository",
    "deployments: write": "make deployments",
    "issues: write": "write issues and comments",
    "members: write": "change the members of the organisation",
    "organization_administration: write": "change the organisation's settings",
    "packages: write": "push and delete packages",
    "pull_requests: write": "open, change and approve pull requests",
    "repository_hooks: write": "change webhooks",
    "secrets: write": "change the secrets of CI",
    "statuses: write": "set the status of any commit",
    "workflows: write": "change workflows, and with them what CI runs",
}
"""Permissions of an App's installation. Source: docs.github.com, "Permissions required for GitHub Apps"."""
GITEA: Final[Mapping[str, str]] = {
    "read:repository": "read every repository of its user",
    "write:repository": "push to every repository of its user, and change those it administers",
    "read:issue": "read issues and labels",
    "write:issue": "write issues, comments and labels",
    "read:user": "read its user's profile and keys",
    "write:user": "change its user's profile and keys",
    "read:organization": "read organisations and teams",
    "write:organization": "make organisations, and change those of its user",
    "read:package": "read packages",
    "write:package": "push and delete packages",
    "read:notification": "read notifications",
    "write:notification": "change notifications",
    "read:admin": "read all there is, where its user is an administrator",
    "write:admin": "change all there is, where its user is an administrator",
    "the role admin": "change the repository's settings, its protection and who has access, or delete it",
}
"""Scopes of a token of Gitea or Forgejo, and a role. Source: docs.gitea.com, "OAuth2 provider" (scopes)."""
GITLAB: Final[Mapping[str, str]] = {
    "access level 30": "push branches that are not protected",
    "access level 40": "change the project's settings, its protected branches and members",
    "access level 50": "change all of the project, or delete it",
    "the scope api": "do all that its user may do, in every project of that user unless it is the project's own token",
    "the scope sudo": "act as any user",
    "the scope admin_mode": "act as an administrator",
    "the scope write_repository": "push to every project that it reaches",
    "the scope write_registry": "push and delete images",
    "the scope read_registry": "read images",
    "the scope create_runner": "make runners, which see what CI runs",
    "the scope manage_runner": "change runners, which see what CI runs",
    "the scope k8s_proxy": "reach the clusters of its agents",
}
"""Roles and scopes at GitLab. Source: docs.gitlab.com, "Access token scopes", "Roles and permissions"."""
