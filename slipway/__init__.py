"""Slipway takes a trained model to a release: exported, proven, measured, sealed, registered.

Nothing is imported here: `slipway --help` and a benchmark's subprocess must start at once.
"""

__version__ = "0.1.0"
