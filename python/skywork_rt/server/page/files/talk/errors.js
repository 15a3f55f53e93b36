/** What went wrong, in the words that the reader gets: the cause, and what to do. */

export class ServerError extends Error {
  /** `kind`: key, busy, refused, away, cut or failed; `param`: the field at fault; `wait`: seconds until it is worth a try. */
  constructor(kind, message, { advice = "", param = null, wait = 0, status = 0 } = {}) {
    super(message);
    Object.assign(this, { kind, advice, param, wait, status });
  }
}

/** The error of an answer that is not 200. */
export async function errorOf(response) {
  let said = {};
  try {
    said = (await response.json()).error ?? {};
  } catch {
    // A proxy's page, or nothing.
  }
  const wait = Math.min(Number(response.headers.get("retry-after")) || 0, 600);
  return fromObject(said, response.status, wait);
}

/** The error of an `error` object, as an answer or an event of a stream has it. */
export function fromObject(said, status, wait = 0) {
  const message = typeof said.message === "string" ? said.message : `The server answered ${status || "with an error"}.`;
  const param = typeof said.param === "string" ? said.param : null;
  const shared = { param, wait, status };
  if (status === 401) return new ServerError("key", message, { ...shared, advice: "Enter the server's API key." });
  if (status === 429 || status === 503) {
    return new ServerError("busy", message, { ...shared, wait: wait || 1, advice: "Try again in a moment." });
  }
  if (said.code === "context_length_exceeded") {
    return new ServerError("refused", message, {
      ...shared,
      advice: "Edit an earlier message to go on from there, begin a new conversation, or lower max_tokens.",
    });
  }
  if (status >= 400 && status < 500) {
    const advice = param ? `Change ${param}, and try again.` : "Change the request, and try again.";
    return new ServerError("refused", message, { ...shared, advice });
  }
  return new ServerError("failed", message, { ...shared, advice: "The server's log has the reason." });
}

export function away() {
  return new ServerError("away", "The server does not answer.", {
    advice: "See whether it runs (skywork-rt serve …) and whether this machine reaches it, then try again.",
  });
}

export function cut() {
  return new ServerError("cut", "The stream was cut before its end.", {
    advice: "What came is kept. Go on with it, or regenerate the answer.",
  });
}
