#!/bin/sh
# The template that production renders from Consul, checked and rendered in CI from a fixture: no store, no network.
set -eu
cd "$(dirname "$0")"
proem=${PROEM:-proem}

echo "-- check, offline"
"$proem" check -s shop=consul:config/shop -t shop.yaml.tera:shop.yaml:none --with shop=file:fixture.yaml >/dev/null
echo "status $?"

echo "-- render from the fixture"
"$proem" render -s shop=file:fixture.yaml -t shop.yaml.tera:-

echo "-- what the fixture lacks is found before production lacks it"
status=0
"$proem" check -s shop=consul:config/shop -t shop.yaml.tera:shop.yaml:none --with shop=file:incomplete.yaml >/dev/null 2>&1 || status=$?
echo "status $status"

echo "-- the file that is kept in the repository is what the template says"
dry_run() { "$proem" render -s shop=file:fixture.yaml,env:SHOP_ -t shop.yaml.tera:shop.yaml --out-dir rendered --dry-run "$@"; }
dry_run --exit-code
echo "status $?"

echo "-- and what another port would change"
SHOP_DB__PORT=6543 dry_run --diff | grep '^[-+] '
