/** The console: shows each event of the server, and sends what the operator asks for. */

import { follow } from "./events.js";
import { graph } from "./graph.js";
import { History, MINUTE_S, quantile, rate, sum } from "./history.js";

/** @param {string} id @returns {any} */
const at = (id) => document.getElementById(id);

const NUMBER = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const RPC = "less_sync_rpc";
const SECONDS = "less_sync_rpc_seconds";
const LAG = "less_sync_delivery_lag_seconds";

/** @param {number | null} value */
const number = (value) => (value === null ? "–" : NUMBER.format(value));
/** @param {number | null} value */
const perSecond = (value) => (value === null ? "–" : `${number(value)}/s`);
/** @param {number | null} seconds */
const time = (seconds) => {
  if (seconds === null) return "–";
  if (!isFinite(seconds)) return "over 30 s";
  return seconds < 1 ? `${number(seconds * 1000)} ms` : `${number(seconds)} s`;
};
/** @param {number} value */
const bytes = (value) => {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const unit = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log2(value || 1) / 10)));
  return `${number(value / 1024 ** unit)} ${units[unit]}`;
};
/** @param {number} seconds */
const span = (seconds) => {
  const minutes = Math.floor(seconds / 60);
  if (minutes < 1) return `${Math.floor(seconds)} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 1) return `${minutes} min`;
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} days`;
};

const history = new History();
/** The token lives in this page alone: a reload asks again. */
let token = "";
let chosen = false;

/**
 * One child for each row. Children stay, and are touched only where they change: what somebody has selected to
 * copy stays selected, and a screen reader stays where it is.
 *
 * @template Row
 * @param {Element} parent @param {string} tag @param {Row[]} rows @param {(child: any, row: Row) => void} fill
 */
function children(parent, tag, rows, fill) {
  while (parent.children.length > rows.length) parent.lastElementChild?.remove();
  while (parent.children.length < rows.length) parent.append(document.createElement(tag));
  rows.forEach((row, place) => fill(parent.children[place], row));
}

/** @param {Element} element @param {string} text */
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** @param {string} id @param {[string, string][]} pairs */
function values(id, pairs) {
  children(at(id), "div", pairs, (pair, [name, value]) => {
    if (!pair.firstChild) pair.append(document.createElement("dt"), document.createElement("dd"));
    write(pair.firstChild, name);
    write(pair.lastChild, value);
  });
}

/** @param {string} id @param {string[][]} rows @param {string} none what is said without rows */
function table(id, rows, none) {
  children(at(id), "tr", rows.length ? rows : [[none]], (line, row) => {
    children(line, "td", row, (cell, text) => {
      write(cell, text);
      cell.colSpan = rows.length ? 1 : 5;
      cell.className = rows.length ? "" : "none";
    });
  });
}

/** @param {string} id @param {string[]} texts @param {string} none */
function list(id, texts, none) {
  children(at(id), "li", texts.length ? texts : [none], write);
}

/** Text by the id of its place. @param {string} id @param {string} text */
const say = (id, text) => write(at(id), text);

/** @param {string} id @param {string} family @param {Record<string, string>[]} of @param {string[]} names */
const rates = (id, family, of, names) =>
  graph(
    at(id),
    names.map((name, index) => ({ name, values: history.between((a, b) => rate(a, b, family, of[index])) })),
    perSecond,
  );

/** @param {any} told */
function show(told) {
  history.add(told);
  at("locked").hidden = true;
  at("live").hidden = false;
  const ready = told.ready;
  say("state", ready.reason ? `${ready.status}: ${ready.reason}` : ready.status);
  at("state").className = `state ${ready.status === "ready" ? "good" : "bad"}`;
  const memory = sum(told, "process_resident_memory_bytes");
  say(
    "about",
    `${told.version}, up ${span(told.up_s)}, ${bytes(memory)} of memory, log level ${told.log_level}`,
  );
  if (!chosen) at("level").value = told.log_level;
  showTraffic(told);
  showStorage(told);
  showSpaces(told);
  showServer(told);
}

/** @param {any} told */
function showTraffic(told) {
  const minute = history.before(MINUTE_S);
  const connections = "less_sync_connections";
  values("connections", [
    ["clients", number(sum(told, connections, { kind: "client" }))],
    ["servers", number(sum(told, connections, { kind: "peer" }))],
    ["signing in", number(sum(told, connections, { kind: "unauthenticated" }))],
    ["refused", number(sum(told, "less_sync_handshake_refusals"))],
  ]);
  graph(
    at("connections-graph"),
    [{ name: "clients", values: history.of((one) => sum(one, connections, { kind: "client" })) }],
    number,
  );
  values("requests", [
    ["per second", number(rate(minute, told, RPC))],
    ["pushes", number(rate(minute, told, RPC, { method: "push" }))],
    ["rows pulled", number(rate(minute, told, "less_sync_pull_rows"))],
    ["HTTP", number(rate(minute, told, "less_sync_http_requests"))],
  ]);
  rates("requests-graph", RPC, [{}, { method: "push" }], ["requests", "pushes"]);
  values("latency", [
    ["median", time(quantile(minute, told, SECONDS, 0.5))],
    ["99 %", time(quantile(minute, told, SECONDS, 0.99))],
  ]);
  graph(
    at("latency-graph"),
    [0.5, 0.99].map((q) => ({
      name: q === 0.5 ? "median" : "99 %",
      values: history.between((a, b) => quantile(a, b, SECONDS, q)),
    })),
    time,
  );
  const methods = (told.figures[SECONDS] ?? []).map((/** @type {any} */ [of]) => of.method);
  table(
    "methods",
    methods.map((/** @type {string} */ method) => {
      const answered = rate(minute, told, RPC, { method }) ?? 0;
      const good = rate(minute, told, RPC, { method, code: "ok" }) ?? 0;
      return [
        method,
        number(answered),
        number(answered - good),
        time(quantile(minute, told, SECONDS, 0.5, method)),
        time(quantile(minute, told, SECONDS, 0.99, method)),
      ];
    }),
    "no requests yet",
  );
}

