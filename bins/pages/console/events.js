/** Reads the server's events. `EventSource` cannot send the token, so the stream is read by `fetch`. */

const RETRY_MS = [1000, 2000, 5000, 10000];

/**
 * Goes on until the page is left; a stream that ends is begun anew.
 *
 * @param {() => string} token read at each attempt; empty: none is sent
 * @param {{event: (told: any) => void, lost: () => void, locked: () => Promise<void>}} listener `locked` is
 *   called when the server wants another token, and resolves when there is one to try
 */
export async function follow(token, listener) {
  for (let failures = 0; ; ) {
    try {
      const headers = token() ? { "X-Admin-Token": token() } : {};
      const response = await fetch("/events", { headers, cache: "no-store" });
      if (response.status === 401) {
        await listener.locked();
        continue;
      }
      if (response.ok && response.body) {
        for await (const told of parsed(response.body)) {
          failures = 0;
          listener.event(told);
        }
      }
    } catch {
      // The server is away, or is being restarted: tried again below.
    }
    listener.lost();
    await new Promise((done) => setTimeout(done, RETRY_MS[Math.min(failures++, RETRY_MS.length - 1)]));
  }
}

/** @param {ReadableStream<Uint8Array>} body */
async function* parsed(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (let text = ""; ; ) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
      yield JSON.parse(text.slice("data: ".length, end));
      text = text.slice(end + 2);
    }
  }
}
