"""One file a service: `up(site)` starts it, or finds it running, and returns when it is healthy.

The table in `infra/topology/__main__.py` says which there are and in what order they start.
"""
