"""Shows a name and a password: the counterpart of plain_client.rs."""

import os
import sys

import zmq

endpoint, name = sys.argv[1:]

req = zmq.Context.instance().socket(zmq.REQ)
req.setsockopt(zmq.LINGER, 0)
req.setsockopt(zmq.RCVTIMEO, 2000)
req.plain_username = name.encode()
req.plain_password = os.environ["HELLO_PASSWORD"].encode()
req.connect(endpoint)
req.send_string("hello")
print(req.recv_string(), flush=True)
