"""Asks for a page as any Python program would, and prints what came of it.

    get.py LIBRARY METHOD URL       LIBRARY: urllib, urllib3, requests or httpx

The proxy is that of the environment, http_proxy and HTTPS_PROXY. If it is
reached by mutual TLS, then PROXY_CERT, PROXY_KEY and PROXY_CA are the files of the
client's certificate, of its key, and of the proxy's authority; HOST_CA is that of
the hosts. See docs/clients.md.
"""

import json
import os
import re
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request

TIMEOUT = 20


def client_tls():
    """TLS with the proxy, with the client's own certificate."""
    context = ssl.create_default_context(cafile=os.environ["PROXY_CA"])
    context.load_cert_chain(os.environ["PROXY_CERT"], os.environ["PROXY_KEY"])
    return context


def host_tls():
    """TLS with the host, inside."""
    return ssl.create_default_context(cafile=os.environ["HOST_CA"])


def mutual():
    return "PROXY_CERT" in os.environ


def proxy_for(url):
    return urllib.request.getproxies()[urllib.parse.urlsplit(url).scheme]


def with_urllib(method, url):
    if mutual():
        raise SystemExit("the standard library cannot speak TLS with a proxy")
    request = urllib.request.Request(url, method=method)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as answer:
        return answer.code, dict(answer.headers), answer.read()


def with_urllib3(method, url):
    import urllib3

    how = {"proxy_ssl_context": client_tls(), "ssl_context": host_tls()} if mutual() else {}
    http = urllib3.ProxyManager(proxy_for(url), retries=False, timeout=TIMEOUT, **how)
    answer = http.request(method, url)
    return answer.status, dict(answer.headers), answer.data


def with_requests(method, url):
    import requests
    import requests.adapters

    class ClientCertificateForProxy(requests.adapters.HTTPAdapter):
        def proxy_manager_for(self, proxy, **kwargs):
            return super().proxy_manager_for(proxy, proxy_ssl_context=client_tls(), **kwargs)

    session = requests.Session()
    how = {}
    if mutual():
        session.mount("https://", ClientCertificateForProxy())
        session.mount("http://", ClientCertificateForProxy())
        how["verify"] = os.environ["HOST_CA"]
    answer = session.request(method, url, timeout=TIMEOUT, **how)
    return answer.status_code, dict(answer.headers), answer.content


def with_httpx(method, url):
    import httpx

    if mutual():
        proxy = httpx.Proxy(proxy_for(url), ssl_context=client_tls())
        client = httpx.Client(proxy=proxy, verify=host_tls(), timeout=TIMEOUT)
    else:
        client = httpx.Client(timeout=TIMEOUT)
    with client:
        answer = client.request(method, url)
    return answer.status_code, dict(answer.headers), answer.content


def main(library, method, url):
    get = {"urllib": with_urllib, "urllib3": with_urllib3, "requests": with_requests, "httpx": with_httpx}[library]
    outcome = {}
    try:
        status, headers, body = get(method, url)
        headers = {"-".join(word.capitalize() for word in name.split("-")): value for name, value in headers.items()}
        outcome = {"status": status, "headers": headers, "body": body.decode()}
    except Exception as error:  # each library has its own
        outcome["error"] = f"{type(error).__name__}: {error}"
        # None of them gives the answer to CONNECT but in these words.
        refused = re.search(r"Tunnel connection failed: (\d+)", str(error)) or (
            type(error).__name__ == "ProxyError" and re.match(r"(\d{3}) ", str(error))
        )
        if refused:
            outcome["connect"] = int(refused[1])
    json.dump(outcome, sys.stdout)
    print()


if __name__ == "__main__":
    main(*sys.argv[1:])
