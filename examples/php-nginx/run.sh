#!/bin/sh
# A Consul, and one container with nginx and php-fpm: what Docker says of its health when php-fpm hangs, and what is left
# untouched when php-fpm dies.
set -eu
cd "$(dirname "$0")"
id=proem-example-php-nginx-$$
base=${BASE_IMAGE:-$(docker build -q -f base.Dockerfile .)}
image=$(docker build -q --build-arg PROEM="${PROEM_IMAGE:-proem}" --build-arg BASE="$base" .)
trap 'docker rm -f $id-consul $id-app >/dev/null 2>&1; docker network rm $id >/dev/null 2>&1' EXIT

docker network create "$id" >/dev/null
start() { name=$1; shift; docker run -d --name "$id-$name" --network "$id" "$@" >/dev/null; }
consul() { docker exec "$id-consul" consul "$@" >/dev/null 2>&1; }
app() { docker exec "$id-app" "$@"; }
# To php-fpm's master and its workers.
kill_php() { app sh -c "kill -$1 \$(pidof php-fpm)"; }
page() { app wget -q -O - http://127.0.0.1/ 2>/dev/null || true; }
health() { docker inspect --format '{{.State.Health.Status}}' "$id-app"; }
# Prints what a command says once it is the wanted one; gives up after a while.
expect() {
    for _ in $(seq 100); do
        if [ "$($1)" = "$2" ]; then echo "$1: $2"; return; fi
        sleep 0.2
    done
    echo "$1 never became: $2" >&2
    docker logs "$id-app" >&2
    exit 1
}

start consul "${CONSUL_IMAGE:-hashicorp/consul:1.21}" agent -dev -client 0.0.0.0
until consul kv put config/site/greeting hello; do sleep 0.2; done
start app -e "CONSUL_HTTP_ADDR=http://$id-consul:8500" "$image"

echo "-- nginx starts when php-fpm answers"
expect page 'hello from php'
expect health healthy

echo "-- php-fpm hangs, and goes on"
kill_php STOP
expect health unhealthy
kill_php CONT
expect health healthy

echo "-- php-fpm dies: another one, the same nginx"
nginx=$(app cat /run/nginx.pid)
kill_php KILL
expect page 'hello from php'
[ "$(app cat /run/nginx.pid)" = "$nginx" ] && echo "nginx: the same process"

echo "-- a key changes in Consul"
consul kv put config/site/greeting bonjour
expect page 'bonjour from php'
