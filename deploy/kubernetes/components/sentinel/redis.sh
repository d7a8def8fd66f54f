#!/bin/sh
# Starts the Redis of a pod: as the master if nobody knows another one, else as its replica.
set -eu
umask 077
# The headless service; pods are $service-0 to $service-2.
service=${SERVICE:-redis}
me=$(hostname).$service
data=${DATA:-/data}
# Passwords are files, one for each name; without files they are in the environment.
secrets=${SECRETS:-/run/secrets/redis}
password() { if [ -r "$secrets/$1" ]; then cat "$secrets/$1"; else eval "printf %s \"\${$1:?is missing}\""; fi; }
NODES_PASSWORD=$(password NODES_PASSWORD)
OPERATORS_PASSWORD=$(password OPERATORS_PASSWORD)
REPLICAS_PASSWORD=$(password REPLICAS_PASSWORD)
SENTINEL_PASSWORD=$(password SENTINEL_PASSWORD)

# The sentinels know. When all pods start at once none answers yet; then what our own one wrote down is the best there is, and at
# the very first start the first pod is the master.
master=
for peer in "$service-0" "$service-1" "$service-2"; do
    answer=$(REDISCLI_AUTH=$SENTINEL_PASSWORD timeout 2 redis-cli -h "$peer.$service" -p 26379 \
        sentinel get-master-addr-by-name leasehold 2>/dev/null | head -n 1) || true
    case $answer in "$service"-[0-9]*."$service") master=$answer && break ;; esac
done
[ -n "$master" ] || master=$(sed -n 's/^sentinel monitor leasehold \([^ ]*\) .*/\1/p' "$data/sentinel.conf" 2>/dev/null) || true
[ -n "$master" ] || master=$service-0.$service

# The same users as in deploy/redis/leasehold.acl (why the default user has rights and is off: the README there), one for replicas and
# one for sentinels.
cat >"$data/users.acl" <<ACL
user default off ~* &* +@all
user leasehold on >$NODES_PASSWORD ~lh1:* resetchannels &lh1:*:queue -@all +time +hset +hsetnx +hget +hmget +hgetall +hexists +hincrby +hlen +hdel +persist +pexpire +pttl +exists +zadd +zrem +zscore +zmscore +zcard +zcount +zlexcount +zrank +zrange +zrevrange +zscan +zrangebylex +zremrangebylex +zremrangebyscore +zremrangebyrank +xadd +xdel +xrange +xrevrange +xtrim +set +get +getex +getdel +incr +publish +unlink +del +eval +evalsha +script|load +multi +exec +info +ping +psubscribe +wait +role +asking +cluster|slots +script|exists +copy +rename +subscribe +unsubscribe +cluster|info +select +auth +hello
user leasehold-operator on >$OPERATORS_PASSWORD ~lh1:* -@all +get +hmget +hget +exists +config|get +client|pause +client|unpause +client|kill +client|list +replicaof +info +role +ping +hello +auth +select +time +acl|whoami +cluster|slots +cluster|info
user replica on >$REPLICAS_PASSWORD -@all +psync +replconf +ping
user sentinel on >$SENTINEL_PASSWORD allchannels -@all +multi +slaveof +ping +exec +subscribe +config|rewrite +role +publish +info +client|setname +client|kill +script|kill
user probe on nopass -@all +ping
ACL

cat >"$data/redis.conf" <<CONF
bind * -::*
port 6379
dir $data
aclfile $data/users.acl
masteruser replica
masterauth $REPLICAS_PASSWORD
replica-announce-ip $me
appendonly yes
appendfsync everysec
maxmemory ${MAXMEMORY:-600mb}
maxmemory-policy noeviction
auto-aof-rewrite-min-size 256mb
stream-node-max-bytes 1536
hash-max-ziplist-value 256
min-replicas-to-write 1
min-replicas-max-lag 2
repl-diskless-sync-delay 0
tcp-keepalive 60
CONF
[ "$master" = "$me" ] || echo "replicaof $master 6379" >>"$data/redis.conf"
exec redis-server "$data/redis.conf"
