// Where one is: `#/page?name=value`, so that a page can be linked to and the way back works.
import { useEffect, useState } from '../vendor/htm-preact.js';

export function here() {
  const [path, text = ''] = location.hash.replace(/^#\/?/, '').split('?');
  return { page: path || 'try', given: Object.fromEntries(new URLSearchParams(text)) };
}

export function link(page, given = {}) {
  const named = Object.entries(given).filter(([, value]) => value !== undefined && value !== null && value !== '');
  return `#/${page}${named.length ? `?${new URLSearchParams(named)}` : ''}`;
}

/** Change what the address says without a step to go back over. */
export function note(page, given) {
  history.replaceState(null, '', link(page, given));
}

export function useRoute() {
  const [route, setRoute] = useState(here);
  useEffect(() => {
    const follow = () => setRoute(here());
    addEventListener('hashchange', follow);
    return () => removeEventListener('hashchange', follow);
  }, []);
  return route;
}
