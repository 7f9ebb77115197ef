// The frame: which page is shown, who is asking, and what the stream says.
import { html, render, useEffect, useMemo, useRef, useState } from './vendor/htm-preact.js';
import { Api } from './lib/api.js';
import { Catalogue } from './lib/catalogue.js';
import { Live } from './lib/live.js';
import { link, useRoute } from './lib/route.js';
import { KeyDialog } from './parts/key.js';
import { Failed } from './parts/notices.js';
import { TryIt } from './pages/try.js';

const PAGES = [
  ['try', 'Try it'],
  ['explain', 'Explain'],
  ['people', 'People and items'],
  ['quality', 'Quality'],
  ['operations', 'Operations'],
  ['scenarios', 'Scenarios'],
];

/** The other pages are loaded when they are first looked at. */
const LATER = {
  explain: () => import('./pages/explain.js').then((page) => page.Explain),
  people: () => import('./pages/people.js').then((page) => page.People),
  quality: () => import('./pages/quality.js').then((page) => page.Quality),
  operations: () => import('./pages/operations.js').then((page) => page.Operations),
  scenarios: () => import('./pages/scenarios.js').then((page) => page.Scenarios),
};

function App({ api }) {
  const route = useRoute();
  const catalogue = useMemo(() => new Catalogue(api), [api]);
  const live = useMemo(() => new Live(api), [api]);
  const [platform, setPlatform] = useState(null);
  const [problem, setProblem] = useState(null);
  const [asking, setAsking] = useState(false);

  async function look() {
    try {
      setPlatform(await api.get('/v1/platform'));
      setProblem(null);
      setAsking(false);
      live.follow();
    } catch (wrong) {
      setProblem(wrong);
      if (wrong.status === 401 || wrong.status === 403) setAsking(true);
    }
  }
  useEffect(() => {
    look();
    return () => live.stop();
  }, []);

  const use = (key) => {
    api.use(key);
    look();
  };
  const may = (scope) => Boolean(platform?.scopes.includes(scope));
  return html`<div class="shell">
    <a class="skip" href=${location.hash || '#/try'} onClick=${toMain}>Skip to the page</a>
    <${Side} page=${route.page} platform=${platform} live=${live} ask=${() => setAsking(true)} />
    <main id="main" class="page" tabindex="-1">
      ${platform
        ? html`<${Page} key=${route.page} route=${route} context=${{ api, catalogue, live, platform, may }} />`
        : problem && problem.status !== 401
          ? html`<${Failed} problem=${problem} again=${look} />`
          : html`<p class="quiet">${problem ? 'This platform asks for an API key.' : 'Asking the platform …'}</p>`}
    </main>
    ${asking && html`<${KeyDialog} problem=${problem} had=${api.hasKey} use=${use} close=${() => setAsking(false)} />`}
  </div>`;
}

function toMain(event) {
  event.preventDefault();
  document.getElementById('main').focus();
}

function Side({ page, platform, live, ask }) {
  const [on, setOn] = useState(live.state);
  const nav = useRef(null);
  useEffect(() => live.onState(setOn), [live]);
  useEffect(() => {
    const here = nav.current.querySelector('[aria-current="page"]'); // on a phone the row of pages is wider than the window
    if (here) nav.current.scrollLeft = here.offsetLeft - nav.current.clientWidth / 3;
  }, [page]);
  const steers = platform?.scopes.includes('admin');
  return html`<header class="side">
    <div class="brand"><img src="console/icon.svg" alt="" />recsys</div>
    <nav aria-label="Pages" ref=${nav}>
      <ul class="pages">
        ${PAGES.map(
          ([name, title]) =>
            html`<li><a href=${link(name)} aria-current=${page === name ? 'page' : null}>${title}</a></li>`,
        )}
      </ul>
    </nav>
    <div class="foot">
      <span class="line"
        ><span class=${`dot ${on === 'live' ? 'good' : on === 'away' ? 'bad' : ''}`}></span>
        <span role="status">${{ live: 'Live', away: 'Not connected', starting: 'Connecting' }[on]}</span></span
      >
      ${platform && html`<span class="line quiet version">${platform.index_version}</span>`}
      ${platform && !steers && html`<span class="chip warn" title="Changes need a key with the scope admin">Read only</span>`}
      ${(!platform || !platform.open) && html`<button class="small" type="button" onClick=${ask}>API key …</button>`}
    </div>
  </header>`;
}

function Page({ route, context }) {
  const [Shown, setShown] = useState(() => (route.page === 'try' ? TryIt : null));
  const [problem, setProblem] = useState(null);
  const box = useRef(null);
  useEffect(() => {
    const load = LATER[route.page];
    if (load) load().then((page) => setShown(() => page), setProblem);
  }, []);
  useEffect(() => {
    const title = (PAGES.find(([name]) => name === route.page) || ['', 'Not found'])[1];
    document.title = `${title} · recsys`;
    if (Shown && document.activeElement?.closest('nav')) box.current?.querySelector('h1')?.focus();
  }, [Shown]);
  if (problem) return html`<${Failed} problem=${problem} again=${() => location.reload()} />`;
  if (!Shown && !LATER[route.page]) {
    return html`<h1>There is no such page</h1>
      <p>Go to <a href=${link('try')}>Try it</a>.</p>`;
  }
  return html`<div class="stack" style=${{ gap: '18px' }} ref=${box}>
    ${Shown ? html`<${Shown} ...${context} given=${route.given} />` : html`<p class="quiet">Loading …</p>`}
  </div>`;
}

render(html`<${App} api=${new Api(new URL('..', import.meta.url).href)} />`, emptied(document.getElementById('app')));

function emptied(root) {
  root.replaceChildren();
  return root;
}
