// A small line of the last prices, drawn without axes: it shows the way, the table has the figures.

const NS = "http://www.w3.org/2000/svg";
const WIDTH = 120;
const HEIGHT = 28;
const STEP_MS = 1000;
const STEPS = 120; // the longest the line reaches back
const FEWEST = 15;

export class Spark {
  constructor() {
    this.points = []; // {at, price, isFirst}: at most one for each second, the newest of it
    this.isCut = true;
    this.svg = document.createElementNS(NS, "svg");
    this.svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    this.svg.setAttribute("preserveAspectRatio", "none");
    this.svg.setAttribute("class", "spark");
    this.svg.setAttribute("aria-hidden", "true"); // price and change stand beside it as text
    this.line = document.createElementNS(NS, "path");
    this.svg.append(this.line);
  }

  add(price, atMs) {
    const at = Math.floor(atMs / STEP_MS);
    const last = this.points.at(-1);
    if (last?.at === at && !this.isCut) last.price = price;
    else this.points.push({ at, price, isFirst: this.isCut });
    this.isCut = false;
    if (this.points.length > STEPS) this.points.shift();
  }

  /** End the line here: what comes next does not follow from it, and no line may be drawn over what is not known. */
  cut() {
    this.isCut = true;
  }

  draw(nowMs) {
    const now = Math.floor(nowMs / STEP_MS);
    // Time moves the line on also where no price comes: a frozen price must not look like a fresh one.
    while (this.points.length > 1 && this.points[1].at <= now - STEPS) this.points.shift();
    if (this.points.length === 0) return;
    const prices = this.points.map((point) => point.price);
    const low = Math.min(...prices);
    const span = Math.max(...prices) - low;
    // As wide as there is anything to show, so that a page just opened shows more than a dot.
    const steps = Math.max(FEWEST, Math.min(STEPS, now - this.points[0].at));
    const x = (at) => Math.max(0, WIDTH - ((now - at) / steps) * WIDTH).toFixed(1);
    const y = (price) => (span === 0 ? HEIGHT / 2 : HEIGHT - 3 - ((price - low) / span) * (HEIGHT - 6)).toFixed(1);
    let path = "";
    this.points.forEach((point, i) => {
      const before = this.points[i - 1];
      const isStart = i === 0 || point.isFirst;
      // A price holds until the next one: a quiet minute is level, and no slope.
      if (!isStart && point.at - before.at > 1) path += `H${x(point.at - 1)}`;
      path += `${isStart ? "M" : "L"}${x(point.at)},${y(point.price)}`;
    });
    if (!this.isCut) path += `H${WIDTH}`;
    this.line.setAttribute("d", path);
    this.svg.dataset.way = prices.at(-1) >= prices[0] ? "up" : "down";
  }
}
