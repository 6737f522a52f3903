"""A worker of the shared queue: the counterpart of queue_worker.rs."""

import sys

import zmq

endpoint = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5560"

rep = zmq.Context.instance().socket(zmq.REP)
rep.connect(endpoint)
while True:
    print(rep.recv_string(), flush=True)
    rep.send_string("world")
