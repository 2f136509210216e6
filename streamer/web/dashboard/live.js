// Prices as the server pushes them, for as long as the page is open.

const REOPEN_MS = 1500;

/**
 * The event stream, opened again whenever it ends.
 *
 * A new EventSource each time and not the browser's own retry: that gives up for good after an answer such as 503,
 * and it asks for what has changed since, where a page that was away wants the whole, without what was removed.
 */
export class LivePrices {
  constructor({ onSnapshot, onUpdate, onHeard }) {
    this.told = { onSnapshot, onUpdate, onHeard };
    this.isOpen = false;
    this.source = null;
    this.timer = null;
  }

  close() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
    this.isOpen = false;
  }

  open() {
    this.close();
    const source = (this.source = new EventSource("/api/v1/stream"));
    const on = (name, tell) =>
      source.addEventListener(name, (event) => {
        this.told.onHeard();
        tell(JSON.parse(event.data));
      });
    source.addEventListener("open", () => {
      this.isOpen = true;
      this.told.onHeard();
    });
    on("snapshot", this.told.onSnapshot);
    on("update", this.told.onUpdate);
    source.addEventListener("error", () => {
      this.isOpen = false;
      source.close();
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.open(), REOPEN_MS);
    });
  }
}
