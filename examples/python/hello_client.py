"""Says "hello" ten times, and prints what comes back: the counterpart of hello_client.rs."""

import sys

import zmq

endpoint = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5555"

req = zmq.Context.instance().socket(zmq.REQ)
req.setsockopt(zmq.LINGER, 0)
req.setsockopt(zmq.RCVTIMEO, 5000)
req.connect(endpoint)
for n in range(1, 11):
    req.send_string(f"hello {n}")
    print(f"{n}: {req.recv_string()}", flush=True)
