"""HTTPS of `muga serve`: a request, many on one connection, a stream, large bodies; what is no TLS, or old TLS, or
never goes on, harms nobody; and certificates that can't be used are named. If it fails, keys and prompts go over the
network in the open, or one odd client keeps the others out."""
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.getcwd(), "tests/support"))
from program import PATIENCE_S, muga
from server import MODEL, Server

failures = []


def check(name, holds, *what):
    if not holds:
        failures.append(f"{name}: {' '.join(str(w)[:300] for w in what)}")


def openssl(*argv):
    done = subprocess.run(["openssl", *argv], capture_output=True)
    assert done.returncode == 0, done.stderr


def certificate(folder, name, *more):
    key, cert = os.path.join(folder, name + ".key"), os.path.join(folder, name + ".pem")
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", *(more or ("-nodes",)), "-keyout",
            key, "-out", cert, "-days", "2", "-subj", "/CN=test", "-addext",
            "subjectAltName=IP:127.0.0.1,DNS:localhost")
    return cert, key


def trusting(cert):
    return ssl.create_default_context(cafile=cert)


def served(s, cert):
    c = http.client.HTTPSConnection("127.0.0.1", s.port, context=trusting(cert), timeout=PATIENCE_S)
    for i in range(20):  # on one connection
        c.request("GET", "/v1/models")
        r = c.getresponse()
        check("many", r.status == 200 and MODEL in r.read().decode(), r.status)
    body = {"model": MODEL, "prompt": "a" * 400000, "raw": True, "options": {"num_predict": 1}}
    c.request("POST", "/api/generate", json.dumps(body), {"Content-Type": "application/json"})
    r = c.getresponse()
    check("large", r.status in (200, 400) and json.loads(r.read().splitlines()[-1]), r.status)
    stream = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 20, "stream": True}
    c.request("POST", "/v1/chat/completions", json.dumps(stream), {"Content-Type": "application/json"})
    r = c.getresponse()
    check("stream", r.status == 200 and r.read().endswith(b"data: [DONE]\n\n"), r.status)
    c.close()


def odd_clients(s, cert):
    """Those that never go on stay connected while the others are served."""
    silent = [socket.create_connection(("127.0.0.1", s.port)) for _ in range(20)]
    for i, half in enumerate(silent[10:]):
        half.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[:i + 1])  # the beginning of a handshake
    plain = socket.create_connection(("127.0.0.1", s.port))
    plain.settimeout(PATIENCE_S)
    plain.sendall(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n")
    try:
        said = plain.recv(4096)
    except ConnectionResetError:
        said = b""
    check("plain", b"200" not in said, said)
    plain.close()
    old = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{s.port}", "-tls1_1", "-cipher",
                          "ALL:@SECLEVEL=0"], stdin=subprocess.DEVNULL, capture_output=True)
    check("TLS 1.1", old.returncode != 0, old.stdout)
    served(s, cert)
    leaves = socket.create_connection(("127.0.0.1", s.port))
    t = trusting(cert).wrap_socket(leaves, server_hostname="localhost")
    body = json.dumps({"model": MODEL, "prompt": "x", "raw": True, "options": {"num_predict": 100000}}).encode()
    t.sendall(b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    t.recv(100)
    t.close()
    served(s, cert)
    for half in silent:
        half.close()


def refused(folder, cert, key):
    other = certificate(folder, "other")
    locked = certificate(folder, "locked", "-passout", "pass:secret")
    text = os.path.join(folder, "text")
    with open(text, "w", encoding="utf-8") as f:
        f.write("no certificate\n")
    for name, a, b, part in (("another's key", cert, other[1], other[1]), ("passphrase", *locked, "passphrase"),
                             ("no certificate", text, key, text), ("no key", cert, text, text)):
        code, _, err = muga(folder, "serve", "--listen", "127.0.0.1:0", "--tls-cert", a, "--tls-key", b)
        check(name, code == 6 and part in err and err.count("\n") == 1, code, err)
    for options in (("--tls-cert", cert), ("--tls-key", key)):
        code, _, err = muga(folder, "serve", "--listen", "127.0.0.1:0", *options)
        check("one alone", code == 2 and err, code, err)


with tempfile.TemporaryDirectory() as folder:
    cert, key = certificate(folder, "own")
    with Server("--tls-cert", cert, "--tls-key", key) as s:
        check("said", s.url.startswith("https://"), s.url)
        served(s, cert)
        odd_clients(s, cert)
    refused(folder, cert, key)
if failures:
    sys.exit("\n".join(failures))
