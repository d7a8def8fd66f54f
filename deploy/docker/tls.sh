#!/bin/sh
# Makes a certificate for the balancer of docker-compose.yml, signed by an authority of this machine, and has .env name it. For
# networks in which no public authority can sign: give tls/ca.pem to those who connect.
#
#   sh deploy/docker/tls.sh seats.internal 10.0.0.5     # all names and addresses under which the balancer is reached
#
# Run again, it makes a new certificate with the authority that is there. Needs openssl.
set -eu
cd "$(dirname "$0")/../.."
[ $# -gt 0 ] || { echo "Say under which names it is reached: sh deploy/docker/tls.sh seats.internal localhost" >&2; exit 2; }
[ -e .env ] || { echo "There is no .env yet: sh deploy/docker/env.sh" >&2; exit 1; }
umask 077
mkdir -p tls
cd tls
names=
for name; do
    case $name in
        *[!0-9.:a-fA-F]* | *[g-zG-Z]*) kind=DNS ;;
        *.*.*.* | *:*) kind=IP ;;
        *) kind=DNS ;;
    esac
    names=$names${names:+,}$kind:$name
done
key="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
if [ ! -e ca.pem ]; then
    # shellcheck disable=SC2086 # several words
    openssl req -x509 $key -keyout ca.key -out ca.pem -days 3650 -subj "/CN=Leasehold on $(hostname)" 2>/dev/null
fi
# shellcheck disable=SC2086
openssl req $key -keyout seats.key -out seats.csr -subj "/CN=$1" 2>/dev/null
printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\n' "$names" >seats.ext
openssl x509 -req -in seats.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 365 -extfile seats.ext -out seats.crt 2>/dev/null
# The balancer is nobody in particular, and only this directory keeps others out.
(umask 022 && cat seats.crt seats.key >seats.pem)
rm -f seats.crt seats.csr seats.ext seats.key
chmod 644 ca.pem
cd ..
grep -v '^#*TLS_CERTIFICATE=' .env >.env.new || true
echo "TLS_CERTIFICATE=./tls/seats.pem" >>.env.new
mv .env.new .env
echo "Made tls/seats.pem for $names, and put it into .env. Clients trust tls/ca.pem. Now: docker compose up -d" >&2
