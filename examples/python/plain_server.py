"""hello_server for users with a password: the counterpart of plain_server.rs."""

import sys

import zmq
from zmq.auth.thread import ThreadAuthenticator

endpoint, users = sys.argv[1:]

context = zmq.Context.instance()
authenticator = ThreadAuthenticator(context)
authenticator.start()
with open(users) as lines:
    passwords = dict(line.rstrip("\n").split("=", 1) for line in lines)
authenticator.configure_plain(domain="*", passwords=passwords)

rep = context.socket(zmq.REP)
rep.plain_server = True
rep.bind(endpoint)
print("listening on", rep.last_endpoint.decode(), flush=True)
while True:
    print(rep.recv_string(), flush=True)
    rep.send_string("world")
