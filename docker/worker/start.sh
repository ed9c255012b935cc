#!/bin/sh
# A worker starts only on a machine that passes slipway's own examination; a job of its pool starts at once.
set -eu
if [ "${1:-} ${2:-}" = "prefect worker" ]; then slipway doctor; fi
exec "$@"
