/** How the fleet is, at a glance. */

import { get } from "./api.js";
import { alertItem } from "./alerts.js";
import { h } from "./dom.js";
import { facts, items, to } from "./parts.js";
import { bytes, number } from "./words.js";

/** What the plane tells of those without a value, and of all that are not among the largest. */
export const SUMS = new Set(["unknown", "other"]);

/**
 * How many there are of each.
 *
 * @param {string} title @param {Record<string, number>} counts
 * @param {((value: string) => string) | null} address of the agents of one
 */
function distribution(title, counts, address) {
  const rows = Object.entries(counts).sort(([, a], [, b]) => b - a);
  const most = Math.max(1, ...rows.map(([, count]) => count));
  return h(
    "section",
    { key: title },
    h("h2", null, title),
    !rows.length && h("p", { class: "none" }, "none"),
    h(
      "ul",
      { class: "bars" },
      rows.map(([value, count]) =>
        h(
          "li",
          { key: value },
          h(
            "span",
            { class: "name" },
            address && !SUMS.has(value)
              ? h("a", { href: address(value) }, h("bdi", null, value))
              : h("bdi", null, value),
          ),
          h(
            "svg",
            { viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" },
            h("rect", { width: ((count / most) * 100).toFixed(1), height: 8 }),
          ),
          h("span", null, number(count)),
        ),
      ),
    ),
  );
}

export const overviewPage = {
  title: "Overview",
  /** @param {AbortSignal} signal */
  async load(signal) {
    const [stats, alerts] = await Promise.all([
      get("/management/v1/fleet/stats", signal),
      get("/management/v1/alerts?limit=5", signal),
    ]);
    return { stats, alerts: alerts.alerts };
  },
  /** @param {any} told @param {any} doing */
  view({ stats, alerts }, doing) {
    const { by_status: by, totals } = stats;
    const state = (/** @type {string} */ status) =>
      h(
        "a",
        { key: status, class: `tile is-${status}`, href: to("/agents", { status }) },
        h("strong", null, number(by[status] ?? 0)),
        ` ${status}`,
      );
    const live = (by.active ?? 0) + (by.stale ?? 0) + (by.inactive ?? 0);
    return [
      h("h1", null, "Overview"),
      h("div", { class: "tiles" }, ["active", "stale", "inactive"].map(state)),
      live === 0 &&
        h(
          "section",
          { key: "empty" },
          h("h2", null, "No server reports yet"),
          h(
            "p",
            null,
            "Make a token on the plane's machine, and paste the line that is printed on a server:",
          ),
          h("pre", { tabindex: "0" }, "less-sync fleet enrol"),
        ),
      h(
        "section",
        { key: "totals" },
        h("h2", null, "Active servers together"),
        facts([
          ["connections", number(totals.connections)],
          ["spaces", number(totals.spaces)],
          ["records", number(totals.records)],
          ["stored", bytes(totals.storage_bytes)],
        ]),
      ),
      h(
        "section",
        { key: "alerts" },
        h("h2", null, "Newest alerts"),
        items(alerts, (one) => alertItem(one, doing), "Nothing needs you."),
        alerts.length > 0 && h("p", null, h("a", { href: "#/alerts" }, "All alerts")),
      ),
      h(
        "div",
        { class: "grid", key: "distributions" },
        distribution("Versions", stats.by_version, (version) => to("/agents", { version })),
        distribution("Kinds", stats.by_kind, (kind) => to("/agents", { kind })),
        distribution("Regions", stats.by_region, (region) => to("/agents", { region })),
        distribution("Systems", stats.by_os, null),
      ),
    ];
  },
};
