// The page as a whole: what is asked when, and what follows from the answers.

import { Api, Refusal } from "./api.js";
import { Balances } from "./balances.js";
import { byId, setText } from "./dom.js";
import { Errors } from "./errors.js";
import { Feeds } from "./feeds.js";
import { age } from "./format.js";
import { Headline, showBanner, simulatedText, staleText, summaryOf } from "./headline.js";
import { LivePrices } from "./live.js";
import { Migration } from "./migration.js";
import { Products } from "./products.js";
import { Providers } from "./providers.js";
import { hitRate, showNoRest, showRest } from "./rest.js";
import { Wanted } from "./wanted.js";

const STATUS_MS = 1500;
const SLOW_MS = 5000;
const LOST_MS = 10_000;
const CHECK_MS = 500;
const RECONCILE_MS = 15_000;
const HIDDEN_MS = 60_000;

let heardAt = performance.now(); // any answer counts: prices alone may rest while the server lives
let pushedAt = performance.now();
let statusAt = performance.now();
let isLost = false;
let last = null; // the newest stream status
let verdict = null; // the newest level and codes as one text
let reopenedAt = performance.now();
let differsSince = null;
let hiding = null; // the timer of a hidden tab
let isResting = false;

const api = new Api(() => heard());
const headline = new Headline();
const feeds = new Feeds();
const errors = new Errors(api);
const migration = new Migration(api);
const providers = new Providers(api);
const products = new Products((id) => wanted.remove(id));
const balances = new Balances(api, () => setText(byId("add-answer"), ""));
const wanted = new Wanted(api, products, () => balances.lock({ focus: true }));
const prices = new LivePrices({
  onSnapshot: ({ tickers }) => products.replace(tickers),
  onUpdate: ({ tickers, removed }) => {
    products.leave(removed);
    products.update(tickers);
  },
  onHeard: () => {
    pushedAt = performance.now();
    heard();
  },
});

function heard() {
  heardAt = performance.now();
  if (isLost) check();
}

async function askStatus() {
  try {
    const body = await api.get("/api/v1/ws/stream-status?quiet=true");
    statusAt = performance.now();
    last = body.status;
    errors.nowMs = body.now_ms;
    headline.show(body.level, body.reasons, summaryOf(body.status, body.now_ms));
    feeds.show(body.status, body.now_ms);
    showFigures(body);
    const said = [body.level, ...body.codes].join();
    if (said !== verdict) {
      verdict = said;
      errors.refresh();
    }
  } catch (refusal) {
    if (!(refusal instanceof Refusal)) throw refusal;
    if (refusal.status === 0) return; // `check` says when that has lasted
    statusAt = performance.now();
    last = null;
    headline.show("down", [refusal.whole], "The server answers, but cannot say how the stream stands.");
    feeds.show(null, 0);
    showFigures({ status: null });
  }
  check();
}

function showFigures({ status, now_ms: nowMs }) {
  const alive = (feed) => feed.state === "live" && feed.alive_ms !== null && nowMs - feed.alive_ms <= status.stale_after_ms;
  setText(byId("figure-products"), status ? `${status.products.live} of ${status.products.wanted}` : "–");
  setText(byId("figure-feeds"), status ? `${status.feeds.filter(alive).length} of ${status.feeds.length}` : "–");
  setText(byId("figure-frames"), status ? Math.round(status.frames.per_s).toLocaleString("en") : "–");
  setText(byId("who"), status ? `${status.role} on ${status.host}, pid ${status.pid}, version ${status.version}` : "");
}

async function askCalls() {
  try {
    const report = await api.get("/api/v1/system/calls");
    showRest(report);
    setText(byId("figure-hits"), hitRate(report) ?? "–");
    setText(byId("figure-429s"), String(report.errors_429_last_5min));
  } catch (refusal) {
    if (!(refusal instanceof Refusal)) throw refusal;
    if (refusal.status !== 0) showNoRest(refusal.whole);
  }
}

const askBalances = () => (last === null ? null : balances.refresh(last.portfolio !== null));

/** Judge the line to the server itself, which no answer can tell us about. */
function check() {
  const now = performance.now();
  const silentMs = now - heardAt;
  isLost = silentMs > LOST_MS;
  if (isLost) headline.show("lost", [], "What you see below is what it last said.");
  // Prices may come in while the status does not: then what it last said may not stand there for ever.
  else if (now - statusAt > LOST_MS && headline.level !== "connecting") headline.show("unknown", [], "");
  showBanner(
    "lost",
    isLost ? `The server has not been heard for ${age(silentMs / 1000)}. Trying again; prices below are old.` : "",
  );
  const pricesStopped = !isLost && !isResting && !prices.isOpen && now - pushedAt > LOST_MS;
  const stopped = "The server answers, but its price stream does not: prices below are old. Trying again.";
  showBanner("stale", isLost ? "" : pricesStopped ? stopped : staleText(products.tickers));
  showBanner("simulated", simulatedText(last, products.tickers));
  document.body.dataset.line = isLost ? "lost" : "heard";
  products.isOld = isLost || pricesStopped || isResting || headline.level === "down";
  reconcile(now);
}

/**
 * Begin the stream anew where the table has other products than the server streams, or waits for a price in vain.
 *
 * The stream tells what changes: of what was taken out and put back at once it has no news until the next trade.
 */
function reconcile(now) {
  const isOdd = last !== null && (last.products.wanted < products.ids.length || products.isAwaiting);
  const differs = isOdd && prices.isOpen;
  differsSince = differs ? (differsSince ?? now) : null;
  if (differs && now - differsSince > SLOW_MS && now - reopenedAt > RECONCILE_MS) {
    reopenedAt = now;
    prices.open();
  }
}

/** Ask again and again, each time some while after the last answer; seldom where nobody looks. */
async function repeat(ask, everyMs) {
  for (;;) {
    try {
      await ask();
    } catch (bug) {
      console.error(bug); // one answer of a shape that we do not know must not end all asking
    }
    await new Promise((resolve) => setTimeout(resolve, document.hidden ? everyMs * 4 : everyMs));
  }
}

function rest() {
  isResting = true;
  prices.close();
}

document.addEventListener("visibilitychange", () => {
  clearTimeout(hiding);
  if (document.hidden) {
    // A browser has six lines to a server for all its tabs: those that nobody looks at must not hold them all.
    hiding = setTimeout(rest, HIDDEN_MS);
    return;
  }
  if (isResting) prices.open();
  isResting = false;
  // A tab that slept has heard nothing because it slept: the server has its ten seconds again.
  heardAt = pushedAt = statusAt = performance.now();
  askStatus();
});
prices.open();
repeat(askStatus, STATUS_MS);
repeat(askCalls, SLOW_MS);
repeat(() => errors.refresh(), SLOW_MS);
repeat(() => migration.refresh(), 2 * SLOW_MS);
repeat(() => providers.refresh(), 2 * SLOW_MS);
// Soon at first, for whether there are balances to ask for is known from the first status.
setTimeout(() => repeat(askBalances, SLOW_MS), 400);
setInterval(check, CHECK_MS);
