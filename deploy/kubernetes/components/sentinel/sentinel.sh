#!/bin/sh
# Starts the sentinel of a pod. Its file is kept: it remembers who is the master, and who it is itself.
set -eu
umask 077
service=${SERVICE:-redis}
me=$(hostname).$service
data=${DATA:-/data}
file=$data/sentinel.conf
secret=${SECRETS:-/run/secrets/redis}/SENTINEL_PASSWORD
[ ! -r "$secret" ] || SENTINEL_PASSWORD=$(cat "$secret")

if [ ! -s "$file" ]; then
    # A sentinel does not start with the name of a server that cannot be found yet.
    until getent hosts "$service-0.$service" >/dev/null; do sleep 1; done
    cat >"$file" <<CONF
port 26379
dir $data
requirepass $SENTINEL_PASSWORD
sentinel sentinel-pass $SENTINEL_PASSWORD
sentinel resolve-hostnames yes
sentinel announce-hostnames yes
sentinel announce-ip $me
sentinel monitor leasehold $service-0.$service 6379 2
sentinel auth-user leasehold sentinel
sentinel auth-pass leasehold $SENTINEL_PASSWORD
sentinel down-after-milliseconds leasehold 3000
sentinel failover-timeout leasehold 30000
sentinel parallel-syncs leasehold 1
CONF
fi
exec redis-server "$file" --sentinel
