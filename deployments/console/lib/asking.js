// A question to the API within a component: what is known of the answer, and how to ask again.
import { useCallback, useEffect, useRef, useState } from '../vendor/htm-preact.js';

/** `ask(signal)` is called anew when `of` changes; null for `of`: not yet. An older answer never replaces a newer. */
export function useAnswer(ask, of) {
  const [state, setState] = useState({ answer: null, problem: null, busy: of !== null });
  const running = useRef(null);
  const again = useCallback(async () => {
    running.current?.abort();
    const own = (running.current = new AbortController());
    setState((before) => ({ ...before, busy: true }));
    try {
      const answer = await ask(own.signal);
      if (running.current === own) setState({ answer, problem: null, busy: false });
    } catch (problem) {
      if (running.current === own && problem.name !== 'AbortError') {
        setState((before) => ({ ...before, problem, busy: false }));
      }
    }
  }, of === null ? [null] : of);
  useEffect(() => {
    if (of !== null) again();
    return () => running.current?.abort();
  }, [again]);
  return { ...state, again };
}

/** What is typed, once it has rested for a moment. */
export function useRested(value, milliseconds = 150) {
  const [rested, setRested] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setRested(value), milliseconds);
    return () => clearTimeout(timer);
  }, [value]);
  return rested;
}
