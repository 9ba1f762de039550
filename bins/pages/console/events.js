/** Reads the server's events. `EventSource` cannot send the token, so the stream is read by `fetch`. */

const RETRY_MS = [1000, 2000, 5000, 10000];
/** An event comes each second. A server that hangs, or a tunnel that broke, keeps the stream open and is silent. */
const SILENCE_MAX_MS = 10000;

/**
 * Goes on until the page is left; a stream that ends or falls silent is begun anew.
 *
 * @param {() => string} token read at each attempt; empty: none is sent
 * @param {{event: (told: any) => void, lost: (why: string) => void, locked: () => Promise<void>}} listener
 *   `locked` is called when the server wants another token, and resolves when there is one to try
 */
export async function follow(token, listener) {
  for (let failures = 0; ; ) {
    let why = "no connection to the server";
    const silence = new AbortController();
    const patience = () => setTimeout(() => silence.abort(), SILENCE_MAX_MS);
    let timer = patience();
    try {
      /** @type {Record<string, string>} */
      const headers = token() ? { "X-Admin-Token": token() } : {};
      const response = await fetch("/events", { headers, cache: "no-store", signal: silence.signal });
      if (response.status === 401) {
        await listener.locked();
        continue;
      }
      if (!response.ok || !response.body) {
        why = (await response.json()).error;
      } else {
        for await (const told of parsed(response.body)) {
          clearTimeout(timer);
          timer = patience();
          failures = 0;
          listener.event(told);
        }
      }
    } catch {
      if (silence.signal.aborted) why = `the server has said nothing for ${SILENCE_MAX_MS / 1000} s`;
      // Else it is away, or is being restarted: tried again below.
    } finally {
      clearTimeout(timer);
    }
    listener.lost(why);
    await new Promise((done) => setTimeout(done, RETRY_MS[Math.min(failures++, RETRY_MS.length - 1)]));
  }
}

/** @param {ReadableStream<Uint8Array>} body */
async function* parsed(body) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  for (let text = ""; ; ) {
    const { done, value } = await reader.read();
    if (done) return;
    text += decoder.decode(value, { stream: true });
    for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
      yield JSON.parse(text.slice("data: ".length, end));
      text = text.slice(end + 2);
    }
  }
}
