#!/bin/bash
# A real S3 server on this machine: one-node Ceph (a monitor, a store, the S3 gateway) from Debian's packages
# ceph-mon, ceph-osd and radosgw; no container, no systemd, no root.
#   ceph.sh start [DIR]    start, and print the environment of its users on stdout; anew, unless KEEP=1 finds its data
#   ceph.sh stop  [DIR]    stop its three processes and delete DIR (KEEP=1 keeps it)
#   ceph.sh status [DIR]   | kill-rgw [DIR] (SIGKILL the gateway) | restart-rgw [DIR]   for failure tests
# env: PORT=9301  BASE=9310 (BASE..BASE+20 internal)  STORE=memstore|bluestore  SIZE=8G  TLS=1  AK=  SK=
#      HOST=127.0.0.1 (where the gateway listens)  NAME= (the name under which buckets are subdomains)
# Use:  eval "$(infra/s3/ceph.sh start)";  all state is below DIR.
set -euo pipefail
CMD=${1:-start}; D=${2:-${TMPDIR:-/tmp}/s3-server}
PORT=${PORT:-9301}; BASE=${BASE:-9310}; STORE=${STORE:-memstore}; SIZE=${SIZE:-8G}; TLS=${TLS:-0}
AK=${AK:-testaccess}; SK=${SK:-testsecretkey0123456789}
C="$D/ceph.conf"; T0=${EPOCHREALTIME/./}
lap() { local d=$(( ${EPOCHREALTIME/./} - T0 )); printf '# %-14s %3d.%02d s\n' "$1" $((d/1000000)) $((d%1000000/10000)) >&2; }
alive() { [ -n "${1:-}" ] && kill -0 "$1" 2>/dev/null; }
pid() { cat "$D/$1.pid" 2>/dev/null || true; }
stop_one() { # name: TERM, wait 10 s, KILL
  local p; p=$(pid "$1"); alive "$p" || { rm -f "$D/$1.pid"; return 0; }
  kill "$p" 2>/dev/null || true
  for _ in $(seq 100); do alive "$p" || break; sleep .1; done
  alive "$p" && kill -9 "$p" 2>/dev/null; rm -f "$D/$1.pid"; return 0; }
ready() { (exec 3<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null || return 1
  [ "$TLS" = 1 ] && return 0
  exec 3<>"/dev/tcp/127.0.0.1/$PORT"; printf 'GET / HTTP/1.0\r\nHost: x\r\n\r\n' >&3; local l; IFS= read -r -t 2 l <&3 || true; exec 3>&-; [[ "$l" == *" 200 "* ]]; }
start_rgw() { setsid radosgw -c "$C" -f -n client.rgw >"$D/log/rgw.out" 2>&1 & echo $! >"$D/rgw.pid"
  for _ in $(seq 300); do ready && return 0; alive "$(pid rgw)" || break; sleep .1; done
  echo "radosgw did not come up; see $D/log" >&2; tail -n 5 "$D/log/client.rgw.log" "$D/log/rgw.out" >&2 || true; return 1; }
case "$CMD" in
stop) for n in rgw osd mon; do stop_one $n; done; [ "${KEEP:-0}" = 1 ] || rm -rf "$D"; exit 0;;
status) for n in mon osd rgw; do p=$(pid $n); alive "$p" && echo "$n up $p $(awk '/VmRSS/{print int($2/1024) " MB"}' "/proc/$p/status")" || echo "$n down"; done; exit 0;;
kill-rgw) kill -9 "$(pid rgw)"; rm -f "$D/rgw.pid"; exit 0;;
restart-rgw) start_rgw; exit $?;;
start) ;;
*) sed -n 2,9p "$0"; exit 2;;
esac
for program in radosgw radosgw-admin ceph-osd ceph-mon monmaptool; do
  command -v $program >/dev/null || { echo "$program is missing: apt-get install --no-install-recommends ceph-mon ceph-osd radosgw" >&2; exit 3; }
done
for n in rgw osd mon; do stop_one $n; done
start_mon() { setsid ceph-mon -c "$C" -f -i a >"$D/log/mon.out" 2>&1 & echo $! >"$D/mon.pid"; }
start_osd() { setsid ceph-osd -c "$C" -f -i 0 >"$D/log/osd.out" 2>&1 & echo $! >"$D/osd.pid"
  for _ in $(seq 300); do ceph -c "$C" osd stat 2>/dev/null | grep -q '1 up' && break; sleep .1; done; lap osd; }
