// Drives a DynamoDB server with the AWS SDK for JavaScript and prints, as JSON, every call by operation, table and code.
//
// usage: node dynamo.js ENDPOINT (moto|dynalite)
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

async function call(operation, input, code = '', named = undefined) {
  const items = (input.TransactItems || []).map((item) => Object.values(item)[0].TableName);
  const given = named || (input.RequestItems ? Object.keys(input.RequestItems) : input.TableName ? [input.TableName] : items);
  const tables = [...new Set(given)];
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
  await call('UpdateItem', {
    TableName: 'widgets',
    Key: { id: { S: 'i1' } },
    UpdateExpression: 'SET n = :n',
    ExpressionAttributeValues: { ':n': { N: '7' } },
  });
  const query = { KeyConditionExpression: 'id = :i', ExpressionAttributeValues: { ':i': { S: 'i1' } } };
  assert.equal((await call('Query', { TableName: 'widgets', ...query })).Count, 1);
  await call('DeleteItem', { TableName: 'widgets', Key: { id: { S: 'i3' } } });
  const put = (id) => ({ PutRequest: { Item: { id: { S: id } } } });
  await call('BatchWriteItem', { RequestItems: { widgets: [put('b1'), put('b2')] } });
  if (process.argv[3] === 'moto') {
    const item = (id) => ({ TableName: 'widgets', Item: { id: { S: id } } });
    const once = { ...item('t1'), ConditionExpression: 'attribute_not_exists(id)' };
    await call('TransactWriteItems', { TransactItems: [{ Put: item('t1') }, { Put: item('t2') }] });
    await call('TransactWriteItems', { TransactItems: [{ Put: once }] }, 'TransactionCanceledException');
    await call('TransactGetItems', { TransactItems: [{ Get: { TableName: 'widgets', Key: { id: { S: 't1' } } } }] });
    const select = `SELECT * FROM "widgets" WHERE id = 't1'`;
    assert.equal((await call('ExecuteStatement', { Statement: select }, '', ['widgets'])).Items.length, 1);
    const unquoted = { Statement: select.replaceAll('"', '') };
    await call('BatchExecuteStatement', { Statements: [unquoted, unquoted] }, '', ['widgets']);
    const insert = `INSERT INTO "widgets" VALUE {'id': 'p1'}`;
    await call('ExecuteTransaction', { TransactStatements: [{ Statement: insert }] }, '', ['widgets']);
    const arn = (await call('DescribeTable', { TableName: 'widgets' })).Table.TableArn;
    assert((await call('GetItem', { TableName: arn, Key: { id: { S: 't1' } } }, '', ['widgets'])).Item);
  }
  await call('ListTables', {});
  await call('DeleteTable', { TableName: 'widgets' });
  console.log(JSON.stringify({ counted: [...counted].map(([key, n]) => [...JSON.parse(key), n]).sort() }));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
