"""What a newcomer starts: `make serve`, with ports and folders of its own."""

from tests.prefect_server import prefect_api, prefect_client, prefect_home
from tests.tiny_release import tiny, tiny_files

__all__ = ["prefect_api", "prefect_client", "prefect_home", "tiny", "tiny_files"]