print_environment() {
  echo "export AWS_ENDPOINT_URL_S3=$URL MLFLOW_S3_ENDPOINT_URL=$URL"
  echo "export AWS_ACCESS_KEY_ID=$AK AWS_SECRET_ACCESS_KEY=$SK AWS_DEFAULT_REGION=us-east-1"
  # Ceph 16 does not know boto3's aws-chunked CRC trailers over https (411 MissingContentLength)
  echo "export AWS_REQUEST_CHECKSUM_CALCULATION=when_required AWS_RESPONSE_CHECKSUM_VALIDATION=when_required"
  if [ "$TLS" = 1 ]; then echo "export AWS_CA_BUNDLE=$D/cert.pem"; fi; }
if [ "${KEEP:-0}" = 1 ] && [ -f "$D/ready" ]; then # the data of an earlier start, with its ports and keys
  URL="http://127.0.0.1:$PORT"; [ "$TLS" = 1 ] && URL="https://127.0.0.1:$PORT"
  start_mon; ceph -c "$C" --connect-timeout 20 osd stat >/dev/null; lap mon
  start_osd; start_rgw; lap ready; print_environment; exit 0
fi
rm -rf "$D"; mkdir -p "$D"/{mon,osd,run,log,rgw}
FSID=$(cat /proc/sys/kernel/random/uuid); OSDID=$(cat /proc/sys/kernel/random/uuid); BYTES=$(numfmt --from=iec "$SIZE")
FE="beast endpoint=${HOST:-127.0.0.1}:$PORT"; URL="http://127.0.0.1:$PORT"
if [ "$TLS" = 1 ]; then
  openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=localhost -addext 'subjectAltName=DNS:localhost,IP:127.0.0.1' -keyout "$D/key.pem" -out "$D/cert.pem" 2>/dev/null
  FE="beast ssl_endpoint=${HOST:-127.0.0.1}:$PORT ssl_certificate=$D/cert.pem ssl_private_key=$D/key.pem"; URL="https://127.0.0.1:$PORT"
fi
cat >"$C" <<CONF
[global]
fsid = $FSID
mon_initial_members = a
mon_host = [v2:127.0.0.1:$BASE]
# loopback-only cluster without cephx; S3 authentication (sigv4) is unaffected
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
# radosgw's built-in default is "secure", impossible without cephx: it would hang with -13
ms_mon_client_mode = crc secure
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_port_min = $((BASE+1))
ms_bind_port_max = $((BASE+20))
run_dir = $D/run
admin_socket = $D/run/\$name.\$pid.asok
crash_dir = $D/run
log_file = $D/log/\$name.log
mon_cluster_log_file = $D/log/cluster.log
mon_data = $D/mon
osd_data = $D/osd
rgw_data = $D/rgw
mon_allow_pool_size_one = true
mon_warn_on_pool_no_redundancy = false
mon_data_avail_crit = 1
mon_data_avail_warn = 2
mon_max_pg_per_osd = 1000
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pgp_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
osd_objectstore = $STORE
osd_memory_target = 939524096
osd_max_object_name_len = 256
bluestore_block_size = $BYTES
memstore_device_bytes = $BYTES
paxos_propose_interval = 0.05
paxos_min_wait = 0.01
mon_tick_interval = 1
rgw_rados_pool_pg_num_min = 4
rgw_override_bucket_index_max_shards = 1
rgw_dynamic_resharding = false
rgw_thread_pool_size = 64
# free deleted data quickly: the default waits 2 h, a full OSD then BLOCKS writes instead of failing
rgw_gc_obj_min_wait = 2
rgw_gc_processor_period = 3
rgw_gc_processor_max_time = 3
rgw_gc_max_concurrent_io = 20
rgw_lc_debug_interval = -1
rgw_enable_apis = s3, admin
${NAME:+rgw_dns_name = $NAME}
[client.rgw]
rgw_frontends = $FE
CONF
trap 'echo "start failed, log in $D/log" >&2; for n in rgw osd mon; do stop_one $n; done' ERR
monmaptool --create --clobber --fsid "$FSID" --addv a "[v2:127.0.0.1:$BASE]" "$D/monmap" >/dev/null
ceph-mon -c "$C" --mkfs -i a --monmap "$D/monmap" >/dev/null
start_mon
ceph -c "$C" --connect-timeout 20 osd new "$OSDID" >/dev/null; lap mon
ceph-osd -c "$C" --mkfs -i 0 --osd-uuid "$OSDID" >"$D/log/osd-mkfs.out" 2>&1
start_osd
radosgw-admin -c "$C" user create --uid=test --display-name=test --access-key="$AK" --secret-key="$SK" >/dev/null 2>"$D/log/admin.out"
start_rgw; lap ready
trap - ERR
touch "$D/ready"
print_environment
