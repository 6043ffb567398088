"""State changes told to somebody outside, as CloudEvents (docs/notifications.md)."""
