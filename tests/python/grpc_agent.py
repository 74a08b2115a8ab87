"""Plays an agent that speaks gRPC without knowing our .proto files: `grpc_agent.py SOCKET TOKENS`.

Watches TOKENS tokens and prints them as a JSON list; every expectation is asserted here.
"""

import json
import sys

import grpc
from reflected import Server, error_info

TOKEN_SERVICE = "tokenbroker.v1.TokenService"
HEALTH = "grpc.health.v1.Health"


def refusal(server, **request):
    try:
        server.call(TOKEN_SERVICE, "GetAccessToken", **request)
    except grpc.RpcError as error:
        return error
    raise AssertionError(f"{request} was not refused")


def main():
    server = Server(sys.argv[1])
    assert server.services() == [
        HEALTH,
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        TOKEN_SERVICE,
    ], server.services()
    for service in ["", TOKEN_SERVICE]:
        health = server.call(HEALTH, "Check", service=service)
        assert health == {"status": "SERVING"}, (service, health)

    status = server.call(TOKEN_SERVICE, "GetStatus")["status"]
    assert status["state"] == "AGENT_STATE_ACTIVE", status
    assert status["account"] == "alice@example.com", status

    token = server.call(TOKEN_SERVICE, "GetAccessToken")["token"]
    assert token["token_type"] == "Bearer", token
    assert token["capabilities"] == ["google.gmail.send", "google.calendar.readonly"], token
    narrow = server.call(TOKEN_SERVICE, "GetAccessToken", capabilities=["google.gmail.send"])["token"]
    assert narrow["scope"] == "https://www.googleapis.com/auth/gmail.send", narrow

    undeclared = refusal(server, capabilities=["google.drive"])
    assert undeclared.code() == grpc.StatusCode.PERMISSION_DENIED, undeclared
    info = error_info(undeclared)
    assert (info.reason, info.domain) == ("not_declared", "token-broker"), info
    unknown = refusal(server, capabilities=["google.everything"])
    assert unknown.code() == grpc.StatusCode.INVALID_ARGUMENT, unknown
    assert error_info(unknown).reason == "unknown_capability", unknown

    tokens = []
    for change in server.call(TOKEN_SERVICE, "WatchAccessToken"):
        assert "token" in change, change
        tokens.append(change["token"]["access_token"])
        if len(tokens) == int(sys.argv[2]):
            break
    assert len(set(tokens)) == len(tokens), "a token came twice"
    json.dump(tokens, sys.stdout)


main()
