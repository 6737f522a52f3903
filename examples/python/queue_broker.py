"""A shared queue between clients and workers: the counterpart of queue_broker.rs."""

import sys

import zmq

clients = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5559"
workers = sys.argv[2] if len(sys.argv) > 2 else "tcp://127.0.0.1:5560"

context = zmq.Context.instance()
router = context.socket(zmq.ROUTER)
router.bind(clients)
print("clients at", router.last_endpoint.decode(), flush=True)
dealer = context.socket(zmq.DEALER)
dealer.bind(workers)
print("workers at", dealer.last_endpoint.decode(), flush=True)
zmq.proxy(router, dealer)
