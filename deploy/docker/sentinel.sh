# Starts a Sentinel of docker-compose.yml. Its settings file is also its memory: who is the master, and who else watches.
# Names instead of addresses, because a container has another address after each start.
set -eu
settings=/data/sentinel.conf
if [ ! -e "$settings" ]; then
    cat >"$settings" <<END
port 26379
dir /data
protected-mode no
sentinel resolve-hostnames yes
sentinel announce-hostnames yes
sentinel announce-ip $SENTINEL_NAME
sentinel monitor leasehold redis 6379 2
sentinel auth-user leasehold sentinel
sentinel auth-pass leasehold $REDIS_OPERATOR_PASSWORD
sentinel down-after-milliseconds leasehold 3000
sentinel failover-timeout leasehold 20000
END
fi
# The official image has a script that gives up being root; an image without it needs none.
exec $(command -v docker-entrypoint.sh) redis-server "$settings" --sentinel
