/** One answer while it comes: asks for it, adds to its message what the stream says, and measures. */

import { ask } from "./server.js";
import { away, cut, fromObject, ServerError } from "./errors.js";
import { DONE, events } from "./events.js";
import { nameOf } from "./tokens.js";

const TOP = 5; // alternatives of each token

/**
 * Streams into `message` (see store/conversation.js) until the end, an error or `signal`. `changed` is called after each
 * event that brought something. Never raises: how it ended is in `message.status` and `message.error`.
 */
export async function streamAnswer({ model, messages, parameters, withTokens, goOn, message, signal, changed }) {
  const begun = performance.now();
  const before = { tokens: message.usage?.answer ?? 0, seconds: message.seconds ?? 0 };
  const body = {
    model,
    messages,
    ...parameters,
    stream: true,
    stream_options: { include_usage: true, continuous_usage_stats: true },
    ...(withTokens ? { logprobs: true, top_logprobs: TOP } : {}),
    ...(goOn ? { continue_final_message: true, add_generation_prompt: false } : {}),
  };
  let first = null;
  let ended = false;
  if (!goOn) message.ttft = null;
  Object.assign(message, { status: "running", finish: null, error: null });
  try {
    for await (const event of events(await ask("v1/chat/completions", { body, signal }))) {
      if (event === DONE) {
        ended = true;
        break;
      }
      if (event.error) throw fromObject(event.error, statusOf(event.error));
      const now = performance.now();
      if (take(event, message, before) && first === null) {
        first = now;
        message.ttft = (now - begun) / 1000;
      }
      if (first !== null) message.seconds = before.seconds + (now - first) / 1000;
      changed();
    }
    if (!ended && !message.finish) throw cut();
    message.status = "done";
  } catch (error) {
    settle(message, error, signal);
  }
  changed();
}

/** Adds an event's part of the answer; whether it had tokens. */
function take(event, message, before) {
  const [choice] = event.choices ?? [];
  const piece = choice?.delta?.content ?? "";
  const usage = event.usage;
  const fresh = piece !== "" || (usage?.completion_tokens ?? 0) > 0;
  message.text += piece;
  if (choice?.finish_reason) message.finish = choice.finish_reason;
  if (choice?.logprobs?.content?.length) (message.tokens ??= []).push(...choice.logprobs.content.map(compact));
  if (usage) message.usage = { prompt: usage.prompt_tokens, answer: usage.completion_tokens, earlier: before.tokens };
  return fresh;
}

const round = (value) => Math.round(value * 1e4) / 1e4;

/** A token as it is stored: its name, its log-probability, and those of the likeliest ones at its place. */
function compact(entry) {
  return [nameOf(entry), round(entry.logprob), entry.top_logprobs.map((other) => [nameOf(other), round(other.logprob)])];
}

function settle(message, error, signal) {
  if (signal.aborted) {
    message.status = "stopped";
    return;
  }
  const known = error instanceof ServerError ? error : message.text ? cut() : away();
  message.status = "failed";
  message.error = { kind: known.kind, text: known.message, advice: known.advice, param: known.param, wait: known.wait, at: Date.now() };
}

/** An event of a stream has no status; its code says the same. */
function statusOf(error) {
  return { stopping: 503, busy: 429, replica_lost: 503 }[error.code] ?? (error.type === "invalid_request_error" ? 400 : 500);
}

/** Tokens a second after the first one; null while that says nothing. */
export function speed(message) {
  const made = (message.usage?.answer ?? 0) + (message.usage?.earlier ?? 0);
  return message.seconds > 0 && made > 1 ? (made - 1) / message.seconds : null;
}
