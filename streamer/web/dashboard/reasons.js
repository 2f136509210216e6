// The server's reasons, fit for a glance: one line for what several feeds have in common.

const OF_FEED = /^feed (\S+) (.*)$/;
const NUMBERS = /[\d.,]+/g; // seconds, ports and counts differ from feed to feed, and with each answer

/** Return reasons as sentences; those that differ only in the feed they name become one. */
export function sentences(reasons) {
  const groups = new Map();
  for (const reason of reasons) {
    const [, feed, rest] = OF_FEED.exec(reason) ?? [null, null, reason];
    const key = feed === null ? reason : rest.replace(NUMBERS, "#");
    const group = groups.get(key) ?? { feeds: [], rest };
    if (feed !== null) group.feeds.push(feed);
    groups.set(key, group);
  }
  return [...groups.values()].map(({ feeds, rest }) => {
    if (feeds.length === 0) return rest.charAt(0).toUpperCase() + rest.slice(1);
    const others = feeds.length > 1 ? ` (and ${feeds.slice(1).join(", ")})` : "";
    return `Feed ${feeds[0]}${others} ${rest}`;
  });
}

/** Return what makes a text news: a reason whose seconds count on is the same reason. */
export const essence = (text) => text.replace(NUMBERS, "#");
