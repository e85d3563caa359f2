// One camera's picture, and the marks a person makes in it. Each mark carries the stamp of the picture it was made in.
import { drawCurve } from "./curve.js";

const DRAG = 6; // CSS pixels that a finger moves before it is a drag
const STEP = 8; // CSS pixels that an arrow key moves the cross
const KEPT = 4; // pictures shown lately
const LEAST_BOX = 3; // pixels of the image

export class View {
  #canvas;
  #context;
  #marks;
  #onMark;
  #waiting = null; // the newest picture that is not decoded yet
  #decoding = false;
  #next = null; // decoded, to be drawn with the display's next frame
  #scheduled = false;
  #shown = []; // {stamp, since}: what was on the display, and from when on; the newest last
  #press = null; // {x, y, clientX, clientY, stamp, dragging}: a pointer that is down; the picture stands still
  #cross = null; // {x, y} in pixels of the image: the keyboard's pointer
  #corner = null; // where a box of the keyboard's begins

  // several: whether there are other cameras. onMark(view, "click" | "box", fields).
  constructor(name, several, onMark) {
    this.name = name;
    this.#onMark = onMark;
    this.element = document.getElementById("view-template").content.firstElementChild.cloneNode(true);
    this.#canvas = this.element.querySelector("canvas");
    this.#context = this.#canvas.getContext("2d", { alpha: false });
    this.#marks = Object.fromEntries(
      ["ring", "frame", "cross"].map((kind) => [kind, this.element.querySelector(`.${kind}`)]),
    );
    this.element.querySelector(".name").textContent = several ? name : "";
    this.element.dataset.camera = name;
    const label = `Picture of camera ${name || "image"}. Arrow keys move a cross, Enter follows what is there.`;
    this.#canvas.setAttribute("aria-label", label);
    this.#canvas.setAttribute("role", "application");
    this.#listen();
  }

  get hasPicture() {
    return this.#shown.length > 0;
  }

  // ---- pictures: the newest is decoded, the newest that is decoded is drawn

  show(header, jpeg, done) {
    this.#waiting?.done(); // it is not decoded any more
    this.#waiting = { header, jpeg, done };
    if (!this.#decoding) this.#decode();
  }

  async #decode() {
    this.#decoding = true;
    while (this.#waiting) {
      const { header, jpeg, done } = this.#waiting;
      this.#waiting = null;
      try {
        const bitmap = await createImageBitmap(jpeg);
        this.#next?.bitmap.close();
        this.#next = { bitmap, stamp: header.stamp };
        this.#schedule();
      } catch {
        // a JPEG that this browser cannot decode: the next one may be better
      }
      done();
    }
    this.#decoding = false;
  }

  #schedule() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => {
      this.#scheduled = false;
      this.#draw();
    });
  }

  #draw() {
    if (!this.#next || this.#press || this.#corner) return; // it stands still while a person marks something
    const { bitmap, stamp } = this.#next;
    this.#next = null;
    if (this.#canvas.width !== bitmap.width || this.#canvas.height !== bitmap.height) {
      this.#canvas.width = bitmap.width;
      this.#canvas.height = bitmap.height;
    }
    this.#context.drawImage(bitmap, 0, 0);
    bitmap.close();
    this.#shown.push({ stamp, since: performance.now() });
    if (this.#shown.length > KEPT) this.#shown.shift();
    this.element.dataset.stamp = stamp.join(".");
  }

  // The stamp of what was on the display at this time of performance.now(): an event may be handled after the
  // next picture was drawn, but a person saw the one before.
  #stampAt(time) {
    const seen = this.#shown.filter((one) => one.since <= time);
    return (seen.at(-1) ?? this.#shown[0])?.stamp;
  }

  // ---- what is said about it

  veil(text) {
    const veil = this.element.querySelector(".veil");
    if (veil.textContent !== text) veil.textContent = text;
  }

  showFigures(camera) {
    const [rate, latency] = [`${camera.rate.toFixed(1)}/s`, `${Math.round(camera.latency_ms)} ms`];
    const figures = this.element.querySelector(".figures");
    if (!figures.firstChild) figures.innerHTML = '<b class="rate"></b> <b class="latency"></b>';
    figures.querySelector(".rate").textContent = rate;
    figures.querySelector(".latency").textContent = latency;
  }

  showCurve(points) {
    drawCurve(this.element.querySelector(".curve"), points);
  }

  // Whether an answer is waited for; the mark stays until then.
  wait(waiting, notThat = false) {
    this.#marks.ring.toggleAttribute("data-not", notThat);
    if (!waiting) this.#marks.ring.hidden = this.#marks.frame.hidden = true;
  }

  // ---- pointer and keys

  #listen() {
    const canvas = this.#canvas;
    canvas.addEventListener("pointerdown", (event) => this.#onDown(event));
    canvas.addEventListener("pointermove", (event) => this.#onMove(event));
    canvas.addEventListener("pointerup", (event) => this.#onUp(event));
    canvas.addEventListener("pointercancel", () => this.#giveUp());
    canvas.addEventListener("contextmenu", (event) => this.#press && event.preventDefault());
    canvas.addEventListener("keydown", (event) => this.#onKey(event));
    canvas.addEventListener("blur", () => this.#giveUp());
  }

  #place(event) {
    const rect = this.#canvas.getBoundingClientRect();
    const across = (event.clientX - rect.left) / rect.width;
    const down = (event.clientY - rect.top) / rect.height;
    const within = (share, size) => Math.min(Math.max(share * size, 0), size - 1e-3);
    return { x: within(across, this.#canvas.width), y: within(down, this.#canvas.height) };
  }

  #onDown(event) {
    if (event.button !== 0 || !event.isPrimary || !this.hasPicture) return;
    this.#giveUp();
    this.#canvas.setPointerCapture(event.pointerId);
    const { clientX, clientY } = event;
    this.#press = { ...this.#place(event), clientX, clientY, stamp: this.#stampAt(event.timeStamp), dragging: false };
  }

  #onMove(event) {
    const press = this.#press;
    if (!press || !event.isPrimary) return;
    const far = Math.hypot(event.clientX - press.clientX, event.clientY - press.clientY) > DRAG;
    press.dragging ||= far;
    if (press.dragging) this.#showFrame(press, this.#place(event));
  }

  #onUp(event) {
    const press = this.#press;
    if (!press || !event.isPrimary) return;
    this.#press = null;
    this.#schedule();
    // A box is drawn on the picture that stands still, which is the newest that was drawn.
    if (press.dragging) this.#sendBox(press, this.#place(event), this.#shown.at(-1).stamp);
    else this.#sendClick(press, press.stamp, event.shiftKey);
  }

  #giveUp() {
    const busy = this.#press || this.#corner;
    this.#press = this.#corner = null;
    if (!busy) return;
    this.#marks.frame.hidden = true;
    this.#schedule();
  }

  #sendClick({ x, y }, stamp, notThat) {
    this.#put(this.#marks.ring, x, y);
    this.#onMark(this, "click", { stamp, x, y, not_that: notThat });
  }

  #sendBox(one, other, stamp) {
    const [left, right] = [one.x, other.x].sort((a, b) => a - b).map(Math.round);
    const [top, bottom] = [one.y, other.y].sort((a, b) => a - b).map(Math.round);
    if (right - left < LEAST_BOX || bottom - top < LEAST_BOX) {
      this.#marks.frame.hidden = true;
      return;
    }
    this.#showFrame(one, other);
    this.#onMark(this, "box", { stamp, box: [left, top, right - left, bottom - top] });
  }

  #onKey(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key in moves) this.#moveCross(...moves[event.key], event.altKey);
    else if (event.key === "Enter") this.#enter(event);
    else if (event.key.toLowerCase() === "b" && !event.ctrlKey && !event.metaKey) this.#beginBox();
    else if (event.key === "Escape") this.#giveUp();
    else return;
    event.preventDefault();
  }

  #moveCross(across, down, fine) {
    const { width, height } = this.#canvas;
    const step = fine ? 1 : (STEP * width) / this.#canvas.clientWidth;
    const from = this.#cross ?? { x: width / 2, y: height / 2 };
    const within = (value, size) => Math.min(Math.max(value, 0), size - 1);
    this.#cross = { x: within(from.x + across * step, width), y: within(from.y + down * step, height) };
    this.#put(this.#marks.cross, this.#cross.x, this.#cross.y);
    if (this.#corner) this.#showFrame(this.#corner, this.#cross);
  }

  #enter(event) {
    if (!this.#cross || !this.hasPicture) return;
    if (this.#corner) {
      const corner = this.#corner;
      this.#corner = null;
      this.#sendBox(corner, this.#cross, this.#shown.at(-1).stamp);
      this.#schedule();
    } else {
      this.#sendClick(this.#cross, this.#stampAt(event.timeStamp), event.shiftKey);
    }
  }

  #beginBox() {
    if (this.#cross && this.hasPicture) this.#corner = { ...this.#cross };
  }

  #put(mark, x, y) {
    mark.style.left = `${(100 * x) / this.#canvas.width}%`;
    mark.style.top = `${(100 * y) / this.#canvas.height}%`;
    mark.hidden = false;
  }

  #showFrame(one, other) {
    const frame = this.#marks.frame;
    this.#put(frame, Math.min(one.x, other.x), Math.min(one.y, other.y));
    frame.style.width = `${(100 * Math.abs(one.x - other.x)) / this.#canvas.width}%`;
    frame.style.height = `${(100 * Math.abs(one.y - other.y)) / this.#canvas.height}%`;
  }
}
