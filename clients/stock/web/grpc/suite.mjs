// What the flows over grpc-web must give, wherever they run.

import assert from "node:assert/strict";
import { test } from "node:test";

const range = (first, last) => Array.from({ length: last - first + 1 }, (_, index) => first + index);

/** Registers the tests. `run` runs the flow of a name and gives its result. */
export function suite(run) {
  test("a unary call returns the answer", async () => {
    const { status, text, headers } = await run("unary");
    assert.deepEqual([status, text], ["COMPLETED", "one two"]);
    assert.match(headers["x-request-id"], /./);
  });

  test("a stream brings every event", async () => {
    const { ids, numbers, last } = await run("stream");
    assert.match(ids[0], /^resp_/);
    assert.ok(ids.slice(1).every((id) => id === ""));
    assert.deepEqual(numbers, range(0, 27));
    assert.equal(last, "response.completed");
  });

  test("a stream that was dropped goes on", async () => {
    const { head, tail, last } = await run("resume");
    assert.deepEqual([...head, ...tail], range(0, 68));
    assert.equal(last, "response.completed");
  });

  test("a reader that leaves does not stop the response, a cancel does", async () => {
    const { left, during, cancelled, last } = await run("cancellation");
    assert.equal(left.code, "Canceled");
    assert.deepEqual([during, cancelled, last], ["IN_PROGRESS", "CANCELLED", "response.incomplete"]);
  });

  test("a deadline ends the call", async () => {
    assert.equal((await run("deadline")).code, "DeadlineExceeded");
  });

  test("errors bring their details", async () => {
    const { field, unknown, stream, owner, choice, service } = await run("refusals");
    assert.deepEqual([field.code, field.reason, field.domain], ["InvalidArgument", "invalid_request", "tidemark"]);
    assert.deepEqual([field.metadata.param, field.fields], ["model", ["model"]]);
    for (const refused of [unknown, stream]) assert.deepEqual([refused.code, refused.reason], ["NotFound", "not_found"]);
    assert.equal(unknown.message, stream.message);
    assert.deepEqual([owner.code, owner.fields], ["InvalidArgument", ["x-tidemark-owner"]]);
    assert.deepEqual([choice.code, choice.fields], ["InvalidArgument", ["on_gap"]]);
    assert.deepEqual([service.code, service.reason], ["Unimplemented", "method_not_allowed"]);
  });

  test("models are listed", async () => {
    assert.deepEqual(await run("models"), ["demo", "demo-long"]);
  });

  test("a response is listed until it is removed", async () => {
    const { id, listed, nextPageToken, deleted, gone } = await run("removal");
    assert.deepEqual([listed, nextPageToken, deleted], [[id], "", id]);
    assert.deepEqual([gone.code, gone.reason], ["NotFound", "not_found"]);
  });
}
