#!/usr/bin/env bash
# Installs the proxies that the gateway is tried or compared with, where they are
# missing: nginx with its stream module, and HAProxy, from Debian or Ubuntu, and
# Smokescreen, built from its Go module into .tools/bin.
# `setup.sh nginx` is about that one alone. No service is started: tests and
# benchmarks run them on loopback themselves.
set -euo pipefail

PATH=$PATH:/usr/sbin:/sbin
missing=()
wanted=" ${*:-nginx haproxy smokescreen} "
tools=$(cd "$(dirname "$0")/../.." && pwd)/.tools/bin
if [[ $wanted == *" smokescreen "* ]] && ! [ -x "$tools/smokescreen" ] && ! command -v smokescreen >/dev/null; then
	echo "== go install github.com/stripe/smokescreen"
	# Outside of the module, so that its dependencies do not become ours.
	(cd / && GOBIN=$tools GOFLAGS=-mod=mod go install github.com/stripe/smokescreen@v0.1.0)
fi
command -v nginx >/dev/null || missing+=(nginx)
if ! nginx -V 2>&1 | grep -qE -- '--with-stream( |$)' &&
	! ls /usr/lib/nginx/modules/ngx_stream_module.so >/dev/null 2>&1; then
	missing+=(libnginx-mod-stream)
fi
if [[ $wanted == *" haproxy "* ]]; then
	command -v haproxy >/dev/null || missing+=(haproxy)
fi
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "The gateway is tried with other proxies, and these are missing: ${missing[*]}." >&2
	echo "On Debian or Ubuntu: sudo apt-get install --no-install-recommends ${missing[*]}" >&2
	exit 1
fi

# invoke-rc.d(8) asks this file whether the packages may start their services.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	printf '#!/bin/sh\nexit 101\n' >$policy
	chmod +x $policy
	trap 'rm -f $policy' EXIT
fi

echo "== apt-get install ${missing[*]}"
apt-get update -q
DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
# Nor are they to start with the machine.
for service in nginx haproxy; do
	case " ${missing[*]} " in *" $service "*) systemctl disable "$service" 2>/dev/null || true ;; esac
done
