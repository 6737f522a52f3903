"""Proves its key, and checks the server's: the counterpart of curve_client.rs."""

import sys

import zmq
import zmq.auth

endpoint, key, server_key = sys.argv[1:]

req = zmq.Context.instance().socket(zmq.REQ)
req.setsockopt(zmq.LINGER, 0)
req.setsockopt(zmq.RCVTIMEO, 2000)
req.curve_publickey, req.curve_secretkey = zmq.auth.load_certificate(key)
req.curve_serverkey, _ = zmq.auth.load_certificate(server_key)
req.connect(endpoint)
req.send_string("hello")
print(req.recv_string(), flush=True)
