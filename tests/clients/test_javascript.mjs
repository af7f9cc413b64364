// The JavaScript client, as a user's program: nigh-test: environment=npm server=yes
import assert from 'node:assert/strict';
import {createRequire} from 'node:module';
import path from 'node:path';

const from = process.env.NIGH_NPM ? path.join(process.env.NIGH_NPM, 'x.js') : import.meta.url;
const {QdrantClient} = createRequire(from)('@qdrant/js-client-rest');
const client = new QdrantClient({url: process.env.NIGH_URL ?? 'http://127.0.0.1:6333'});
const name = 'js';
let failed = false;

async function test(title, run) {
    try {
        await run();
        console.log(`ok ${title}`);
    } catch (error) {
        failed = true;
        const detail = error.data ? JSON.stringify(error.data) : '';
        console.log(`FAIL ${title}: ${`${error.message} ${detail}`.replace(/\s+/g, ' ').slice(0, 800)}`);
    }
}

await test('a_collection_is_created', async () => {
    assert.equal(await client.createCollection(name, {vectors: {size: 4, distance: 'Cosine'}}), true);
    assert.deepEqual((await client.getCollections()).collections, [{name}]);
    assert.equal((await client.getCollection(name)).config.params.vectors.size, 4);
    assert.equal((await client.collectionExists(name)).exists, true);
});

await test('points_are_upserted_and_found', async () => {
    const result = await client.upsert(name, {wait: true, points: [
        {id: 1, vector: [0.9, 0.1, 0.1, 0], payload: {colour: 'red', sizes: [1, 2]}},
        {id: 2, vector: [0.1, 0.9, 0.1, 0], payload: {colour: 'green'}},
        {id: '5c56c793-69f3-4fbf-87e6-c4bf54c28c26', vector: [0.1, 0.1, 0.9, 0], payload: {colour: 'blue', nested: {deep: [null, 1.5]}}},
    ]});
    assert.equal(result.status, 'completed');
    const {points} = await client.query(name, {query: [1, 0, 0, 0], limit: 2, with_payload: true});
    assert.deepEqual(points.map((point) => point.id), [1, 2]);
    assert.deepEqual(points[0].payload, {colour: 'red', sizes: [1, 2]});
});

await test('a_filter_limits_what_is_found', async () => {
    await client.createPayloadIndex(name, {field_name: 'colour', field_schema: 'keyword', wait: true});
    const {points} = await client.query(name, {query: [1, 0, 0, 0], filter: {must_not: [{key: 'colour', match: {any: ['red', 'green']}}]},
        with_payload: ['nested'], with_vector: true});
    assert.equal(points.length, 1);
    assert.equal(points[0].id, '5c56c793-69f3-4fbf-87e6-c4bf54c28c26');
    assert.deepEqual(points[0].payload, {nested: {deep: [null, 1.5]}});
    assert.equal(points[0].vector.length, 4);
});

await test('several_queries_go_in_one_request', async () => {
    const answers = await client.queryBatch(name, {searches: [{query: [0, 1, 0, 0], limit: 1}, {query: 1, limit: 5}]});
    assert.deepEqual(answers.map((answer) => answer.points.length), [1, 2]);
    assert.equal(answers[0].points[0].id, 2);
});

await test('scrolling_counting_and_retrieving_agree', async () => {
    assert.equal((await client.count(name, {exact: true})).count, 3);
    const page = await client.scroll(name, {limit: 2});
    assert.deepEqual(page.points.map((point) => point.id), [1, 2]);
    assert.equal(page.next_page_offset, '5c56c793-69f3-4fbf-87e6-c4bf54c28c26');
    assert.equal((await client.retrieve(name, {ids: [2, 3]})).length, 1);
});

await test('payload_is_set_and_points_are_deleted', async () => {
    await client.setPayload(name, {wait: true, payload: {note: 'ä'}, points: [2]});
    assert.deepEqual((await client.retrieve(name, {ids: [2], with_payload: true}))[0].payload, {colour: 'green', note: 'ä'});
    await client.delete(name, {wait: true, filter: {must: [{key: 'note', match: {value: 'ä'}}]}});
    assert.equal((await client.count(name)).count, 2);
});

await test('an_error_tells_status_and_reason', async () => {
    await assert.rejects(client.getCollection('missing'), (error) => error.status === 404 && JSON.stringify(error.data).includes("doesn't exist"));
    await assert.rejects(client.upsert(name, {wait: true, points: [{id: 7, vector: [1]}]}), (error) => error.status === 400);
});

await test('the_collection_is_deleted', async () => {
    assert.equal(await client.deleteCollection(name), true);
    assert.deepEqual((await client.getCollections()).collections, []);
});

process.exit(failed ? 1 : 0);
