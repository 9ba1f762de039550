/** Who may sign in here. */

import { get, signedIn, withQuery } from "./api.js";
import { ask } from "./ask.js";
import { h } from "./dom.js";
import { ago, badge, button, choice, field, name, pager, table } from "./parts.js";

const PATH = "/platform/v1/users";
const ROLES = ["viewer", "operator", "admin"];

/** @param {string} [role] */
const roleField = (role = "viewer") => choice("Role", { name: "role", value: role }, ROLES);
const passwordField = () =>
  field("Password, at least 12 characters", {
    name: "password",
    type: "password",
    required: true,
    minlength: 12,
    maxlength: 256,
    autocomplete: "new-password",
  });
const nameField = () =>
  field(["Name: 3 to 64 of a–z, 0–9, ", h("code", null, ". _ @ -")], {
    name: "username",
    required: true,
    minlength: 3,
    maxlength: 64,
    pattern: "[a-z0-9._@\\-]+",
    autocomplete: "off",
    autocapitalize: "none",
    spellcheck: "false",
  });

/** @param {any} one @param {any} doing */
function acts(one, doing) {
  const path = `${PATH}/${one.id}`;
  const own = one.id === signedIn()?.user.id;
  const ends = h(
    "p",
    null,
    own ? "Your own session ends with it." : "All sessions of this operator end with it.",
  );
  const about = (/** @type {string} */ text) => ({ "aria-label": `${text}: ${one.username}` });
  const role = () =>
    ask({
      title: `Role of ${one.username}`,
      text: ends,
      fields: [roleField(one.role)],
      confirm: "Change the role",
      act: async (given) => {
        await doing.change("PATCH", path, { role: given.get("role") });
        doing.done("The role is changed.");
      },
    });
  const password = () =>
    ask({
      title: `Password of ${one.username}`,
      text: ends,
      fields: [passwordField()],
      confirm: "Set the password",
      act: async (given) => {
        await doing.change("PATCH", path, { password: given.get("password") });
        doing.done("The password is set.");
      },
    });
  const remove = () =>
    ask({
      title: "Delete the operator",
      text: ends,
      name: one.username,
      confirm: "Delete",
      act: async () => {
        await doing.change("DELETE", path);
        doing.done("The operator is deleted.");
      },
    });
  const toggle = () =>
    doing.act(
      one.disabled ? "The operator may sign in again." : "The operator may not sign in any more.",
      "PATCH",
      path,
      { disabled: !one.disabled },
    );
  return h(
    "div",
    { class: "row" },
    button("Role", role, about("Role")),
    button("Password", password, about("Password")),
    button(one.disabled ? "Let in" : "Lock out", toggle, about(one.disabled ? "Let in" : "Lock out")),
    button("Delete", remove, { class: "danger", ...about("Delete") }),
  );
}

export const operatorsPage = {
  title: "Operators",
  /** @param {AbortSignal} signal @param {any} query */
  load: (signal, query) => get(withQuery(PATH, query), signal),
  /** @param {any} told @param {any} doing */
  view({ users, next_cursor }, doing) {
    const add = () =>
      ask({
        title: "Add an operator",
        fields: [nameField(), passwordField(), roleField()],
        confirm: "Add",
        act: async (given) => {
          await doing.change("POST", PATH, Object.fromEntries(given));
          doing.done("The operator is added.");
        },
      });
    return [
      h("h1", null, "Operators"),
      h("p", null, button("Add an operator", add, { class: "first" })),
      table(
        "Operators",
        ["name", "role", "last signed in", ""],
        users,
        (one) => ({
          key: one.id,
          cells: [
            name(one.username),
            [badge(one.role), one.disabled && [" ", badge("off")]],
            ago(one.last_login_at, "never"),
            acts(one, doing),
          ],
        }),
        "none",
      ),
      pager("/operators", doing.query, next_cursor),
    ];
  },
};
