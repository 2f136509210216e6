// Reads prices that streamer writes, with nothing of streamer's: the keys are a contract.
//
//   npm ci && REDIS_URL=redis://127.0.0.1:6379 node read.mjs BTC-USD ETH-USD [--changes 5]
//
// Prints one JSON object a line: each product as it stands, then as many changes as were asked for.

import { decode } from "@msgpack/msgpack";
import { createClient } from "redis";

const STALE_AFTER_MS = 5000;

/** Return whether a ticker is live, by the rule of the contract: the clock of Redis decides. */
export function isLive(ticker, feeds, nowMs) {
  const feed = JSON.parse(feeds[ticker.feed] ?? "null");
  return (
    feed !== null &&
    feed.state === "live" &&
    String(feed.connection) === ticker.connection &&
    String(feed.epoch) === ticker.epoch &&
    nowMs - feed.alive_ms <= STALE_AFTER_MS &&
    ticker.suspect === undefined
  );
}

/** Return a product as it stands: from its hash, else from its stale shadow. */
async function read(client, productId) {
  const [ticker, shadow, feeds, time] = await Promise.all([
    client.hGetAll(`ticker_realtime:${productId}`),
    client.hGetAll(`ticker_realtime:${productId}:stale`),
    client.hGetAll("stream:feeds"),
    client.sendCommand(["TIME"]),
  ]);
  const nowMs = Number(time[0]) * 1000 + Math.floor(Number(time[1]) / 1000);
  if (ticker.price !== undefined && isLive(ticker, feeds, nowMs)) {
    return { product_id: productId, price: ticker.price, tier: "realtime", source: ticker.source };
  }
  const old = ticker.price === undefined ? shadow : ticker;
  if (old.price === undefined) return { product_id: productId, price: null, tier: null };
  return { product_id: productId, price: old.price, tier: "stale", source: old.source, time: old.time };
}

/** Print so many changes of products as they are published. */
async function follow(client, productIds, changes) {
  const subscriber = client.duplicate();
  await subscriber.connect();
  await new Promise((done) => {
    let left = changes;
    const heard = (message) => {
      for (const record of decode(message)) {
        if (left > 0 && productIds.includes(record.product_id)) {
          console.log(JSON.stringify({ change: record.product_id, price: record.price, time: record.time }));
          left -= 1;
        }
      }
      if (left <= 0) done();
    };
    subscriber.subscribe("stream:updates:ticker", heard, true);
  });
  await subscriber.close();
}

const words = process.argv.slice(2);
const at = words.indexOf("--changes");
const changes = at >= 0 ? Number(words.splice(at, 2)[1]) : 0;
const client = createClient({ url: process.env.REDIS_URL ?? "redis://127.0.0.1:6379" });
await client.connect();
for (const productId of words) console.log(JSON.stringify(await read(client, productId)));
if (changes > 0) await follow(client, words, changes);
await client.close();
