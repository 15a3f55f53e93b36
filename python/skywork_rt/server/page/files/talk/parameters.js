/** Sampling parameters as fields: from the text of a field to a value and back, checked before anything is sent. */

/** Those that the page sets itself: it shows one answer at a time, and has a switch of its own for probabilities. */
const OWN = new Set(["n", "logprobs", "prompt_logprobs"]);

export const shown = (rows) => rows.filter((row) => !OWN.has(row.name));

/** The kind of a parameter by its type in Python; what is none of these is written as JSON. */
export function kindOf(row) {
  const plain = row.type.replace(/ \| None$/, "");
  return { int: "int", float: "float", bool: "bool", str: "text", "str | Sequence[str]": "texts", "Sequence[int]": "ids" }[plain] ?? "json";
}

/** `{value}` of a field's text, undefined for an empty one; or `{problem}`, a sentence. */
export function read(row, text) {
  if (text === "") return { value: undefined };
  return READERS[kindOf(row)](row, text);
}

/** The text of a field for a value, whatever an imported file may hold. */
export function written(row, value) {
  if (value === undefined || value === null) return "";
  if (typeof value === "string" && kindOf(row) !== "texts") return value;
  if (kindOf(row) === "texts") return [value].flat().map((text) => String(text).replace(/\\/g, "\\\\").replace(/\n/g, "\\n")).join("\n");
  if (kindOf(row) === "ids" && Array.isArray(value)) return value.join(", ");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** All that are given, as `{values}`, or the first one that is wrong as `{name, problem}`. */
export function readAll(rows, given) {
  const values = {};
  for (const row of shown(rows)) {
    const { value, problem } = read(row, written(row, given[row.name]));
    if (problem) return { name: row.name, problem };
    if (value !== undefined) values[row.name] = value;
  }
  return { values };
}

const READERS = {
  int: (row, text) => (/^[+-]?\d+$/.test(text.trim()) ? within(row, Number(text)) : wrong(row, "a whole number")),
  float: (row, text) => (text.trim() && Number.isFinite(Number(text)) ? within(row, Number(text)) : wrong(row, "a number")),
  bool: (row, text) => (["true", "false"].includes(text) ? { value: text === "true" } : wrong(row, "on or off")),
  text: (row, text) => ({ value: text }),
  texts: (row, text) => {
    const lines = text.split("\n").filter((line) => line !== "");
    return { value: lines.map((line) => line.replace(/\\(n|\\)/g, (_, what) => (what === "n" ? "\n" : "\\"))) };
  },
  ids: (row, text) => {
    const parts = text.split(/[\s,]+/).filter(Boolean);
    return parts.every((part) => /^\d{1,9}$/.test(part)) ? { value: parts.map(Number) } : wrong(row, "token ids, such as 2, 13");
  },
  json: (row, text) => {
    try {
      return { value: JSON.parse(text) };
    } catch {
      return wrong(row, "JSON");
    }
  },
};

const wrong = (row, what) => ({ problem: `${row.name} must be ${what}${row.range ? `: ${row.range}` : ""}.` });

function within(row, value) {
  const low = row.minimum !== null && (row.exclusive ? value <= row.minimum : value < row.minimum);
  const high = row.maximum !== null && value > row.maximum;
  if (low || high) return { problem: `${row.name} is ${value}, but must be ${row.range}.` };
  if (kindOf(row) === "int" && !Number.isSafeInteger(value)) return { problem: `${row.name} is larger than a browser can write.` };
  return { value };
}
