"""Clients that know nothing of the contract: reflection and health."""

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase


def call(channel, pool, service, method, body):
    """Calls a method that is known by its name alone, and gives its answer as a dictionary."""
    rpc = pool.FindServiceByName(service).FindMethodByName(method)
    stub = channel.unary_unary(
        f"/{service}/{method}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=GetMessageClass(rpc.output_type).FromString,
    )
    return MessageToDict(stub(ParseDict(body, GetMessageClass(rpc.input_type)())))


def test_reflection_lists_the_services_and_describes_them(channel):
    database = ProtoReflectionDescriptorDatabase(channel)
    assert {"tidemark.v1.ResponsesService", "tidemark.v1.ModelsService", "grpc.health.v1.Health"} <= set(database.get_services())
    pool = DescriptorPool(database)
    models = call(channel, pool, "tidemark.v1.ModelsService", "ListModels", {})["models"]
    assert "demo" in [model["id"] for model in models]
    request = {"model": "demo", "text": "one two", "wait": "WAIT_TERMINAL"}
    response = call(channel, pool, "tidemark.v1.ResponsesService", "Create", request)["response"]
    assert (response["status"], response["usage"]["outputTokens"]) == ("STATUS_COMPLETED", "2")


def test_health_speaks_of_the_server_and_of_each_service(channel):
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ("", "tidemark.v1.ResponsesService", "tidemark.v1.ModelsService"):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(health_pb2.HealthCheckRequest(service="no.such.Service"))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
