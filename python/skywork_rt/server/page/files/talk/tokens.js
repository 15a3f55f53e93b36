/**
 * Tokens by name. Many are a part of a character only (Chinese, emoji): alone they have no text. Their name is their bytes,
 * as OpenAI's completions name them: bytes:\xe4\xbd.
 */

const PART = /^bytes:(?:\\x[0-9a-f]{2})+$/;
const whole = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The name of a token of `logprobs`, which has `token` and `bytes`. */
export function nameOf({ token, bytes }) {
  try {
    whole.decode(Uint8Array.from(bytes ?? []));
    return token;
  } catch {
    return `bytes:${bytes.map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("")}`;
  }
}

/** A name with what cannot be seen made visible. */
export function visible(name) {
  if (PART.test(name)) return name.slice("bytes:".length);
  return name.replace(/\n/g, "↵").replace(/\t/g, "⇥").replace(/ /g, "␣") || "(nothing)";
}

/** The text of tokens in a row: a character comes with the last of its tokens. */
export class TokenReader {
  decoder = new TextDecoder("utf-8", { ignoreBOM: true });

  read(name) {
    if (!PART.test(name)) return this.decoder.decode() + name;
    const bytes = name.split("\\x").slice(1);
    return this.decoder.decode(Uint8Array.from(bytes, (byte) => parseInt(byte, 16)), { stream: true });
  }
}