/** @param {any} told */
function showStorage(told) {
  values("lanes", [
    ["connected", `${sum(told, "less_sync_lanes", { state: "connected" })} of ${sum(told, "less_sync_lanes")}`],
    ["pushes waiting", number(sum(told, "less_sync_lane_waiting_pushes"))],
    ["bytes waiting", bytes(sum(told, "less_sync_lane_waiting_bytes"))],
    ["refused", number(sum(told, "less_sync_lane_refusals"))],
  ]);
  graph(
    at("lanes-graph"),
    [{ name: "waiting", values: history.of((one) => sum(one, "less_sync_lane_waiting_pushes")) }],
    number,
  );
  values("pool", [
    ["in use", `${sum(told, "less_sync_db_pool_in_use")} of ${sum(told, "less_sync_db_pool_connections_max")}`],
    ["waiting", number(sum(told, "less_sync_db_pool_waiting"))],
    ["not had in time", number(sum(told, "less_sync_db_pool_failures"))],
  ]);
  graph(
    at("pool-graph"),
    [
      { name: "in use", values: history.of((one) => sum(one, "less_sync_db_pool_in_use")) },
      { name: "waiting", values: history.of((one) => sum(one, "less_sync_db_pool_waiting")) },
    ],
    number,
  );
  values("delivery", [
    ["lag", told.figures[LAG]?.length ? time(sum(told, LAG)) : "–"],
    ["notifications", perSecond(rate(history.before(MINUTE_S), told, "less_sync_notifications_delivered"))],
    ["slow consumers", number(sum(told, "less_sync_slow_consumers"))],
    ["dropped", number(sum(told, "less_sync_notifications_dropped"))],
  ]);
  rates("delivery-graph", "less_sync_notifications_delivered", [{}], ["notifications"]);
}

/** @param {any} told */
function showSpaces(told) {
  const row = (/** @type {any} */ one) => [one.space, number(one.records), bytes(one.bytes)];
  table("growing", told.growing.map(row), "nothing was written since the console was opened");
  table("largest", told.largest.map(row), "none is known");
  const ago = told.largest_ago_s === null ? "looking" : `as of ${span(told.largest_ago_s)} ago`;
  say("largest-note", told.largest_fault ? `${told.largest_fault}; ${ago}` : ago);
  const homes = new Map();
  ["link_open", "link_spaces"].forEach((family, place) => {
    for (const [of, value] of told.figures[`less_sync_federation_${family}`] ?? []) {
      homes.set(of.home, homes.get(of.home) ?? [0, 0]);
      homes.get(of.home)[place] = value;
    }
  });
  const links = [...homes].map(([home, [open, spaces]]) => [home, open ? "open" : "down", number(spaces)]);
  const peers = (told.figures.less_sync_federation_peer_connections ?? []).map((/** @type {any} */ [of, count]) => [
    of.peer, `${number(count)} from there`, number(sum(told, "less_sync_federation_peer_spaces", { peer: of.peer })),
  ]);
  table("links", [...links, ...peers], "no other server is connected");
}

/** @param {any} told */
function showServer(told) {
  const chores = told.chores.map((/** @type {any} */ one) => {
    const failed = one.failures ? `, failed ${one.failures} times` : "";
    return `${one.name}: ${span(one.ago_s)} ago${failed}`;
  });
  list("tasks", [...told.tasks.map((/** @type {string} */ name) => `${name}: running`), ...chores], "none");
  const lines = told.warnings.map((/** @type {any} */ one) => {
    const { ts, level, msg, ...rest } = one;
    const fields = Object.entries(rest).map(([name, value]) => `${name}=${value}`);
    return [ts.slice(0, 19).replace("T", " "), level, msg, ...fields].join(" ");
  });
  list("warnings", lines.reverse(), "none");
}

/** @param {string} method @param {string} path */
async function act(method, path) {
  if (!at("actions").reportValidity()) return; // what is no token cannot be sent in a header
  say("answer", "asking");
  try {
    const response = await fetch(path, { method, headers: { "X-Admin-Token": at("token").value } });
    const told = await response.json();
    const done = told.state ? `${told.state}, ${told.sessions} sessions` : `log level ${told.log_level}`;
    say("answer", told.error ?? done);
  } catch {
    say("answer", "the server did not answer");
  }
}

// No button submits the form, so that Enter in the field of the token does not drain the server.
at("actions").addEventListener("submit", (/** @type {Event} */ event) => event.preventDefault());
at("drain").addEventListener("click", () => {
  if (confirm("Close every client's connection, and send clients elsewhere?")) act("POST", "/drain");
});
at("reopen").addEventListener("click", () => act("DELETE", "/drain"));
at("level").addEventListener("change", () => (chosen = true));
at("set-level").addEventListener("click", async () => {
  await act("POST", `/log-level/${at("level").value}`);
  chosen = false;
});

follow(() => token, {
  event: show,
  lost: (why) => {
    say("state", why);
    at("state").className = "state bad";
  },
  locked: () =>
    new Promise((tried) => {
      say("state", "locked");
      at("locked").hidden = false;
      at("live").hidden = true;
      if (token) say("unlock-answer", "The server does not take this token.");
      at("unlock").addEventListener(
        "submit",
        (/** @type {SubmitEvent} */ event) => {
          event.preventDefault();
          token = at("reading-token").value;
          at("token").value = token;
          tried(undefined);
        },
        { once: true },
      );
    }),
});
