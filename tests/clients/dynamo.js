// Drives a DynamoDB server with the AWS SDK for JavaScript and prints, as JSON, every call by operation, table and code.
//
// usage: node dynamo.js ENDPOINT
'use strict';
const sdk = require('@aws-sdk/client-dynamodb');
const assert = require('node:assert');

const counted = new Map();
const client = new sdk.DynamoDBClient({
  endpoint: process.argv[2],
  region: 'eu-west-1',
  credentials: { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'secret' },
  maxAttempts: 1,
});

async function call(operation, input, code = '') {
  const tables = input.RequestItems ? Object.keys(input.RequestItems) : input.TableName ? [input.TableName] : [];
  let got = '';
  let reply;
  try {
    reply = await client.send(new sdk[`${operation}Command`](input));
  } catch (error) {
    got = error.name;
  }
  assert.equal(got, code, operation);
  const key = JSON.stringify([operation, tables.length === 1 ? tables[0] : tables.length ? '_multiple' : '', got]);
  counted.set(key, (counted.get(key) || 0) + 1);
  return reply;
}

async function main() {
  await call('CreateTable', {
    TableName: 'widgets',
    KeySchema: [{ AttributeName: 'id', KeyType: 'HASH' }],
    AttributeDefinitions: [{ AttributeName: 'id', AttributeType: 'S' }],
    ProvisionedThroughput: { ReadCapacityUnits: 100, WriteCapacityUnits: 100 },
  });
  while ((await call('DescribeTable', { TableName: 'widgets' })).Table.TableStatus !== 'ACTIVE');
  await Promise.all(
    Array.from({ length: 20 }, (_, n) => call('PutItem', { TableName: 'widgets', Item: { id: { S: `i${n}` }, pad: { S: 'y'.repeat(9000) } } })),
  );
  for (let n = 0; n < 10; n++) assert((await call('GetItem', { TableName: 'widgets', Key: { id: { S: `i${n}` } } })).Item);
  await call(
    'PutItem',
    { TableName: 'widgets', Item: { id: { S: 'i1' } }, ConditionExpression: 'attribute_not_exists(id)' },
    'ConditionalCheckFailedException',
  );
  await call('GetItem', { TableName: 'none', Key: { id: { S: 'a' } } }, 'ResourceNotFoundException');
  assert.equal((await call('Scan', { TableName: 'widgets' })).Count, 20);
  await call('BatchGetItem', { RequestItems: { widgets: { Keys: [{ id: { S: 'i1' } }, { id: { S: 'i2' } }] } } });
  await call('ListTables', {});
  await call('DeleteTable', { TableName: 'widgets' });
  console.log(JSON.stringify({ counted: [...counted].map(([key, n]) => [...JSON.parse(key), n]).sort() }));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
