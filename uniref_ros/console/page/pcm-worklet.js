// An AudioWorklet: the context's rate to 16 kHz, int16, in chunks of 64 ms.
const RATE = 16000;
const CHUNK = 1024; // samples
const CUT = 0.45 * RATE; // Hz: below half the rate, so that nothing folds back
const ZEROS = 12; // zero crossings of the filter on either side

class Pcm extends AudioWorkletProcessor {
  #step = sampleRate / RATE; // input samples to one output sample
  #filter = new LowPass(sampleRate);
  #held = new Float32Array(0); // input that later output still needs
  #at = 0; // of the next output sample, in #held
  #chunk = new Int16Array(CHUNK);
  #filled = 0;
  #power = 0;

  process([input]) {
    if (input[0]) this.#take(input[0]);
    return true;
  }

  #take(samples) {
    const joined = new Float32Array(this.#held.length + samples.length);
    joined.set(this.#held);
    joined.set(samples, this.#held.length);
    const reach = this.#filter.reach;
    this.#at = Math.max(this.#at, reach); // the first samples have nothing before them
    while (this.#at + reach < joined.length) {
      this.#put(this.#filter.at(joined, this.#at));
      this.#at += this.#step;
    }
    const used = Math.max(0, Math.floor(this.#at) - reach);
    this.#held = joined.slice(used);
    this.#at -= used;
  }

  #put(value) {
    this.#chunk[this.#filled++] = Math.max(-32768, Math.min(32767, Math.round(32768 * value)));
    this.#power += value * value;
    if (this.#filled < CHUNK) return;
    const pcm = this.#chunk.buffer.slice(0);
    this.port.postMessage({ pcm, level: Math.sqrt(this.#power / CHUNK) }, [pcm]);
    this.#filled = this.#power = 0;
  }
}

// A windowed sinc, tabulated.
class LowPass {
  static FINE = 64; // entries to one input sample

  constructor(rate) {
    const cut = Math.min(1, (2 * CUT) / rate); // as a share of half the input's rate
    this.reach = Math.ceil(ZEROS / cut);
    this.table = new Float32Array((this.reach + 1) * LowPass.FINE + 1);
    for (let index = 0; index < this.table.length; index++) {
      const offset = index / LowPass.FINE;
      const phase = Math.PI * cut * offset;
      const window = offset < this.reach ? 0.5 + 0.5 * Math.cos((Math.PI * offset) / this.reach) : 0;
      this.table[index] = cut * (phase ? Math.sin(phase) / phase : 1) * window;
    }
  }

  at(samples, position) {
    let sum = 0;
    const last = Math.floor(position + this.reach);
    for (let index = Math.ceil(position - this.reach); index <= last; index++) {
      sum += samples[index] * this.table[Math.round(Math.abs(index - position) * LowPass.FINE)];
    }
    return sum;
  }
}

registerProcessor("pcm", Pcm);
