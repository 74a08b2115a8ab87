"""Plays an orchestrator on the admin socket: `grpc_admin.py SOCKET [UID]`.

Prints the agents' names as a JSON list. With a uid, takes that on first, and prints the status that it is refused
with.
"""

import json
import os
import sys

import grpc
from reflected import Server, error_info

ADMIN_SERVICE = "tokenbroker.v1.AdminService"
HEALTH = "grpc.health.v1.Health"


def main():
    server = Server(sys.argv[1])
    assert server.services() == [
        HEALTH,
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        ADMIN_SERVICE,
    ], server.services()
    for service in ["", ADMIN_SERVICE]:
        health = server.call(HEALTH, "Check", service=service)
        assert health == {"status": "SERVING"}, (service, health)
    try:
        server.call(ADMIN_SERVICE, "GetAgent", agent="nobody")
        raise AssertionError("there is an agent `nobody`")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND, error
        assert error_info(error).domain == "token-broker", error
    agents = server.call(ADMIN_SERVICE, "ListAgents")["agents"]
    json.dump([agent["spec"]["agent"] for agent in agents], sys.stdout)


def refused(uid):
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    try:
        Server(sys.argv[1]).services()
    except grpc.RpcError as error:
        json.dump(error.code().name, sys.stdout)


if len(sys.argv) > 2:
    refused(int(sys.argv[2]))
else:
    main()
