"""Prints the newest value of a key at its leisure: the counterpart of last_value_reader.rs."""

import sys
import time

import zmq

endpoint = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5562"
key = sys.argv[2] if len(sys.argv) > 2 else "temperature"

sub = zmq.Context.instance().socket(zmq.SUB)
sub.setsockopt(zmq.CONFLATE, 1)
sub.subscribe(f"{key} ")
sub.connect(endpoint)
while True:
    print(sub.recv_string(), flush=True)
    time.sleep(0.2)
