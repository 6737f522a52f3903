"""hello_server, encrypted, for the clients on a list: the counterpart of curve_server.rs."""

import sys

import zmq
import zmq.auth
from zmq.auth.thread import ThreadAuthenticator

endpoint, key, allowed = sys.argv[1:]


class AllowList:
    """Whom the authenticator lets in: the public keys of a file, one a line."""

    def __init__(self, path):
        with open(path) as lines:
            self.keys = {line.split()[0].encode() for line in lines if line.strip()}

    def callback(self, domain, key):
        return key in self.keys


context = zmq.Context.instance()
authenticator = ThreadAuthenticator(context)
authenticator.start()
authenticator.configure_curve_callback(domain="*", credentials_provider=AllowList(allowed))

rep = context.socket(zmq.REP)
rep.curve_server = True
rep.curve_publickey, rep.curve_secretkey = zmq.auth.load_certificate(key)
rep.bind(endpoint)
print("listening on", rep.last_endpoint.decode(), flush=True)
while True:
    print(rep.recv_string(), flush=True)
    rep.send_string("world")
