// The inputs of a transaction as a form, from its JSON schema; and back as a JSON object.

import { el } from "./parts.js";

const REF = "^sha256:[0-9a-f]{64}$";

// What a schema wants, in one word: text, number, whole, yes, choice, ref, bytes, or json for the rest.
function kindOf(shape) {
  if (shape.enum) return "choice";
  if (shape.anyOf?.length === 2 && shape.anyOf.some((one) => one.type === "null")) return kindOf(shape.anyOf.find((one) => one.type !== "null"));
  if (shape.pattern === REF) return "ref";
  if (shape.required?.[0] === "base64") return "bytes";
  return { string: "text", integer: "whole", number: "number", boolean: "yes" }[shape.type] ?? "json";
}

const NOTES = { ref: "the name of a blob, sha256:…", bytes: "a text, sent as its bytes", json: "JSON", whole: "a whole number", number: "a number", text: "", choice: "", yes: "" };

export class Form {
  constructor(root, changed) {
    Object.assign(this, { root, changed, fields: [] });
    root.addEventListener("input", () => changed());
  }

  open(schema, given = {}) {
    const wanted = new Set(schema.required ?? []);
    this.fields = Object.entries(schema.properties).map(([name, shape]) => this.field(name, shape, wanted.has(name), given[name]));
    this.root.replaceChildren(...this.fields.map((field) => field.label));
    if (!this.fields.length) this.root.append(el("p", "quiet", "It takes no inputs."));
  }

  field(name, shape, wanted, given) {
    const kind = kindOf(shape), choices = shape.enum ?? shape.anyOf?.find((one) => one.enum)?.enum;
    const title = el("span", "", name);
    const note = [NOTES[kind], wanted ? (shape.anyOf ? "or nothing" : "") : "default" in shape ? `default ${JSON.stringify(shape.default)}` : "may be left out"].filter(Boolean).join(", ");
    if (note) title.append(" ", el("small", "", note));
    const input = document.createElement(kind === "choice" ? "select" : kind === "json" ? "textarea" : "input");
    if (kind === "choice") for (const one of [...(wanted ? [] : [""]), ...choices]) { const option = el("option", "", String(one)); option.value = one === "" ? "" : JSON.stringify(one); input.append(option); }
    if (kind === "whole" || kind === "number") { input.type = "number"; input.step = kind === "whole" ? "1" : "any"; }
    if (kind === "yes") { input.type = "checkbox"; input.checked = given ?? shape.default ?? false; }
    if (kind === "ref") input.pattern = REF;
    if (kind === "json") { input.rows = 2; input.placeholder = shape.type === "array" ? "[…]" : shape.$ref || shape.type === "object" ? "{…}" : "null, 1, \"text\", […]"; }
    input.name = name;
    input.autocomplete = "off";
    input.spellcheck = false;
    const nothing = Boolean(shape.anyOf?.some((one) => one.type === "null"));
    if (wanted && !nothing && kind !== "yes" && kind !== "text") input.required = true;
    if (kind !== "yes") {
      const first = given ?? shape.default;
      if (first !== undefined && first !== null) input.value = kind === "json" || kind === "choice" ? JSON.stringify(first) : first;
    }
    return { name, kind, wanted, nothing, input, label: el("label", `entry ${kind}`, title, input) };
  }

  // The object to send.  Throws an `Error` whose `field` is the one that is wrong.
  values() {
    const made = {};
    for (const { name, kind, wanted, nothing, input } of this.fields) {
      const text = input.value;
      if (kind === "yes") { made[name] = input.checked; continue; }
      if (text === "" && nothing && wanted) { made[name] = null; continue; }
      if (text === "" && (!wanted || kind !== "text")) { if (!wanted) continue; throw Object.assign(new Error(`${name} is missing`), { field: input }); }
      if (kind === "text" || kind === "ref") made[name] = text;
      else if (kind === "bytes") made[name] = { base64: btoa(String.fromCharCode(...new TextEncoder().encode(text))) };
      else {
        try { made[name] = kind === "json" || kind === "choice" ? JSON.parse(text) : Number(text); } catch { throw Object.assign(new Error(`${name} is not JSON`), { field: input }); }
      }
    }
    return made;
  }
}
