// The rules by which a client follows a response, without a gateway.

import assert from "node:assert/strict";
import { test } from "node:test";

import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";

import { Client, Refused } from "../dist/index.js";
import { ErrorInfoSchema, RetryInfoSchema } from "../dist/gen/google/rpc/error_details_pb.js";
import { ResumeResponseSchema } from "../dist/gen/tidemark/v1/responses_pb.js";
import { failureOf, lost, OffsetLost, Position, settingsOf, Tries, Unreachable } from "../dist/rules.js";

const message = (seqs, gap, type = "x") =>
  create(ResumeResponseSchema, {
    events: seqs.map((seq) => ({ seq: BigInt(seq), type, data: new TextEncoder().encode("{}") })),
    ...(gap ? { gap: { from: BigInt(gap[0]), to: BigInt(gap[1]) } } : {}),
  });

function failed(code, reason, { wait, domain = "tidemark", metadata = {} } = {}) {
  const details = [];
  if (reason) details.push({ desc: ErrorInfoSchema, value: { reason, domain, metadata } });
  if (wait !== undefined) details.push({ desc: RetryInfoSchema, value: { retryDelay: { seconds: BigInt(wait), nanos: 0 } } });
  return new ConnectError("text", code, undefined, details);
}

test("nothing is handed out twice and a gap moves the position", () => {
  const position = new Position(3);
  assert.deepEqual([...position.take(message([2, 3, 4, 4]))].map(({ seq }) => seq), [4]);
  assert.deepEqual([...position.take(message([], [5, 8]))].map(({ from, to }) => [from, to]), [[5, 8]]);
  assert.deepEqual([...position.take(message([8], [5, 8]))], []);
  assert.deepEqual([position.after, position.ended], [8, false]);
  assert.equal([...position.take(message([9], undefined, "response.failed"))].length, 1);
  assert.equal(position.ended, true);
});

test("the position moves with each item and not with the message", () => {
  const position = new Position(undefined);
  const items = position.take(message([0, 1, 2]));
  assert.equal(position.after, undefined);
  items.next();
  assert.equal(position.after, 0);
});

test("delays double up to their bound and begin anew after a sign of life", () => {
  const tries = new Tries(settingsOf({}));
  for (const longest of [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]) {
    const delay = tries.failed(lost("gone"));
    assert.ok(longest / 2 <= delay && delay <= longest, `${delay} for ${longest}`);
  }
  tries.heard();
  assert.ok(tries.failed(lost("gone")) <= 200);
});

test("the gateway may ask for more time and patience ends", () => {
  const later = { ...lost("later"), waitMs: 30_000 };
  assert.equal(new Tries(settingsOf({})).failed(later), 30_000);
  assert.throws(() => new Tries(settingsOf({ patienceMs: 15_000 })).failed(later), Unreachable);
});

test("what no gateway has said is a lost connection", () => {
  for (const code of [Code.Unavailable, Code.Unknown, Code.Internal, Code.Canceled]) {
    for (const error of [failed(code), failed(code, "draining", { domain: "another" }), new TypeError("Failed to fetch")]) {
      const { again, error: found } = failureOf(error);
      assert.deepEqual([again, found.code], [true, "unreachable"]);
    }
  }
  assert.equal(failureOf(new ConnectError("protocol error: incomplete envelope", Code.InvalidArgument)).again, true);
});

test("a no of something in front of the gateway is final", () => {
  const names = ["permission_denied", "unauthenticated", "unimplemented", "resource_exhausted", "invalid_argument"];
  for (const [index, code] of [Code.PermissionDenied, Code.Unauthenticated, Code.Unimplemented, Code.ResourceExhausted, Code.InvalidArgument].entries()) {
    const { again, error } = failureOf(failed(code));
    assert.deepEqual([again, error instanceof Refused, error.code], [false, true, names[index]]);
  }
});

test("the gateway says what is worth another try", () => {
  const later = failureOf(failed(Code.ResourceExhausted, "rate_limited", { wait: 2 }));
  assert.deepEqual([later.again, later.waitMs, later.error.code], [true, 2000, "rate_limited"]);
  const never = failureOf(failed(Code.Unavailable, "backend_unreachable"));
  assert.deepEqual([never.again, never.error.code], [false, "backend_unreachable"]);
});

test("a lost position says from where reading goes on", () => {
  const metadata = { earliest: "5", committed: "9", watermark: "4", reason: "rolled_back" };
  const { error } = failureOf(failed(Code.OutOfRange, "offset_lost", { metadata }));
  assert.ok(error instanceof OffsetLost && error instanceof Refused);
  assert.deepEqual([error.name, error.earliest, error.committed, error.watermark, error.rolledBack], ["OffsetLost", 5, 9, 4, true]);
});

test("settings and addresses that are none are refused", () => {
  for (const wrong of [0, -1, Number.NaN]) assert.throws(() => new Client({ url: "http://127.0.0.1:4700", idleTimeoutMs: wrong }), /idleTimeoutMs/);
  for (const url of ["", "127.0.0.1"]) assert.throws(() => new Client({ url }), TypeError);
});
