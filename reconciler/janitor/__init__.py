"""The janitor of preview namespaces: what it sees, decides, records and deletes (docs/janitor.md)."""
