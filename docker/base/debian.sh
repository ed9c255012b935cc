#!/bin/sh
# A base image made of Debian's packages alone, where no registry can be reached: debian.sh [NAME]
# Needs root, debootstrap and buildah. It holds what the Dockerfiles expect of python:3.11-slim, and this
# machine's certificates, so that builds can use the same mirrors as it does.
set -eu
name=${1:-localhost/python:3.11-slim}
folder=${DEBIAN:-$(mktemp -d)}   # DEBIAN names what an earlier debootstrap has made
[ -d "$folder/usr" ] || debootstrap --variant=minbase --include=ca-certificates bookworm "$folder" >&2
container=$(buildah from scratch)
trap 'buildah rm "$container" >/dev/null; [ -n "${DEBIAN:-}" ] || rm -rf "$folder"' EXIT
buildah add -q "$container" "$folder" / >/dev/null
buildah copy -q "$container" /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt >/dev/null
buildah run "$container" -- sh -c '
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq && apt-get install -y -qq --no-install-recommends python3.11 python3.11-venv &&
  rm -rf /var/cache/apt/archives/* /var/lib/apt/lists/* /usr/share/doc/* /usr/share/man/*' >&2
buildah config --cmd python3.11 "$container"
buildah commit -q --squash "$container" "$name"
