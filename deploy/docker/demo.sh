# Starts a node with a Redis of its own, for somebody who wants to see what it is. Whoever reaches the container needs a key.
set -eu
export LEASEHOLD_ADMIN_KEY="${LEASEHOLD_ADMIN_KEY:-$(od -An -N 12 -tx1 /dev/urandom | tr -d ' \n')}"
echo "The key for http://localhost:7070/admin is $LEASEHOLD_ADMIN_KEY" >&2
exec leasehold serve --pool demo=5 "$@"
