/** The routes that the page asks. Paths are relative, so that a server below a prefix of a proxy works too. */

import { key } from "../store/key.js";
import { away, errorOf, ServerError } from "./errors.js";

/** A request with the key. Raises ServerError for what is not 200; an abort passes as it is. */
export async function ask(path, { body, signal } = {}) {
  const headers = {};
  if (key.value) headers.authorization = `Bearer ${key.value}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  let response;
  try {
    response = await fetch(new URL(path, document.baseURI), {
      method: body === undefined ? "GET" : "POST",
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
      cache: "no-store",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw away();
  }
  if (!response.ok) throw await errorOf(response);
  return response;
}

/** The models: `id`, `max_model_len`, `loaded`, `default_sampling_params`. */
export async function listModels() {
  return table("v1/models");
}

/** The sampling parameters: `name`, `type`, `default`, `minimum`, `exclusive`, `maximum`, `range`, `description`. */
export async function listParameters() {
  return table("sampling_params");
}

async function table(path) {
  const response = await ask(path);
  const found = await response.json().catch(() => null);
  if (!Array.isArray(found?.data)) throw new ServerError("failed", `What answers at ${response.url} is no server of skywork_rt.`);
  return found.data;
}
