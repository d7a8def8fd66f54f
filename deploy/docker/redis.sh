# Starts a Redis of docker-compose.yml. Its settings file lies with the data, because Sentinel has a Redis write into it
# whether it is the master. What is given here wins over what stands there.
set -eu
settings=/data/redis.conf
if [ ! -e "$settings" ]; then
    : >"$settings"
    if [ -n "${REDIS_FIRST_MASTER:-}" ]; then
        echo "replicaof $REDIS_FIRST_MASTER 6379" >"$settings"
    fi
fi
# The official image has a script that gives up being root; an image without it needs none.
exec $(command -v docker-entrypoint.sh) redis-server "$settings" --dir /data --bind '* -::*' --protected-mode no \
    --appendonly yes --save '' --maxmemory-policy noeviction --loglevel notice \
    --requirepass "$REDIS_PASSWORD" --masterauth "$REDIS_PASSWORD" --replica-announce-ip "$REDIS_NAME"
