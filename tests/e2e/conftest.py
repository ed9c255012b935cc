"""What a newcomer starts: `make serve`, with ports and folders of its own."""

from tests.tiny_release import tiny, tiny_files

__all__ = ["tiny", "tiny_files"]
