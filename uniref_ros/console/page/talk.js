// Hold to talk: the microphone as 16 kHz mono PCM, while the button is held.
const IDLE = 20000; // ms after which the microphone is given back
const FLOOR_DB = -60;

export class Talk {
  #section;
  #button;
  #bar;
  #hint;
  #actions;
  #held = false;
  #talking = false;
  #microphone = null; // a promise of {context, stream}
  #idle = 0;

  // actions: send(down) tells that the button is down or up, audio(pcm) sends sound, say(text) shows a message.
  constructor(section, actions) {
    this.#section = section;
    this.#button = section.querySelector("button");
    this.#bar = section.querySelector("[role=meter]");
    this.#hint = section.querySelector("p");
    this.#actions = actions;
    const button = this.#button;
    button.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      button.setPointerCapture(event.pointerId);
      this.#press();
    });
    for (const kind of ["pointerup", "pointercancel", "blur"]) button.addEventListener(kind, () => this.#release());
    button.addEventListener("keydown", (event) => {
      if (event.key !== " " && event.key !== "Enter") return;
      event.preventDefault();
      if (!event.repeat) this.#press();
    });
    button.addEventListener("keyup", (event) => (event.key === " " || event.key === "Enter") && this.#release());
    button.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  // Whether there is a voice node that takes what is said here.
  offer(hears) {
    const can = Boolean(navigator.mediaDevices?.getUserMedia && window.AudioWorkletNode);
    this.#section.hidden = !hears;
    this.#button.hidden = this.#bar.hidden = !can;
    const why = window.isSecureContext ? "this browser has no microphone for pages" : "the microphone needs https (see parameters certificate and key) or a page of localhost";
    this.#hint.textContent = can ? "" : why;
    if (!hears) this.#release();
  }

  async #press() {
    if (this.#held) return;
    this.#held = true;
    clearTimeout(this.#idle);
    this.#button.textContent = "Opening the microphone…";
    try {
      this.#microphone ??= openMicrophone((pcm, level) => this.#onSound(pcm, level));
      await this.#microphone;
    } catch (error) {
      this.#microphone = null;
      this.#held = false;
      this.#actions.say(`no microphone: ${error.message || error.name}`);
    }
    if (this.#held) await this.#begin();
    this.#showButton();
  }

  async #begin() {
    const answer = await this.#actions.send(true);
    this.#talking = answer.ok && this.#held;
    if (answer.ok && !this.#held) this.#actions.send(false); // released meanwhile
  }

  #release() {
    if (!this.#held) return;
    this.#held = false;
    if (this.#talking) this.#actions.send(false);
    this.#talking = false;
    this.#showButton();
    this.#meter(0);
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => this.#giveBack(), IDLE);
  }

  #showButton() {
    this.#button.toggleAttribute("data-talking", this.#talking);
    this.#button.textContent = this.#talking ? "Listening…" : "Hold to talk";
  }

  #onSound(pcm, level) {
    if (!this.#talking) return;
    this.#actions.audio(pcm);
    const decibels = 20 * Math.log10(Math.max(level, 1e-6));
    this.#meter(Math.min(Math.max(1 - decibels / FLOOR_DB, 0), 1));
  }

  #meter(share) {
    this.#bar.firstElementChild.style.transform = `scaleX(${share.toFixed(3)})`;
    this.#bar.setAttribute("aria-valuenow", Math.round(100 * share));
  }

  async #giveBack() {
    const opened = this.#microphone;
    this.#microphone = null;
    const { context, stream } = (await opened?.catch(() => null)) ?? {};
    stream?.getTracks().forEach((track) => track.stop());
    await context?.close();
  }
}

// onSound(pcm, level): an ArrayBuffer of int16 at 16 kHz, and its root mean square as a share of full scale.
async function openMicrophone(onSound) {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
  const context = new AudioContext();
  await context.audioWorklet.addModule("pcm-worklet.js");
  const worklet = new AudioWorkletNode(context, "pcm", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
  worklet.port.onmessage = ({ data }) => onSound(data.pcm, data.level);
  context.createMediaStreamSource(stream).connect(worklet);
  await context.resume();
  return { context, stream };
}
