"""GitOps files as bytes: where a pin is, what it holds, how it is edited, and which references may stand there."""
