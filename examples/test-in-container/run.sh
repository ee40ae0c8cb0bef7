#!/bin/sh
# The tests' container is started first; it waits for the service, then becomes the tests, and ends with their status.
set -eu
cd "$(dirname "$0")"
id=proem-example-test-$$
base=${BUSYBOX_IMAGE:-alpine:3}
image=$(docker build -q --build-arg PROEM="${PROEM_IMAGE:-proem}" --build-arg BASE="$base" .)
busybox=${BUSYBOX_IMAGE:-busybox:1}
trap 'docker rm -f $id-api $id-test >/dev/null 2>&1; docker network rm $id >/dev/null 2>&1' EXIT

docker network create "$id" >/dev/null
docker run -d --name "$id-test" --network "$id" "$image" >/dev/null
echo "-- the tests are waiting: $(docker inspect --format '{{.State.Status}}' "$id-test")"
docker run -d --name "$id-api" --network "$id" --network-alias api "$busybox" \
    sh -c 'mkdir /www; echo ok >/www/index.html; exec httpd -f -h /www' >/dev/null
echo "-- status $(docker wait "$id-test")"
docker logs "$id-test" 2>/dev/null
