#!/bin/sh
# Starts the HAProxy of docker-compose.yml: with TLS if TLS_CERTIFICATE of .env names a file.
set -eu
if [ -s /certificate.pem ]; then
    export BALANCER_CERTIFICATE=/certificate.pem
fi
exec haproxy -db -f /usr/local/etc/haproxy/haproxy.cfg
