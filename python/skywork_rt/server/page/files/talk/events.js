/** Server-sent events of a response, as JSON: the values behind `data:`. The text [DONE] comes as DONE. */

export const DONE = Symbol("done");

export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const parts = (rest + value).split("\n\n");
      rest = parts.pop();
      for (const part of parts) {
        const data = part
          .split("\n")
          .filter((line) => line.startsWith("data:"))
          .map((line) => line.slice(5).trimStart())
          .join("\n");
        if (data) yield data === "[DONE]" ? DONE : JSON.parse(data);
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
