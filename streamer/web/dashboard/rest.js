// What REST has cost: budgets, breaker, who spends, and what was read from where.

import { byId, cell, el, setBadge, setText, textRow } from "./dom.js";
import { age, count } from "./format.js";

const TIERS = ["realtime", "cache", "rest", "stale", "none"];
const NEARLY = 0.8;

export function showRest(report) {
  byId("rest").hidden = false;
  byId("rest-note").hidden = true;
  showBreaker(report.breaker);
  byId("budgets").replaceChildren(...Object.entries(report.budgets).map(([name, budget]) => budgetOf(name, budget)));
  const spent = report.spent.map((one) => textRow(["Caller", "Priority", "Calls"], Object.values(one), [2]));
  fill("spent", spent);
  showReads(report);
  const limited = report.errors_429_last_hour;
  const hit = hitRate(report);
  setText(
    byId("limited"),
    `${hit === null ? "" : `${hit} of reads cost no REST call. `}` +
      (limited === 0
        ? "The exchange has not limited us in the last hour."
        : `The exchange has limited us ${count(limited, "time")} in the last hour (429),` +
          ` ${report.errors_429_last_5min} of them in the last 5 minutes.`),
  );
}

/** Return the part of reads that cost no REST call as text, null where there were none. */
export function hitRate(report) {
  const rate = report.hit_rate_last_5min;
  // Rounded down: 100 % is for when there was no miss at all.
  return rate === null ? null : `${rate === 1 ? 100 : Math.floor(rate * 1000) / 10} %`;
}

export function showNoRest(why) {
  byId("rest").hidden = true;
  byId("breaker").hidden = true;
  byId("rest-note").hidden = false;
  setText(byId("rest-note"), `No figures: ${why}.`);
}

function showBreaker({ state, retry_s: retryS, failures_in_a_row: failures }) {
  const badge = byId("breaker");
  badge.hidden = false;
  if (state === "closed") setBadge(badge, "ok", "●", "breaker closed: calls pass");
  else if (state === "open") setBadge(badge, "bad", "✕", `breaker open: no calls for ${retryS} s`);
  else setBadge(badge, "warn", "▲", `breaker ${state}: trying one call`);
  badge.title = `${count(failures, "failure")} in a row`;
}

function budgetOf(name, budget) {
  const blocked = budget.blocked_s > 0 ? `, blocked for ${budget.blocked_s} s by a 429` : "";
  const slowed = budget.rate_factor < 1 ? `, cut to ${Math.round(budget.rate_factor * 100)} % after 429s` : "";
  const state = `${budget.queued === 0 ? "nobody waits" : `${count(budget.queued, "call")} waiting`}${slowed}${blocked}`;
  const windows = budget.windows.map((window, i) => windowOf(name, window, i, budget.windows.length));
  const head = el("h3", {}, `Budget ${name} `, el("span", { class: "note" }, state));
  return el("div", { class: "budget" }, head, ...windows);
}

/** Return a line with a meter for one of the windows that a budget has. */
export function windowOf(budget, window, i, of) {
  // The answer may come to say how long a window is; until then its number has to do.
  const { used, limit, length_s: lengthS } = window;
  const name = lengthS !== undefined ? `in ${lengthS < 120 ? `${lengthS} s` : age(lengthS)}` : of > 1 ? `window ${i + 1}` : "window";
  const part = limit > 0 ? Math.min(1, used / limit) : 1;
  const fill = el("span", { class: "bar-fill" });
  fill.style.width = `${part * 100}%`;
  const attributes = { role: "meter", "aria-valuemin": 0, "aria-valuemax": limit, "aria-valuenow": used };
  const label = `Budget ${budget}, ${name}: ${used} of ${count(limit, "call")} used`;
  const bar = el("span", { class: "bar", ...attributes, "aria-label": label }, fill);
  bar.dataset.tone = part >= 1 ? "bad" : part >= NEARLY ? "warn" : "ok";
  return el("p", { class: "window" }, el("span", {}, name), bar, el("span", { class: "number" }, `${used} of ${limit}`));
}

function showReads(report) {
  const kinds = Object.entries(report.reads_last_5min).sort();
  const tiers = TIERS.filter((tier) => kinds.some(([, reads]) => tier in reads));
  const head = ["Kind", ...tiers.map((tier) => (tier === "none" ? "not served" : tier))];
  const heads = head.map((text, i) =>
    el("th", { role: "columnheader", scope: "col", ...(i && { class: "number" }) }, text),
  );
  byId("reads-head").replaceChildren(...heads);
  const rows = kinds.map(([kind, reads]) =>
    el(
      "tr",
      { role: "row" },
      el("th", { role: "rowheader", scope: "row" }, kind),
      ...tiers.map((tier, i) => cell(head[i + 1], "number", (reads[tier] ?? 0).toLocaleString("en"))),
    ),
  );
  fill("reads", rows);
}

function fill(name, rows) {
  byId(`${name}-rows`).replaceChildren(...rows);
  byId(`${name}-rows`).closest("table").hidden = rows.length === 0;
  byId(`${name}-empty`).hidden = rows.length !== 0;
}
