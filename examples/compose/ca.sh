#!/bin/sh
# Certificates of the demo stack, from the development CA: one directory for each
# identity, with what Envoy and sallyport look for by default.
set -eu

test -e /certs/ca/ca.crt || sallyport ca init --dir /certs/ca

# issue DIRECTORY SPIFFE-ID [FLAG…]
issue() {
	directory=$1 id=$2
	shift 2
	sallyport ca issue --dir /certs/ca --spiffe "$id" --out tls --lifetime 720h "$@"
	# Each file by a rename, the key before its certificate: who reads meanwhile
	# keeps the old pair until the new one fits.
	for file in ca.crt tls.key tls.crt; do
		cp "/certs/ca/$file" "/certs/$directory/.$file"
		mv "/certs/$directory/.$file" "/certs/$directory/$file"
	done
	rm /certs/ca/tls.key /certs/ca/tls.crt
}

issue control-plane spiffe://cluster.local/ns/sallyport/sa/control-plane
# Clients that take it for an HTTPS proxy know it by its name.
issue gateway spiffe://cluster.local/ns/egress/sa/gateway --dns gateway
issue sleep-us spiffe://cluster.local/ns/default/sa/sleep-us
issue sleep-canada spiffe://cluster.local/ns/default/sa/sleep-canada
