"""The proxy that the environment has for a host."""

from __future__ import annotations

import importlib.util
import os
from urllib.request import getproxies, proxy_bypass

import httpx

from airflow_provider_falinvoke.exceptions import FalInvokeConfigError


def proxy_of(url: httpx.URL) -> str | None:
    """Return the proxy that the environment has for a URL.

    :raises FalInvokeConfigError: no connection can be made through it.
    """
    proxies = getproxies()
    scheme = url.scheme if proxies.get(url.scheme) else "all"
    proxy = proxies.get(scheme)
    if not proxy or proxy_bypass(url.host):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    if problem := _problem_of(proxy):
        names = (f"{scheme}_proxy", f"{scheme}_proxy".upper())
        variable = next((name for name in names if os.environ.get(name)), f"{scheme}_proxy")
        raise FalInvokeConfigError(
            f"The environment variable {variable} names a proxy that cannot be used: {problem}. Correct it, or add "
            f"{url.host} to no_proxy. Nothing was sent."
        )
    return proxy


def _problem_of(proxy: str) -> str | None:
    # Not in httpx's words: they repeat the URL, and a password may be in it.
    try:
        url = httpx.Proxy(proxy).url
    except (httpx.InvalidURL, ValueError):
        url = None
    if url is None or not url.host:
        return "it is not the URL of an http, https or socks5 proxy"
    if url.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        return "a SOCKS proxy needs the package socksio (pip install 'httpx[socks]')"
    return None
