/** The pages' frame: who has signed in, which page the address means, and how old what is shown is. */

import * as api from "./api.js";
import { agentPage } from "./agent.js";
import { agentsPage } from "./agents.js";
import { alertsPage } from "./alerts.js";
import { closeAll } from "./ask.js";
import { auditPage } from "./audit.js";
import { deliveriesPage, deliveryPage } from "./deliveries.js";
import { h, render } from "./dom.js";
import { Live } from "./live.js";
import { operatorsPage } from "./operators.js";
import { overviewPage } from "./overview.js";
import { to } from "./parts.js";
import { webhooksPage } from "./webhooks.js";
import { clock, span } from "./words.js";

/** @param {string} id @returns {any} */
const at = (id) => document.getElementById(id);
const ROLES = ["viewer", "operator", "admin"];
const OLD_MS = 15000;

/** Pages by the first part of the address: without and with an id. @type {Record<string, any[]>} */
const PAGES = {
  "": [overviewPage],
  agents: [agentsPage, agentPage],
  alerts: [alertsPage],
  webhooks: [webhooksPage],
  deliveries: [deliveriesPage, deliveryPage],
  audit: [auditPage],
  operators: [operatorsPage],
};
/** @type {[string, string, string][]} */
const NAV = [
  ["", "Overview", "viewer"],
  ["agents", "Agents", "viewer"],
  ["alerts", "Alerts", "viewer"],
  ["webhooks", "Webhooks", "viewer"],
  ["deliveries", "Deliveries", "viewer"],
  ["audit", "Audit", "admin"],
  ["operators", "Operators", "admin"],
];

/** Other tabs of this browser. */
const tabs = new BroadcastChannel("less-sync fleet");
/** What is shown: its place, page and figures. @type {any} */
let shown = null;
let openAlerts = 0;

/** Whether who has signed in has this role, or one above it. */
const may = (/** @type {string} */ role) => ROLES.indexOf(api.signedIn()?.user.role) >= ROLES.indexOf(role);

