"""A platform that creates an agent, and sends its owner to the consent that the agent still needs.

    python -m pip install grpcio grpcio-tools
    python -m grpc_tools.protoc -I proto --python_out=. --grpc_python_out=. proto/tokenbroker/v1/*.proto
    python examples/orchestrator.py /run/token-broker/admin.sock AGENT OWNER CAPABILITY...
    python examples/orchestrator.py https://broker.example:8444 AGENT OWNER CAPABILITY...

The two commands above put the messages beside where they are run. Over TLS it shows the certificate in
TOKEN_BROKER_CERTIFICATE, with its key in TOKEN_BROKER_CERTIFICATE_KEY, and trusts the authorities in TOKEN_BROKER_CA.
"""

import os
import sys

import grpc

sys.path.insert(0, ".")
from tokenbroker.v1 import admin_pb2, admin_pb2_grpc, types_pb2

ACTIVE = types_pb2.AGENT_STATE_ACTIVE


def channel(broker):
    if not broker.startswith("https://"):
        return grpc.insecure_channel(f"unix:{broker}")
    ca, key, certificate = (
        open(os.environ[f"TOKEN_BROKER_{name}"], "rb").read() for name in ("CA", "CERTIFICATE_KEY", "CERTIFICATE")
    )
    return grpc.secure_channel(broker.removeprefix("https://"), grpc.ssl_channel_credentials(ca, key, certificate))


def main(broker, agent, owner, *capabilities):
    admin = admin_pb2_grpc.AdminServiceStub(channel(broker))
    needs = [types_pb2.Requirement(key=key, description="For an example") for key in capabilities]
    spec = admin_pb2.AgentSpec(agent=agent, owner=owner, integrations=needs)
    # The same again changes nothing, so this may be repeated whenever the platform is not sure.
    created = admin.PutAgent(admin_pb2.PutAgentRequest(spec=spec)).agent
    tell(created)
    if created.status.state == ACTIVE:
        return
    # Opened before anything happens, so that nothing is missed.
    events = admin.WatchEvents(admin_pb2.WatchEventsRequest())
    missing = [status.key for status in created.status.capabilities if not status.granted]
    if not missing:
        # Everything is allowed: the broker, or the provider, is not ready for it yet.
        return tell(until_active(admin, agent, events))
    begun = admin.BeginConnect(admin_pb2.BeginConnectRequest(owner=owner, capabilities=missing))
    print(f"send {owner} here: {begun.authorization_url}", flush=True)
    ended = admin.WaitConnect(admin_pb2.WaitConnectRequest(connect_id=begun.connect_id))
    print(f"connected {ended.integration.account}; still missing: {list(ended.capabilities_missing)}")
    tell(until_active(admin, agent, events))


def until_active(admin, agent, events):
    while True:
        now = admin.GetAgent(admin_pb2.GetAgentRequest(agent=agent)).agent
        if now.status.state == ACTIVE:
            return now
        next(events)


def tell(agent):
    state = types_pb2.AgentState.Name(agent.status.state)
    print(f"{agent.spec.agent}: {state}; mount {agent.directory}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
