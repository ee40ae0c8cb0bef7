#!/bin/sh
# A Consul, a secret in a file, and a program that reads its environment only: a changed key restarts it, and nothing of it is
# in the environment of proem itself.
set -eu
cd "$(dirname "$0")"
id=proem-example-envconsul-$$
busybox=${BUSYBOX_IMAGE:-busybox:1}
image=$(docker build -q --build-arg PROEM="${PROEM_IMAGE:-proem}" --build-arg BASE="$busybox" .)
secrets=$(mktemp -d)
trap 'docker rm -f $id-consul $id-app >/dev/null 2>&1; docker network rm $id >/dev/null 2>&1; rm -rf "$secrets"' EXIT

consul() { docker exec "$id-consul" consul "$@" >/dev/null 2>&1; }
# Waits until the program has said so many lines, and shows the last.
says() {
    for _ in $(seq 100); do
        lines=$(docker logs "$id-app" 2>/dev/null)
        if [ "$(echo "$lines" | grep -c .)" = "$1" ]; then echo "$lines" | tail -n 1; return; fi
        sleep 0.1
    done
    docker logs "$id-app" >&2
    exit 1
}

echo "s3cret" >"$secrets/db-password"
chmod 755 "$secrets"
docker network create "$id" >/dev/null
docker run -d --name "$id-consul" --network "$id" "${CONSUL_IMAGE:-hashicorp/consul:1.21}" agent -dev -client 0.0.0.0 >/dev/null
docker run -d --name "$id-app" --network "$id" -v "$secrets:/run/secrets:ro" \
    -e "CONSUL_HTTP_ADDR=http://$id-consul:8500" "$image" >/dev/null

echo "-- it starts when its values are there"
until consul kv put config/app/db/user app; do sleep 0.2; done
consul kv put config/app/db/host db1
consul kv put config/app/internal/token t0ken
consul kv put config/app/greeting hello
says 1

echo "-- a key changes: it runs anew"
consul kv put config/app/db/host db2
says 2

echo "-- a key that it does not get changes: nothing happens"
consul kv put config/app/internal/token other
consul kv put config/app/db/user admin
says 3

echo "-- proem's own environment and log hold none of it"
if docker exec "$id-app" cat /proc/1/environ | grep -q -e s3cret -e db2; then exit 1; fi
if docker logs "$id-app" 2>&1 >/dev/null | grep -q -e s3cret -e db2; then exit 1; fi
docker logs "$id-app" 2>&1 >/dev/null | grep -c "reloaded main by restart"
