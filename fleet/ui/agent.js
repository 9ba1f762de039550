/** One agent: what it is, what it was in the last hour, day or week, what it reports. */

import { get, now, withQuery } from "./api.js";
import { alertItem } from "./alerts.js";
import { DAY_MS } from "./agents.js";
import { ask } from "./ask.js";
import { h } from "./dom.js";
import { ago, badge, button, choice, facts, field, items, name, outside } from "./parts.js";
import { STATE_OF, at, graph, inWords, legend, states, strip } from "./timeline.js";
import { bytes, day, millis, number, percent, span } from "./words.js";

/** The plane keeps a sample each few minutes: asking for all of them each few seconds would show nothing new. */
const HISTORY_FRESH_MS = 60000;
const ALERTS_MAX = 200;
/** @type {Record<string, {ms: number, history: string, text: string}>} what the plane is asked for, how it is said */
const WINDOWS = {
  "1h": { ms: DAY_MS / 24, history: "24h", text: "1 hour" },
  "24h": { ms: DAY_MS, history: "24h", text: "24 hours" },
  "7d": { ms: 7 * DAY_MS, history: "7d", text: "7 days" },
};
/** So long is shown of an agent that was not there yet when the time began. */
const YOUNG_MS = 10 * 60000;

/** The samples and alerts that were asked for last. @type {any} */
let kept = { of: "", changedAt: "", readAt: 0 };

/** @param {AbortSignal} signal @param {string} history @param {any} told */
async function readPast(signal, history, told) {
  const { agent_id: id, status_changed_at: changedAt } = told.agent;
  const found = await get(
    withQuery("/management/v1/alerts", {
      subject_type: "agent",
      subject_id: id,
      status: "all",
      limit: ALERTS_MAX,
      since: new Date(now() - 2 * (WINDOWS[history]?.ms ?? DAY_MS)).toISOString(),
    }),
    signal,
  );
  kept = {
    of: id + history,
    changedAt,
    readAt: Date.now(),
    history: told.history,
    alerts: found.alerts,
    complete: !found.next_cursor,
  };
}

export const agentPage = {
  title: "Agent",
  /** @param {AbortSignal} signal @param {any} query @param {string} id */
  async load(signal, query, id) {
    const window = Object.hasOwn(WINDOWS, query.history) ? query.history : "24h";
    const { history } = /** @type {{history: string}} */ (WINDOWS[window]);
    const path = `/management/v1/agents/${encodeURIComponent(id)}`;
    let fresh = kept.of === id + history && Date.now() - kept.readAt < HISTORY_FRESH_MS;
    let told = await get(withQuery(path, { history: fresh ? "none" : history }), signal);
    if (fresh && kept.changedAt !== told.agent.status_changed_at) {
      fresh = false;
      told = await get(withQuery(path, { history }), signal);
    }
    if (!fresh) await readPast(signal, history, told);
    return { ...told, ...kept, open: told.alerts, past: kept.alerts, window, to: now() };
  },
  /** @param {any} told @param {any} doing */
  view(told, doing) {
    const { agent, open, to, window } = told;
    const { ms, text } = /** @type {{ms: number, text: string}} */ (WINDOWS[window]);
    const from = Math.max(to - ms, Math.min(at(agent.created_at), to - YOUNG_MS));
    const found = states(
      agent,
      told.past.filter((/** @type {any} */ one) => one.kind in STATE_OF),
      from,
      to,
      told.complete,
    );
    const away = (/** @type {any} */ one) => one?.state === "stale" || one?.state === "inactive";
    const breaks = found.filter(away).reverse();
    const times = found.filter((one, index) => away(one) && !away(found[index - 1])).length;
    const picked = (/** @type {any} */ event) =>
      doing.filter({ history: event.target.value === "24h" ? null : event.target.value });
    return [
      h("h1", null, name(agent.name), " ", badge(agent.status)),
      h("p", null, h("a", { href: "#/agents" }, "All agents")),
      doing.may("operator") && agent.status !== "retired" && actions(agent, doing),
      h(
        "section",
        { key: "states" },
        h(
          "div",
          { class: "row spread" },
          h("h2", null, "States"),
          choice(
            "Time",
            { value: window, onchange: picked },
            Object.entries(WINDOWS).map(([key, one]) => [key, one.text]),
          ),
        ),
        strip(found, from, to, `States, last ${text}`),
        h(
          "p",
          { class: "row spread quiet" },
          h("span", null, day(from)),
          h("span", null, inWords(found)),
          h("span", null, "now"),
        ),
        legend(),
        breaks.length > 0 &&
          h(
            "details",
            { key: "breaks" },
            h("summary", null, `Not active ${times === 1 ? "once" : `${times} times`}`),
            h(
              "ul",
              { class: "plain" },
              breaks.map((one) =>
                h(
                  "li",
                  { key: one.state + one.from },
                  `${one.state} from ${day(one.from)}, for ${span((one.to - one.from) / 1000)}`,
                ),
              ),
            ),
          ),
      ),
      h(
        "section",
        { key: "alerts" },
        h("h2", null, "Open alerts"),
        items(open, (one) => alertItem(one, doing), "none"),
      ),
      h("section", { key: "graphs" }, h("h2", null, "Reported"), graphs(told, from, to)),
      h("section", { key: "about" }, h("h2", null, "About"), about(agent)),
    ];
  },
};

