"""What can go wrong with a topology, said so that its user can do something about it."""


class TopologyError(RuntimeError):
    """A service did not start, does not answer, or cannot be had here."""
