"""Calls a DynamoDB that is not there and prints the error that the SDK understood.

usage: dynamo_down.py ENDPOINT
"""

import json
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

client = boto3.client(
    "dynamodb",
    endpoint_url=sys.argv[1],
    region_name="eu-west-1",
    aws_access_key_id="AKIDEXAMPLE",
    aws_secret_access_key="secret",
    config=Config(retries={"total_max_attempts": 1}),
)
try:
    client.get_item(TableName="orders", Key={"id": {"S": "a"}})
except ClientError as error:
    print(json.dumps({
        "code": error.response["Error"]["Code"],
        "status": error.response["ResponseMetadata"]["HTTPStatusCode"],
    }))
