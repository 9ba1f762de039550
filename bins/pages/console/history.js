/** What was told in the last minutes, and what can be said of it: rates of counters, quantiles of histograms. */

const KEPT_MAX = 300;
/** Seconds that rates and quantiles of tables are about. */
export const MINUTE_S = 60;

export class History {
  /** @type {any[]} */
  #told = [];

  /** @param {any} told one event */
  add(told) {
    // After a restart counters begin at zero: what was before says nothing about what is.
    const last = this.#told.at(-1);
    if (last && told.up_s < last.up_s) this.#told = [];
    this.#told.push(told);
    if (this.#told.length > KEPT_MAX) this.#told.shift();
  }

  /** @returns {any} the newest event */
  get now() {
    return this.#told.at(-1);
  }

  /** @param {(told: any) => number | null} value @returns {(number | null)[]} oldest first */
  of(value) {
    return this.#told.map(value);
  }

  /** @param {(before: any, after: any) => number | null} value of each second and the one before */
  between(value) {
    return this.#told.slice(1).map((after, index) => value(this.#told[index], after));
  }

  /** The event of `seconds` ago, or the oldest there is. @param {number} seconds */
  before(seconds) {
    return this.#told.find((one) => one.at >= this.now.at - seconds) ?? this.now;
  }
}

/** The sum of a family's series whose labels are as asked. @param {any} told @param {string} family */
export function sum(told, family, labels = {}) {
  let found = 0;
  for (const [of, value] of told.figures[family] ?? []) {
    if (Object.entries(labels).every(([name, wanted]) => of[name] === wanted)) found += value;
  }
  return found;
}

/** How much a counter rose per second. @param {any} before @param {any} after @param {string} family */
export function rate(before, after, family, labels = {}) {
  const seconds = after.at - before.at;
  return seconds > 0 ? (sum(after, family, labels) - sum(before, family, labels)) / seconds : null;
}

/**
 * An upper bound of what the share `q` of the requests took in seconds, by the buckets of a histogram.
 *
 * @param {any} before @param {any} after @param {string} family @param {number} q
 * @param {string | null} method one method, or all
 * @returns {number | null} null: nothing was measured
 */
export function quantile(before, after, family, q, method = null) {
  const counts = new Map();
  for (const [told, sign] of [[after, 1], [before, -1]]) {
    for (const [of, buckets] of told.figures[family] ?? []) {
      if (method !== null && of.method !== method) continue;
      for (const [bound, count] of buckets) {
        const key = bound ?? Infinity;
        counts.set(key, (counts.get(key) ?? 0) + sign * count);
      }
    }
  }
  const bounds = [...counts.keys()].sort((a, b) => a - b);
  const total = counts.get(Infinity) ?? 0;
  if (total <= 0) return null;
  return bounds.find((bound) => counts.get(bound) >= q * total) ?? null;
}
