"""Adds up the workers' results: the counterpart of pipeline_sink.rs."""

import sys

import zmq

endpoint = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5558"

pull = zmq.Context.instance().socket(zmq.PULL)
pull.bind(endpoint)
print("listening on", pull.last_endpoint.decode(), flush=True)
expected, results, total = None, 0, 0
while results != expected:
    kind, number = pull.recv_string().split(" ")
    if kind == "expect":
        expected = int(number)
    else:
        results += 1
        total += int(number)
print(f"{results} results, sum {total}", flush=True)
