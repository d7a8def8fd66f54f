#!/bin/sh
# Makes the .env of docker-compose.yml, with secrets that nobody else has. One that exists is left alone.
set -eu
cd "$(dirname "$0")/../.."
if [ -e .env ]; then
    echo "There is an .env already; it is left as it is." >&2
    exit 0
fi
random() { od -An -N "$1" -tx1 /dev/urandom | tr -d ' \n'; }
umask 077
# In one step, so that an interrupted run leaves no half of it.
while IFS= read -r line; do
    case $line in
        LEASEHOLD_ADMIN_KEY=) echo "$line$(random 16)" ;;
        LEASEHOLD_SECRET=) echo "$line$(random 32)" ;;
        REDIS_PASSWORD= | REDIS_OPERATOR_PASSWORD=) echo "$line$(random 24)" ;;
        GRAFANA_PASSWORD=) echo "$line$(random 12)" ;;
        *) printf '%s\n' "$line" ;;
    esac
done <.env.example >.env.new
mv .env.new .env
echo "Made .env. The key for /admin is in it: grep LEASEHOLD_ADMIN_KEY .env" >&2
