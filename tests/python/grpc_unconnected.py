"""Asks for a token where nobody has connected an account: `grpc_unconnected.py SOCKET`; prints the ErrorInfo."""

import json
import sys

import grpc
from reflected import Server, error_info

try:
    Server(sys.argv[1]).call("tokenbroker.v1.TokenService", "GetAccessToken")
except grpc.RpcError as error:
    info = error_info(error)
    answer = {"code": error.code().name, "reason": info.reason, "domain": info.domain, "metadata": dict(info.metadata)}
    json.dump(answer, sys.stdout)