/** The place that the address means. */
function place() {
  const [path = "", query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [first = "", id = ""] = path.split("/");
  return {
    path: `/${path}`,
    first,
    id,
    page: PAGES[first]?.[id ? 1 : 0],
    query: Object.fromEntries(new URLSearchParams(query)),
  };
}

/** @param {string} text @param {boolean} [bad] */
function say(text, bad = false) {
  const answer = at("answer");
  answer.textContent = text;
  answer.className = `banner${bad ? " bad" : ""}`;
}

/** Show what the address means. @param {boolean} [moved] somebody went there, and the keyboard goes with them */
function go(moved = true) {
  if (!api.signedIn()) return;
  const next = place();
  const same = shown?.path === next.path;
  shown?.live?.stop();
  shown = {
    ...next,
    told: same ? shown.told : null,
    asked: same ? shown.asked : next.query,
    cameAt: same ? shown.cameAt : 0,
    error: null,
  };
  if (!same) {
    say("");
    closeAll();
    at("page").replaceChildren();
  }
  nav();
  draw();
  if (moved && !same) {
    scrollTo(0, 0);
    at("main").focus({ preventScroll: true });
  }
  if (!shown.page) return;
  const { page, id, query } = shown;
  shown.live = new Live(
    (signal) => Promise.all([page.load(signal, query, id), api.get("/management/v1/alerts/summary", signal)]),
    {
      came: ([told, summary]) => {
        openAlerts = summary.open;
        Object.assign(shown, { told, asked: query, error: null, cameAt: Date.now() });
        nav();
        draw();
      },
      failed: (error) => {
        if (error instanceof api.Refused && error.status === 401) return ended();
        shown.error = error;
        draw();
      },
    },
  );
}

/** What a page may do. */
const doing = {
  may,
  /** Change something; 401 ends what is shown. @param {string} method @param {string} path @param {any} [body] */
  async change(method, path, body) {
    try {
      return await api.change(method, path, body);
    } catch (error) {
      if (error instanceof api.Refused && error.status === 401) ended();
      throw error;
    }
  },
  /** It was done. @param {string} text */
  done(text) {
    say(text);
    void shown?.live?.refresh();
  },
  /**
   * Change something without a question.
   *
   * @param {string} text @param {string} method @param {string} path @param {any} [body]
   */
  async act(text, method, path, body) {
    try {
      await doing.change(method, path, body);
      doing.done(text);
    } catch (error) {
      if (api.signedIn()) say(error instanceof Error ? error.message : String(error), true);
    }
  },
  /**
   * Go to this page with other filters.
   *
   * @param {Record<string, any>} query @param {boolean} [typing] no way back to each letter
   */
  filter(query, typing = false) {
    const address = to(shown.path, { ...shown.query, cursor: null, ...query });
    if (typing) history.replaceState(null, "", address);
    else history.pushState(null, "", address);
    go(false);
  },
  /** Draw again what has come. */
  draw,
};

function nav() {
  const { first } = place();
  render(
    at("nav"),
    NAV.filter(([, , role]) => may(role)).map(([path, text]) =>
      h(
        "a",
        { key: path, href: `#/${path}`, "aria-current": path === first && "page" },
        text,
        path === "alerts" &&
          openAlerts > 0 &&
          h("span", { class: "count" }, ` ${openAlerts}`, h("span", { class: "unseen" }, " open")),
      ),
    ),
  );
}

function draw() {
  if (!shown) return;
  const title = shown.page?.title ?? "No such page";
  document.title = `${openAlerts ? `(${openAlerts}) ` : ""}${title} · less-sync fleet`;
  at("page").setAttribute("aria-busy", String(!shown.told));
  at("as-of").textContent = shown.cameAt ? `· as of ${clock(shown.cameAt)}` : "";
  if (!shown.page)
    return render(at("page"), [
      h("h1", null, title),
      h("p", null, h("a", { href: "#/" }, "To the overview")),
    ]);
  if (shown.told) {
    const described = shown.page.view(shown.told, { ...doing, query: shown.asked, id: shown.id });
    keepingFocus(() => render(at("page"), described));
  } else if (shown.error) render(at("page"), [h("h1", null, title), h("p", null, inWords(shown.error))]);
  else render(at("page"), [h("h1", null, title), h("p", { class: "quiet" }, "asking the plane")]);
  aged();
}

/** Draw; who was at something that is gone by then is at what it was in. @param {() => void} work */
function keepingFocus(work) {
  const around = [];
  for (let one = document.activeElement; one && at("main").contains(one); one = one.parentElement) {
    around.push(/** @type {HTMLElement} */ (one));
  }
  work();
  const stays = around.find((one) => one.isConnected);
  if (!stays || document.activeElement === stays) return;
  stays.focus({ preventScroll: true });
  if (document.activeElement === stays) return;
  stays.tabIndex = -1;
  stays.focus({ preventScroll: true });
}

/** Say how old what is shown is, where it is older than it should be. */
function aged() {
  if (!shown?.page) return tellState("", false);
  const age = Date.now() - shown.cameAt;
  if (shown.error) return tellState(inWords(shown.error), true);
  if (shown.cameAt && age > OLD_MS) return tellState("waiting for the plane", true);
  tellState(shown.cameAt ? "live" : "", false);
}

/** Why there is nothing newer. @param {any} error */
function inWords(error) {
  const status = error instanceof api.Refused ? error.status : 0;
  if (status === 403) return "Your role does not let you see this page.";
  return [400, 404].includes(status) ? error.message : `${error.message}; tried again by itself`;
}

/** @param {string} text @param {boolean} bad */
function tellState(text, bad) {
  // Written only when it differs: a screen reader says it each time.
  if (at("live").textContent !== text) at("live").textContent = text;
  at("state").className = bad ? "banner bad" : "quiet";
  const age = shown?.cameAt ? Date.now() - shown.cameAt : 0;
  if (bad && shown?.cameAt)
    at("as-of").textContent = `What is shown is of ${clock(shown.cameAt)}, ${span(age / 1000)} ago.`;
}

/** Nobody is signed in any more, by whatever way. @param {string} [why] */
function ended(why = "Your session has ended. Sign in again to go on where you were.") {
  api.forget();
  shown?.live?.stop();
  shown = null;
  openAlerts = 0;
  closeAll();
  askToSignIn(why);
}

/** @param {string} why */
function askToSignIn(why) {
  document.title = "Sign in · less-sync fleet";
  at("page").replaceChildren();
  at("nav").hidden = at("account").hidden = true;
  at("nav").replaceChildren();
  at("sign-in").hidden = false;
  at("state").hidden = true;
  say("");
  at("sign-in-why").textContent = why;
  at("password").value = "";
  at(at("username").value ? "password" : "username").focus();
}

/** Somebody is signed in. */
function begin() {
  const { user } = api.signedIn();
  at("who").textContent = `${user.username}, ${user.role}`;
  at("nav").hidden = at("account").hidden = false;
  at("sign-in").hidden = true;
  at("state").hidden = false;
  at("password").value = "";
  shown?.live?.stop();
  shown = null;
  go();
}

let signingIn = false;
at("sign-in-form").addEventListener("submit", async (/** @type {Event} */ event) => {
  event.preventDefault();
  if (signingIn) return;
  signingIn = true;
  at("sign-in-why").textContent = "asking the plane";
  try {
    await api.signIn(at("username").value.trim(), at("password").value);
    at("sign-in-why").textContent = "";
    tabs.postMessage("signed in");
    begin();
  } catch (error) {
    const { message, retryAfterS } = /** @type {any} */ (error);
    at("sign-in-why").textContent = retryAfterS ? `${message}: try again in ${span(retryAfterS)}` : message;
    at("password").select();
  } finally {
    signingIn = false;
  }
});

at("sign-out").addEventListener("click", async () => {
  try {
    await api.signOut();
    tabs.postMessage("signed out");
    ended("You are signed out.");
  } catch (error) {
    say(`You are not signed out: ${error instanceof Error ? error.message : error}`, true);
  }
});

at("skip").addEventListener("click", (/** @type {Event} */ event) => {
  event.preventDefault(); // the address says which page is shown
  at("main").focus();
});

/** @param {string} [why] said to who is not signed in */
async function look(why = "") {
  try {
    await api.renew();
  } catch (error) {
    at("sign-in-why").textContent = "";
    say(`${error instanceof Error ? error.message : error}; tried again by itself`, true);
    setTimeout(look, 5000);
    return;
  }
  say("");
  if (api.signedIn()) begin();
  else ended(why);
}

// Another tab signed somebody in or out: the cookie is the same here.
tabs.addEventListener("message", () => void look("You have signed out in another tab."));
window.addEventListener("hashchange", () => go());
setInterval(aged, 1000);
void look();
