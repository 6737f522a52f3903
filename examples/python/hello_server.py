"""Answers every request with "world": the counterpart of hello_server.rs."""

import sys

import zmq

endpoint = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5555"

rep = zmq.Context.instance().socket(zmq.REP)
rep.bind(endpoint)
print("listening on", rep.last_endpoint.decode(), flush=True)
while True:
    print(rep.recv_string(), flush=True)
    rep.send_string("world")
