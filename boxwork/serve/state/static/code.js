// The same call as curl, Python and a command line.

const shell = (text) => /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;

function python(value) {
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (typeof value === "object") {
    if (Object.keys(value).length === 1 && typeof value.base64 === "string") return `base64.b64decode("${value.base64}")`;
    return `{${Object.entries(value).map(([key, one]) => `${JSON.stringify(key)}: ${python(one)}`).join(", ")}}`;
  }
  return JSON.stringify(value);
}

export function asCurl({ name, inputs, once, who, lane }, origin) {
  const lines = [`curl -X POST ${shell(`${origin}/commit/${name}${lane ? `?lane=${lane}` : ""}`)}`];
  if (once) lines.push(`  -H ${shell(`Idempotency-Key: ${once}`)}`);
  if (who) lines.push(`  -H ${shell(`Boxwork-Who: ${who}`)}`);
  lines.push(`  -d ${shell(JSON.stringify(inputs))}`);
  return lines.join(" \\\n");
}

export function asPython({ name, inputs, once, who, lane }, folder) {
  const given = Object.entries(inputs).map(([key, one]) => `${key}=${python(one)}`);
  for (const [key, text] of [["once", once], ["who", who], ["lane", lane]]) if (text) given.push(`${key}=${JSON.stringify(text)}`);
  const call = [JSON.stringify(name), ...given, "receipt=True"].join(", ");
  return `${call.includes("b64decode(") ? "import base64\n" : ""}import boxwork\n\nwith boxwork.open(${JSON.stringify(folder)}) as work:  # hands in to the process that owns the facts\n    answer, receipt = work.commit(${call})\n    print(answer, receipt)`;
}

export function asShell({ name, inputs, once, who, lane }, folder) {
  const given = Object.entries(inputs).map(([key, one]) => shell(`${key}=${typeof one === "string" && !/^[\d\s"[{@-]|^(true|false|null)$/.test(one) ? one : JSON.stringify(one)}`));
  for (const [key, text] of [["once", once], ["who", who], ["lane", lane]]) if (text) given.push(`--${key} ${shell(text)}`);
  return ["boxwork", "--data", shell(folder), "commit", name, ...given].join(" ");
}
