"""The registry port, held to real registries and to what misbehaving ones were seen to do."""
