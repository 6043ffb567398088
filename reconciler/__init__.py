"""What to do: observe the world, plan against it, apply the plan."""

__version__ = "0.1.0"
