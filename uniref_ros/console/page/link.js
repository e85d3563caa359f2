// The connection to the console: one WebSocket, opened again when it breaks.
const FIRST_DELAY = 500; // ms before it is tried again, twice as long each time
const LONGEST_DELAY = 8000;
const PATIENCE = 10000; // ms for an answer
const SLOWED = new Set([1008, 1013]); // closed by the console on purpose: no hurry to come back

export class Link {
  #handlers;
  #socket = null;
  #delay = FIRST_DELAY;
  #count = 0;
  #waiting = new Map(); // by request

  constructor(handlers) {
    this.#handlers = handlers;
  }

  open() {
    const address = new URL("browser", location.href);
    address.protocol = address.protocol.replace("http", "ws");
    address.search = "";
    const socket = (this.#socket = new WebSocket(address));
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.#delay = FIRST_DELAY;
      if (document.hidden) this.look(false);
      this.#handlers.onOpen();
    };
    socket.onmessage = (event) => (typeof event.data === "string" ? this.#onText(event.data) : this.#onBytes(event.data));
    socket.onclose = (event) => this.#onClose(event);
  }

  // Whether this page looks at pictures.
  look(pictures) {
    this.send({ type: "look", pictures });
  }

  send(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  sendAudio(pcm) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(pcm);
  }

  // Sends an order; the promise's value is the answer: {ok, message, …}. It never fails.
  ask(message) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return Promise.resolve({ ok: false, message: "not connected" });
    const request = (this.#count += 1);
    this.send({ ...message, request });
    return new Promise((resolve) => {
      const late = () => this.#settle(request, { ok: false, message: "no answer from the console" });
      this.#waiting.set(request, { resolve, timer: setTimeout(late, PATIENCE) });
    });
  }

  #settle(request, answer) {
    const waiting = this.#waiting.get(request);
    if (!waiting) return false;
    clearTimeout(waiting.timer);
    this.#waiting.delete(request);
    waiting.resolve(answer);
    return true;
  }

  #onText(text) {
    const message = JSON.parse(text);
    if (message.type !== "answer") this.#handlers.onMessage(message);
    else if (!this.#settle(message.request, message) && !message.ok) {
      this.#handlers.onMessage({ type: "refused", message: message.message });
    }
  }

  // The length of a header (uint32, little endian), the header in JSON, the JPEG.
  #onBytes(data) {
    const length = new DataView(data).getUint32(0, true);
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
    this.#handlers.onPicture(header, new Blob([new Uint8Array(data, 4 + length)], { type: "image/jpeg" }));
  }

  #onClose(event) {
    for (const request of [...this.#waiting.keys()]) this.#settle(request, { ok: false, message: "the connection was lost" });
    const delay = SLOWED.has(event.code) ? LONGEST_DELAY : this.#delay;
    this.#delay = Math.min(2 * this.#delay, LONGEST_DELAY);
    this.#handlers.onClosed(event.reason || "no connection to the console, trying again…");
    setTimeout(() => this.open(), delay);
  }
}
