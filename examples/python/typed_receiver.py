"""Receives values as JSON: the counterpart of typed_receiver.rs."""

import sys

import zmq

endpoint = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5563"

pull = zmq.Context.instance().socket(zmq.PULL)
pull.bind(endpoint)
print("listening on", pull.last_endpoint.decode(), flush=True)
while True:
    reading = pull.recv_json()
    print(reading["degrees"], "in", reading["town"], flush=True)
