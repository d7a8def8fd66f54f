# Starts a Redis of docker-compose.yml. Its settings file lies with the data, because Sentinel has a Redis write into it
# whether it is the master. What is given here wins over what stands there.
set -eu
umask 077
settings=/data/redis.conf
if [ ! -e "$settings" ]; then
    : >"$settings"
    if [ -n "${REDIS_FIRST_MASTER:-}" ]; then
        echo "replicaof $REDIS_FIRST_MASTER 6379" >"$settings"
    fi
fi
# The users of deploy/redis, with passwords of this installation; replicas and sentinels come with the operators', and the
# check of the container's health may only ping. Nobody is the default user.
users=/data/users.acl
sed -e "s/change-me-nodes/$REDIS_PASSWORD/" -e "s/change-me-operators/$REDIS_OPERATOR_PASSWORD/" /users/leasehold.acl >"$users"
cat >>"$users" <<END
user replica on >$REDIS_OPERATOR_PASSWORD -@all +psync +replconf +ping
user sentinel on >$REDIS_OPERATOR_PASSWORD allchannels -@all +multi +slaveof +ping +exec +subscribe +config|rewrite +role +publish +info +client|setname +client|kill +script|kill
user probe on nopass -@all +ping
END
# The official image has a script that gives up being root; an image without it needs none.
exec $(command -v docker-entrypoint.sh) redis-server "$settings" --dir /data --bind '* -::*' --protected-mode no \
    --appendonly yes --save '' --maxmemory "$REDIS_MAXMEMORY" \
    --maxmemory-policy noeviction --loglevel notice --aclfile "$users" \
    --auto-aof-rewrite-min-size 256mb --stream-node-max-bytes 1536 --hash-max-ziplist-value 256 \
    --masteruser replica --masterauth "$REDIS_OPERATOR_PASSWORD" --replica-announce-ip "$REDIS_NAME"
