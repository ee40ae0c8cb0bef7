#!/bin/sh
# A Consul, two instances of a service, and nginx with proem in front of them: what changes in Consul is served at once.
set -eu
cd "$(dirname "$0")"
id=proem-example-nginx-$$
image=$(docker build -q --build-arg PROEM="${PROEM_IMAGE:-proem}" --build-arg BASE="${NGINX_IMAGE:-nginx:1}" .)
busybox=${BUSYBOX_IMAGE:-busybox:1}
trap 'docker rm -f $id-consul $id-one $id-two $id-nginx >/dev/null 2>&1; docker network rm $id >/dev/null 2>&1' EXIT

docker network create "$id" >/dev/null
start() { name=$1; shift; docker run -d --name "$id-$name" --network "$id" "$@" >/dev/null; }
address() { docker inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$id-$1"; }
consul() { docker exec "$id-consul" consul "$@" >/dev/null 2>&1; }
get() { docker run --rm --network "$id" "$busybox" wget -q -O - "http://$id-nginx/$1" 2>/dev/null; }
# Prints the page once it is the wanted one; gives up after a while.
expect() {
    for _ in $(seq 100); do
        if [ "$(get "$1")" = "$2" ]; then echo "/$1: $2"; return; fi
        sleep 0.1
    done
    echo "/$1 never became: $2" >&2
    docker logs "$id-nginx" >&2
    exit 1
}

start consul "${CONSUL_IMAGE:-hashicorp/consul:1.21}" agent -dev -client 0.0.0.0
start nginx -e "CONSUL_HTTP_ADDR=http://$id-consul:8500" "$image"
start one "$busybox" sh -c 'mkdir /www; echo "I am one" >/www/index.html; exec httpd -f -h /www'
start two "$busybox" sh -c 'mkdir /www; echo "I am two" >/www/index.html; exec httpd -f -h /www'

echo "-- nginx starts when its values are there"
until consul kv put config/site/greeting hello; do sleep 0.2; done
consul services register -name web -id one -address "$(address one)" -port 80
expect greeting hello
expect '' 'I am one'

echo "-- a key changes, an instance takes over"
consul kv put config/site/greeting bonjour
expect greeting bonjour
consul services register -name web -id two -address "$(address two)" -port 80
consul services deregister -id one
expect '' 'I am two'

echo "-- the last instance goes: min=1 keeps it"
consul services deregister -id two
consul kv put config/site/greeting salut
expect greeting salut
expect '' 'I am two'
