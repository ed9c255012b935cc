"""Most of these tests need no server; those that run real tasks share the session's."""

from tests.prefect_server import prefect_api, prefect_client, prefect_home

__all__ = ["prefect_api", "prefect_client", "prefect_home"]
