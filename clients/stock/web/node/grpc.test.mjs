// grpc-web with the stock client in Node's fetch.

import { after, before } from "node:test";

import { Gateway } from "../../../../tests/common/gateway.mjs";
import * as flows from "../grpc/flows.js";
import { suite } from "../grpc/suite.mjs";

let gateway;

before(async () => {
  gateway = await Gateway.start();
});

after(() => gateway?.close());

suite((name) => flows[name](gateway.url));
