#!/bin/bash
# One-node S3 in the foreground: its processes start, are watched, and end in order on SIGTERM.
set -euo pipefail
export KEEP=1 STORE=bluestore SIZE=${SIZE:-50G}
AK=$(cat /run/secrets/s3-access-key); SK=$(cat /run/secrets/s3-secret-key); export AK SK
folder=/var/lib/slipway/ceph
trap '/srv/ceph.sh stop "$folder"; exit 0' TERM INT
/srv/ceph.sh start "$folder" >/dev/null
while ! /srv/ceph.sh status "$folder" | grep -q down; do sleep 5 & wait $!; done
echo "a process of the store has ended" >&2
exit 1
