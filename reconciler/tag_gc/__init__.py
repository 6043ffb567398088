"""Removing `:<HEAD_SHA>` tags of closed pull requests, one tag at a time (docs/janitor.md)."""
