"""A gRPC service as its own server reflection describes it: no stub, no .proto file."""

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from google.rpc import error_details_pb2, status_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

# A safety net: nothing waits for it.
TIMEOUT = 60


class Server:
    """What listens on a Unix socket."""

    def __init__(self, socket):
        self.channel = grpc.insecure_channel(f"unix:{socket}")
        self.database = ProtoReflectionDescriptorDatabase(self.channel)
        self.pool = descriptor_pool.DescriptorPool(self.database)

    def services(self):
        return sorted(self.database.get_services())

    def call(self, service, method, /, **fields):
        """The answer as a dictionary, or an iterator of them."""
        described = self.pool.FindServiceByName(service).FindMethodByName(method)
        request = message_factory.GetMessageClass(described.input_type)
        answer = message_factory.GetMessageClass(described.output_type)
        make = self.channel.unary_stream if described.server_streaming else self.channel.unary_unary
        rpc = make(f"/{service}/{method}", request.SerializeToString, answer.FromString)
        result = rpc(request(**fields), timeout=TIMEOUT)
        if described.server_streaming:
            return (as_dict(message) for message in result)
        return as_dict(result)


def as_dict(message):
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def error_info(error):
    """The google.rpc.ErrorInfo that came with a failed call."""
    [packed] = [value for key, value in error.trailing_metadata() if key == "grpc-status-details-bin"]
    status = status_pb2.Status.FromString(packed)
    assert status.code == error.code().value[0], (status, error.code())
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return info
    raise AssertionError(f"no ErrorInfo in {status}")
