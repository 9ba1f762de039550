/** The fleet: a page of agents, each with its states of the last day. */

import { get, now, withQuery } from "./api.js";
import { h } from "./dom.js";
import { SUMS } from "./overview.js";
import { ago, badge, field, filters, name, pager } from "./parts.js";
import { STATE_OF, legend, states, strip } from "./timeline.js";
import { counted, number } from "./words.js";

export const DAY_MS = 24 * 3600 * 1000;
/** An agent that came back in this day may have gone some days before. */
const LOOK_BACK_MS = 7 * DAY_MS;
const TYPED_MS = 300;
const PAST_FRESH_MS = 60000;
/** 200 alerts each. When there are more, what agents were before they last changed is shown as unknown. */
const PAST_PAGES_MAX = 5;

/**
 * When agents were stale or inactive: by the alerts of all, so that it costs the same however many are shown.
 *
 * @type {{ readAt: number, changed: string, alerts: Map<string, any[]>, complete: boolean }}
 */
let past = { readAt: 0, changed: "", alerts: new Map(), complete: true };

/** @param {AbortSignal} signal @param {any[]} agents */
async function readPast(signal, agents) {
  // What agents are now stands in their rows: the past is another only when one of them has changed.
  const changed = agents.map((one) => one.agent_id + one.status_changed_at).join();
  if (changed === past.changed && Date.now() - past.readAt < PAST_FRESH_MS) return;
  const since = new Date(now() - LOOK_BACK_MS).toISOString();
  const alerts = new Map();
  let complete = true;
  const read = await Promise.all(
    Object.keys(STATE_OF).map((kind) => readAlerts(signal, { kind, status: "all", since, limit: 200 })),
  );
  for (const { found, more } of read) {
    for (const one of found) alerts.set(one.subject_id, [...(alerts.get(one.subject_id) ?? []), one]);
    if (more) complete = false;
  }
  past = { readAt: Date.now(), changed, alerts, complete };
}

/** @param {AbortSignal} signal @param {any} query @returns {Promise<{found: any[], more: boolean}>} newest first */
async function readAlerts(signal, query) {
  const found = [];
  let cursor = null;
  for (let page = 0; page < PAST_PAGES_MAX; page++) {
    const told = await get(withQuery("/management/v1/alerts", { ...query, cursor }), signal);
    found.push(...told.alerts);
    cursor = told.next_cursor;
    if (!cursor) break;
  }
  return { found, more: cursor !== null };
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let typing;

/** @param {any} one @param {number} at when it was told of */
function row(one, at) {
  const found = states(one, past.alerts.get(one.agent_id) ?? [], at - DAY_MS, at, past.complete);
  return h(
    "li",
    { key: one.agent_id, class: "agent" },
    h(
      "div",
      { class: "who" },
      h("a", { href: `#/agents/${one.agent_id}` }, name(one.name)),
      " ",
      badge(one.status),
      one.desired_state === "draining" && [" ", badge("draining")],
    ),
    h(
      "div",
      { class: "quiet" },
      [one.kind, one.version, one.region].filter(Boolean).join(" · "),
      one.hostname && [" · ", name(one.hostname)],
    ),
    h(
      "div",
      { class: "quiet seen" },
      one.status === "retired"
        ? ["retired ", ago(one.retired_at)]
        : ["heard of ", ago(one.last_heartbeat_at)],
      typeof one.report?.connections === "number" && ` · ${counted(one.report.connections, "connection")}`,
    ),
    strip(found, at - DAY_MS, at, `${one.name}, last 24 h`),
  );
}

export const agentsPage = {
  title: "Agents",
  /** @param {AbortSignal} signal @param {any} query */
  async load(signal, query) {
    const list = await get(withQuery("/management/v1/agents", query), signal);
    const [stats] = await Promise.all([
      get("/management/v1/fleet/stats", signal),
      readPast(signal, list.agents),
    ]);
    return { ...list, stats, at: now() };
  },
  /** @param {any} told @param {any} doing */
  view({ agents, next_cursor, stats, at }, doing) {
    const { query } = doing;
    const typed = (/** @type {any} */ event) => {
      clearTimeout(typing);
      typing = setTimeout(
        () => location.hash.startsWith("#/agents") && doing.filter({ q: event.target.value }, true),
        TYPED_MS,
      );
    };
    const known = (/** @type {Record<string, number>} */ counts) =>
      Object.keys(counts)
        .filter((one) => !SUMS.has(one))
        .sort();
    const status = (/** @type {string} */ one) =>
      /** @type {[string, string]} */ ([one, `${one} (${number(stats.by_status[one] ?? 0)})`]);
    const search = {
      type: "search",
      value: query.q ?? "",
      maxlength: 128,
      oninput: typed,
      autocomplete: "off",
      spellcheck: "false",
    };
    const none = Object.keys(query).length
      ? "No agent is like this."
      : [
          "No server reports yet. ",
          h("code", null, "less-sync fleet enrol"),
          " prints the line to paste on one.",
        ];
    return [
      h("h1", null, "Agents"),
      filters(
        doing,
        [
          [
            "Status",
            "status",
            [["", "all but retired"], ...["active", "stale", "inactive", "retired"].map(status)],
          ],
          ["Kind", "kind", [["", "all"], "sync", "volume"]],
          ["Version", "version", [["", "all"], ...known(stats.by_version)]],
          ["Region", "region", [["", "all"], ...known(stats.by_region)]],
        ],
        field("Name or host begins with", search),
      ),
      agents.length > 0 && legend(),
      agents.length
        ? h(
            "ul",
            { class: "agents" },
            agents.map((/** @type {any} */ one) => row(one, at)),
          )
        : h("p", { class: "none" }, none),
      pager("/agents", query, next_cursor),
    ];
  },
};
