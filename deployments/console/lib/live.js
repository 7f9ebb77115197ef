// The platform's state as it changes: one stream for the whole page, read with fetch, for EventSource sends no key.
import { useEffect, useState } from '../vendor/htm-preact.js';
import { query } from './api.js';

const AGAIN_MS = 2000;
const POINTS = 450;

export class Live {
  #api;
  #listeners = new Set();
  #states = new Set();
  #running = null;
  state = 'starting';
  frame = null;
  points = [];

  constructor(api) {
    this.#api = api;
  }

  /** Call `listener` with every frame to come. Returns what ends that. */
  onFrame(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  onState(listener) {
    this.#states.add(listener);
    listener(this.state);
    return () => this.#states.delete(listener);
  }

  follow() {
    this.stop();
    this.#running = new AbortController();
    this.#go(this.#running.signal);
  }

  stop() {
    this.#running?.abort();
  }

  async #go(signal) {
    while (!signal.aborted) {
      try {
        await this.#read(signal);
      } catch {
        if (signal.aborted) return;
        this.#become('away');
        await new Promise((done) => setTimeout(done, AGAIN_MS));
      }
    }
  }

  /** Until the server ends the stream, which it does after half a minute so that composers can go. */
  async #read(signal) {
    const since = this.points.at(-1)?.at;
    const answer = await fetch(`${this.#api.base}v1/live${query({ since })}`, { headers: this.#api.headers(), signal });
    if (!answer.ok) throw new Error(answer.statusText);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = '';
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      text += value;
      const parts = text.split('\n\n');
      text = parts.pop();
      for (const part of parts) this.#take(part);
    }
  }

  #take(part) {
    const data = part.split('\n').find((line) => line.startsWith('data: '));
    if (!data) return;
    const frame = JSON.parse(data.slice(6));
    this.points = [...this.points, ...frame.points].slice(-POINTS);
    this.frame = frame;
    this.#become('live');
    for (const listener of this.#listeners) listener(frame);
  }

  #become(state) {
    if (state === this.state) return;
    this.state = state;
    for (const listener of this.#states) listener(state);
  }
}

/** The newest frame, null before the first. */
export function useFrame(live) {
  const [frame, setFrame] = useState(live.frame);
  useEffect(() => live.onFrame(setFrame), [live]);
  return frame;
}
