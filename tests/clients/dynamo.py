"""Drives a DynamoDB server with boto3 and prints, as JSON, every call by operation, table and code, as the SDK saw it.

usage: dynamo.py ENDPOINT (moto|dynalite)
"""

import collections
import json
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

COUNTED = collections.Counter()
TABLES = {
    "BatchGetItem": lambda p: list(p["RequestItems"]),
    "BatchWriteItem": lambda p: list(p["RequestItems"]),
    "TransactWriteItems": lambda p: [list(i.values())[0]["TableName"] for i in p["TransactItems"]],
    "TransactGetItems": lambda p: [i["Get"]["TableName"] for i in p["TransactItems"]],
}


def call(client, method, code="", table=None, **parameters):
    """Makes the call, which must end with this code, and counts it."""
    operation = client.meta.method_to_api_mapping[method]
    tables = sorted(set(TABLES.get(operation, lambda p: [p["TableName"]] if "TableName" in p else [])(parameters)))
    resource = table if table is not None else tables[0] if len(tables) == 1 else "_multiple" if tables else ""
    if resource.startswith("arn:"):
        resource = resource.split("table/")[1].split("/")[0]
    try:
        reply = getattr(client, method)(**parameters)
        got = ""
    except ClientError as error:
        reply, got = None, error.response["Error"]["Code"]
    assert got == code, f"{operation}: expected {code!r}, got {got!r}"
    # A batch of statements is done in part: what went wrong is in the reply.
    answers = reply["Responses"] if operation == "BatchExecuteStatement" and reply else []
    failed = [r["Error"]["Code"] + "Exception" for r in answers if "Error" in r]
    COUNTED[(operation, resource, failed[0] if failed else got)] += 1
    return reply


def table(client, name):
    call(
        client,
        "create_table",
        TableName=name,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        ProvisionedThroughput={"ReadCapacityUnits": 100, "WriteCapacityUnits": 100},
    )
    while call(client, "describe_table", TableName=name)["Table"]["TableStatus"] != "ACTIVE":
        pass


def main():
    endpoint, server = sys.argv[1:3]
    client = boto3.client(
        "dynamodb",
        endpoint_url=endpoint,
        region_name="eu-west-1",
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="secret",
        config=Config(retries={"max_attempts": 1, "mode": "standard"}, read_timeout=20),
    )
    table(client, "orders")
    table(client, "items")
    for n in range(30):
        call(client, "put_item", TableName="orders", Item={"id": {"S": f"o{n}"}, "n": {"N": str(n)}, "pad": {"S": "x" * 500}})
    for n in range(10):
        assert "Item" in call(client, "get_item", TableName="orders", Key={"id": {"S": f"o{n}"}})
    call(
        client,
        "put_item",
        code="ConditionalCheckFailedException",
        TableName="orders",
        Item={"id": {"S": "o1"}},
        ConditionExpression="attribute_not_exists(id)",
    )
    call(client, "get_item", code="ResourceNotFoundException", TableName="nowhere", Key={"id": {"S": "a"}})
    call(client, "update_item", TableName="orders", Key={"id": {"S": "o1"}}, UpdateExpression="SET n = :n",
         ExpressionAttributeValues={":n": {"N": "7"}})
    call(client, "query", TableName="orders", KeyConditionExpression="id = :i", ExpressionAttributeValues={":i": {"S": "o1"}})
    assert call(client, "scan", TableName="orders")["Count"] == 30
    call(client, "delete_item", TableName="orders", Key={"id": {"S": "o2"}})
    call(client, "batch_write_item", RequestItems={
        "orders": [{"PutRequest": {"Item": {"id": {"S": f"b{n}"}}}} for n in range(5)],
        "items": [{"PutRequest": {"Item": {"id": {"S": f"c{n}"}}}} for n in range(5)],
    })
    call(client, "batch_get_item", RequestItems={"items": {"Keys": [{"id": {"S": f"c{n}"}} for n in range(5)]}})
    call(client, "list_tables")
    if server == "moto":
        call(client, "transact_write_items", TransactItems=[
            {"Put": {"TableName": "orders", "Item": {"id": {"S": "t1"}}}},
            {"Put": {"TableName": "items", "Item": {"id": {"S": "t2"}}}},
        ])
        call(client, "transact_write_items", code="TransactionCanceledException", TransactItems=[
            {"Put": {"TableName": "orders", "Item": {"id": {"S": "t1"}}, "ConditionExpression": "attribute_not_exists(id)"}},
        ])
        call(client, "transact_get_items", TransactItems=[{"Get": {"TableName": "orders", "Key": {"id": {"S": "t1"}}}}])
        call(client, "execute_statement", table="orders", Statement="SELECT * FROM \"orders\" WHERE id = 'o1'")
        # (moto does not find a table whose name is quoted in a batch.)
        for items, error in [("items", False), ('"items"', True)]:
            answers = call(client, "batch_execute_statement", table="_multiple", Statements=[
                {"Statement": "SELECT * FROM orders WHERE id = 'o1'"}, {"Statement": f"SELECT * FROM {items} WHERE id = 'c1'"},
            ])["Responses"]
            assert ["Error" in answer for answer in answers] == [False, error], answers
        call(client, "execute_transaction", table="items", TransactStatements=[
            {"Statement": "INSERT INTO \"items\" VALUE {'id': 'p1'}"}, {"Statement": "INSERT INTO \"items\" VALUE {'id': 'p2'}"},
        ])
        arn = client.describe_table(TableName="items")["Table"]["TableArn"]
        COUNTED[("DescribeTable", "items", "")] += 1
        call(client, "get_item", TableName=arn, Key={"id": {"S": "c1"}})
        call(client, "describe_time_to_live", TableName="items")
    call(client, "delete_table", TableName="items")
    call(client, "delete_table", TableName="orders")
    json.dump({"counted": [[*key, count] for key, count in sorted(COUNTED.items())]}, sys.stdout)


main()