/** @param {any} told @param {number} from @param {number} to */
function graphs({ history }, from, to) {
  const samples = history.filter((/** @type {any} */ one) => at(one.received_at) >= from);
  const times = samples.map((/** @type {any} */ one) => at(one.received_at));
  const line = (/** @type {string} */ key, text = key) => ({
    name: text,
    values: samples.map((/** @type {any} */ one) => one.report[key] ?? null),
  });
  const graphs = [
    graph("Connections", [line("connections", "clients"), line("peers", "servers")], times, from, to, number),
    graph(
      "Requests a minute",
      [line("pushes_per_minute", "pushes"), line("pulls_per_minute", "pulls")],
      times,
      from,
      to,
      number,
    ),
    graph("Errors a minute", [line("errors_per_minute", "errors")], times, from, to, number),
    graph("Push, 99 %", [line("push_p99_ms", "push")], times, from, to, millis),
    graph("Processor", [line("cpu_ratio", "in use")], times, from, to, percent),
    graph("Memory", [line("memory_used_bytes", "used")], times, from, to, bytes),
    graph("Disk free", [line("disk_free_ratio", "free")], times, from, to, percent),
    graph("Stored", [line("storage_bytes", "records"), line("file_bytes", "files")], times, from, to, bytes),
  ].filter(Boolean);
  return graphs.length
    ? h("div", { class: "grid" }, graphs)
    : h("p", { class: "none" }, "Nothing was reported in this time.");
}

/** @param {any} agent */
function about(agent) {
  const report = agent.report ?? {};
  const text = (/** @type {any} */ value) =>
    value === null || value === undefined || value === "" ? "–" : name(String(value));
  const yes = (/** @type {any} */ value) => (typeof value === "boolean" ? (value ? "yes" : "no") : "–");
  return facts([
    ["Heard of", ago(agent.last_heartbeat_at)],
    ["Up for", span(agent.uptime_seconds)],
    ["Kind", text(agent.kind)],
    ["Version", text(agent.version)],
    ["System", `${agent.os} ${agent.arch}`],
    ["Host", text(agent.hostname)],
    ["Address", agent.public_url ? outside(agent.public_url) : "–"],
    ["Region", text(agent.region)],
    ["Wanted", text(agent.desired_state)],
    ["Draining", yes(report.draining)],
    [
      "Database",
      text(
        [report.database_kind, report.database_ok === false && "not answering"].filter(Boolean).join(", "),
      ),
    ],
    ["Database id", text(report.database_id)],
    ["Migration", text(report.migration)],
    ["Spaces", number(report.spaces)],
    ["Records", number(report.records)],
    ["Files", number(report.files)],
    ["Memory", `${bytes(report.memory_used_bytes)} of ${bytes(report.memory_total_bytes)}`],
    ["Disk", `${bytes(report.disk_used_bytes)} of ${bytes(report.disk_total_bytes)}`],
    [
      "Last backup",
      typeof report.backup_age_seconds === "number" ? `${span(report.backup_age_seconds)} before that` : "–",
    ],
    ["Features", text((report.features ?? []).join(", "))],
    ...Object.entries(agent.labels ?? {}).map(
      ([key, value]) => /** @type {[string, any]} */ ([`Label ${key}`, text(value)]),
    ),
    ["Reports every", span(agent.heartbeat_interval_seconds)],
    ["Since", ago(agent.created_at)],
    ["Agent id", h("code", null, agent.agent_id)],
  ]);
}

/** @param {any} agent @param {any} doing */
function actions(agent, doing) {
  const path = `/management/v1/agents/${agent.agent_id}`;
  const drains = agent.desired_state === "draining";
  return h(
    "div",
    { class: "row", key: "actions" },
    button("Rename", () =>
      ask({
        title: "Rename the agent",
        fields: field("Name", {
          name: "name",
          required: true,
          maxlength: 128,
          value: agent.name,
          autocomplete: "off",
        }),
        confirm: "Rename",
        act: async (given) => {
          await doing.change("PATCH", path, { name: String(given.get("name")) });
          doing.done("The agent has its new name.");
        },
      }),
    ),
    drains
      ? button("Let it serve again", () =>
          doing.act("The server is told with its next heartbeat to serve again.", "PATCH", path, {
            desired_state: "serving",
          }),
        )
      : button("Drain", () =>
          ask({
            title: "Drain the server",
            text: h(
              "p",
              null,
              "It closes its clients' connections, and takes no new ones until it is told to serve again.",
            ),
            confirm: "Drain",
            act: async () => {
              await doing.change("PATCH", path, { desired_state: "draining" });
              doing.done("The server is told with its next heartbeat to drain.");
            },
          }),
        ),
    button("Renew its token", () =>
      doing.act(
        "The agent is told with its next heartbeat to fetch a new token.",
        "POST",
        `${path}/rotate-token`,
      ),
    ),
    button(
      "Retire",
      () =>
        ask({
          title: "Retire the agent",
          text: h(
            "p",
            null,
            "Its token is void at once, and its reporter stops for good. The server goes on serving.",
          ),
          name: agent.name,
          confirm: "Retire",
          act: async () => {
            await doing.change("DELETE", path);
            doing.done("The agent is retired.");
          },
        }),
      { class: "danger" },
    ),
  );
}
