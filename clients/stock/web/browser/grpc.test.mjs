// grpc-web with the stock client in a page of another origin.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Gateway } from "../../../../tests/common/gateway.mjs";
import { suite } from "../grpc/suite.mjs";
import { launch, Site } from "./support.mjs";

let browser;
let site;
let stranger;
let gateway;
let page;

before(async () => {
  [site, stranger, browser] = [await Site.start(), await Site.start(), await launch()];
  gateway = await Gateway.start(`[cors]\norigins = ["${site.origin}"]\n`);
  page = await pageOf(site);
});

after(async () => {
  await browser?.close();
  await gateway?.close();
  site?.close();
  stranger?.close();
});

async function pageOf(site) {
  const page = await browser.newPage();
  await page.goto(`${site.origin}/empty.html`);
  return page;
}

/** Runs a flow in a page. */
const run = (name, on = page) =>
  on.evaluate(async ([name, url]) => (await import("/grpc/flows.js"))[name](url), [name, gateway.url]);

suite(run);

test("a page of a stranger cannot call", async () => {
  const page = await pageOf(stranger);
  await assert.rejects(run("models", page), /Failed to fetch/);
  await assert.rejects(run("unary", page), /Failed to fetch/);
  await page.close();
});
