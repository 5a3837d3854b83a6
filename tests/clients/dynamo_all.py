"""Makes every call that botocore's models of DynamoDB and DynamoDB Streams know, each with what its shape requires, about the table
`Music`, and prints them by operation and table. The server need not know anything: `{}` will do for an answer.

usage: dynamo_all.py ENDPOINT
"""

import collections
import json
import sys

import boto3
from botocore.config import Config

ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/Music"
STATEMENT = "UPDATE \"Music\" SET n = 1 WHERE pk = 'a'"
# What stands for the table, by the name of the member, in any shape; nothing else in a call has its name.
KNOWN = {
    "TableName": "Music",
    "GlobalTableName": "Music",
    "TargetTableName": "Music",
    "ResourceArn": ARN,
    "TableArn": ARN,
    "BackupArn": ARN + "/backup/01489602797149-73d8d5bc",
    "ExportArn": ARN + "/export/01234567890123-a1b2c3d4",
    "ImportArn": ARN + "/import/01234567890123-a1b2c3d4",
    "StreamArn": ARN + "/stream/2026-11-27T00:00:00.000",
    "ShardIterator": ARN + "/stream/2026-11-27T00:00:00.000|1|AAAAAAAAAAF",
    "Statement": STATEMENT,
}
# Members that no shape requires, though a call says nothing without them.
OPTIONAL = {"ListBackups": ["TableName"], "ListContributorInsights": ["TableName"], "ListExports": ["TableArn"],
            "ListImports": ["TableArn"], "ListStreams": ["TableName"], "RestoreTableToPointInTime": ["SourceTableName"]}
COUNTED = collections.Counter()


def made(shape, name=""):
    """Something of this shape."""
    if name == "RequestItems":
        return {"Music": made(shape.value)}
    if name in KNOWN:
        return KNOWN[name]
    if shape.name == "AttributeValue":
        return {"S": "a"}
    if shape.type_name == "structure":
        members = shape.required_members
        # An item of a transaction, or of a batch, is one of several.
        if not members and shape.name in ("TransactWriteItem", "WriteRequest"):
            members = list(shape.members)[:1]
        return {member: made(shape.members[member], member) for member in members}
    if shape.type_name == "list":
        return [made(shape.member)]
    if shape.type_name == "map":
        return {"pk": made(shape.value)}
    if shape.type_name in ("integer", "long"):
        return shape.metadata.get("min", 1)
    if shape.type_name in ("double", "float"):
        return 1.0
    if shape.type_name == "boolean":
        return True
    if shape.type_name == "timestamp":
        return "2026-11-27T00:00:00Z"
    if shape.type_name == "blob":
        return b"x"
    if shape.enum:
        return shape.enum[0]
    return "x" * max(4, shape.metadata.get("min", 0))


for service in ["dynamodb", "dynamodbstreams"]:
    client = boto3.client(
        service,
        endpoint_url=sys.argv[1],
        region_name="eu-west-1",
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="secret",
        config=Config(retries={"total_max_attempts": 1}),
    )
    names = {operation: method for method, operation in client.meta.method_to_api_mapping.items()}
    for operation in client.meta.service_model.operation_names:
        shape = client.meta.service_model.operation_model(operation).input_shape
        call = made(shape)
        for member in OPTIONAL.get(operation, []):
            if member in shape.members:
                call[member] = made(shape.members[member], member)
        getattr(client, names[operation])(**call)
        COUNTED[(operation, "Music" if "Music" in json.dumps(call, default=str) else "", "")] += 1
json.dump({"counted": [[*key, count] for key, count in sorted(COUNTED.items())]}, sys.stdout)
