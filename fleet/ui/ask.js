/** Questions in a dialog of its own, which no news of the page touches. */

import { h, render } from "./dom.js";
import { field } from "./parts.js";

/** A name as a page shows it, and a field takes it: on one line, with single blanks. @param {string} text */
const plain = (text) => text.trim().replace(/\s+/g, " ");

/**
 * Ask, and do.
 *
 * @param {object} question
 * @param {string} question.title
 * @param {any} [question.text]
 * @param {string} question.confirm what the button says
 * @param {string} [question.name] has to be typed: what is asked for cannot be taken back
 * @param {any} [question.fields] descriptions of labels with fields that have names
 * @param {(given: FormData) => Promise<any>} question.act what it throws is shown, and can be tried again
 */
export function ask({ title, text, confirm, name, fields, act }) {
  const dialog = /** @type {HTMLDialogElement} */ (document.createElement("dialog"));
  dialog.setAttribute("aria-labelledby", "ask-title");
  let wrong = "";
  let busy = false;
  const submit = async (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    if (busy) return;
    const given = new FormData(/** @type {HTMLFormElement} */ (event.target));
    if (name !== undefined && plain(String(given.get("typed-name"))) !== plain(name)) {
      wrong = "This is not the name.";
      return draw();
    }
    busy = true;
    wrong = "";
    draw();
    try {
      await act(given);
      dialog.close();
    } catch (error) {
      wrong = error instanceof Error ? error.message : String(error);
    }
    busy = false;
    draw();
  };
  const draw = () =>
    render(dialog, [
      h(
        "form",
        { onsubmit: submit },
        h("h2", { id: "ask-title" }, title),
        text && h("div", null, text),
        fields,
        name !== undefined &&
          field(["Type ", h("strong", { class: "name" }, h("bdi", null, name)), " to go on"], {
            name: "typed-name",
            autocomplete: "off",
            spellcheck: "false",
            required: true,
          }),
        h("p", { role: "alert", class: "bad" }, wrong),
        h(
          "div",
          { class: "row" },
          h("button", { class: name === undefined ? "first" : "danger", disabled: busy }, confirm),
          h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"),
        ),
      ),
    ]);
  open(dialog, draw);
}

/**
 * Show what is told once and cannot be asked for again.
 *
 * @param {string} title @param {string} text @param {string} secret
 */
export function tell(title, text, secret) {
  const dialog = /** @type {HTMLDialogElement} */ (document.createElement("dialog"));
  dialog.setAttribute("aria-labelledby", "ask-title");
  open(dialog, () =>
    render(dialog, [
      h("h2", { id: "ask-title" }, title),
      h("p", null, text),
      field("Secret", {
        readonly: true,
        value: secret,
        onfocus: (/** @type {any} */ event) => event.target.select(),
      }),
      h(
        "div",
        { class: "row" },
        navigator.clipboard &&
          h(
            "button",
            { type: "button", class: "first", onclick: () => navigator.clipboard.writeText(secret) },
            "Copy",
          ),
        h("button", { type: "button", onclick: () => dialog.close() }, "I have kept it"),
      ),
    ]),
  );
}

/** @param {HTMLDialogElement} dialog @param {() => void} draw */
function open(dialog, draw) {
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  draw();
  dialog.showModal();
}

/** Dialogs of a page that is left, or of somebody who is signed out, go. */
export function closeAll() {
  for (const dialog of document.querySelectorAll("dialog")) dialog.close();
}
