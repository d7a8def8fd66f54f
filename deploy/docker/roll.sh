#!/bin/sh
# Restarts the nodes of docker-compose.yml one after the other, without a failed request. A new image or new settings are
# taken up on the way: each node is replaced by a new one, which has to be healthy before the next one goes.
#
#   sh deploy/docker/roll.sh            # whatever is said to compose besides goes through: -p NAME, --profile demo
set -eu
cd "$(dirname "$0")/../.."
if docker compose version >/dev/null 2>&1; then
    compose() { docker compose "$@"; }
else
    compose() { docker-compose "$@"; }
fi
old=$(compose "$@" ps -q node)
count=$(echo "$old" | wc -l)
[ -n "$old" ] || { echo "There is no node to restart. Start with: docker compose up -d" >&2; exit 1; }
number=0
for node in $old; do
    number=$((number + 1))
    echo "node $number of $count: stopping" >&2
    # With SIGTERM: not ready at once, still answering while the balancer notices, then finishing what is under way.
    docker stop --time 30 "$node" >/dev/null
    docker rm "$node" >/dev/null
    compose "$@" up -d --no-build --no-deps --no-recreate --scale "node=$count" node >/dev/null 2>&1
    for _ in $(seq 60); do
        waiting=0
        for new in $(compose "$@" ps -q node); do
            [ "$(docker inspect --format '{{.State.Health.Status}}' "$new")" = healthy ] || waiting=1
        done
        [ $waiting -eq 1 ] || break
        sleep 1
    done
    [ $waiting -eq 0 ] || { echo "A node is not healthy after 60 s: docker compose logs node" >&2; exit 1; }
done
echo "$count nodes restarted" >&2
