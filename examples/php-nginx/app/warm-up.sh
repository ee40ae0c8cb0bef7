#!/bin/sh
# What an application does once per start: here its routes are compiled, elsewhere a database is migrated.
set -eu
mkdir -p /run/app
printf '<?php return ["/" => "hello", "/slow" => "slow"];\n' >/run/app/routes.php
echo "warm-up: done"
