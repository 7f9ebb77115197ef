// A line chart over time. uPlot is loaded with the first one that is drawn.
import { html, useEffect, useRef, useState } from '../vendor/htm-preact.js';

const HEIGHT = 170;

const styleOf = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Calls back when the page turns dark or light, and when the box gets another width. */
function useLook(box) {
  const [look, setLook] = useState({ dark: matchMedia('(prefers-color-scheme: dark)').matches, width: 0 });
  useEffect(() => {
    const dark = matchMedia('(prefers-color-scheme: dark)');
    const turn = () => setLook((before) => ({ ...before, dark: dark.matches }));
    const size = new ResizeObserver(([entry]) =>
      setLook((before) => ({ ...before, width: Math.floor(entry.contentRect.width) })),
    );
    dark.addEventListener('change', turn);
    size.observe(box.current);
    return () => {
      dark.removeEventListener('change', turn);
      size.disconnect();
    };
  }, []);
  return look;
}

/** Ticks of a time axis as the viewer writes times: days, hours and minutes, or seconds, by how far apart they are. */
function times(ticks) {
  const apart = ticks.length > 1 ? ticks[1] - ticks[0] : 60;
  const shown = apart >= 86_400 ? { month: 'short', day: 'numeric' } : { timeStyle: apart >= 60 ? 'short' : 'medium' };
  const format = new Intl.DateTimeFormat(undefined, shown);
  return ticks.map((at) => format.format(new Date(at * 1000)));
}

function options(width, series, format, bars) {
  const axis = { stroke: styleOf('--quiet'), grid: { stroke: styleOf('--line'), width: 1 }, ticks: { show: false }, font: '11px system-ui' };
  const drawn = series.map(({ label }, n) => ({
    label,
    stroke: styleOf(`--series-${(n % 6) + 1}`),
    width: 1.75,
    points: { show: true, size: bars ? 6 : 3, width: 0, fill: styleOf(`--series-${(n % 6) + 1}`) },
    value: (_, given) => (given === null ? '–' : format(given)),
  }));
  return {
    width,
    height: HEIGHT,
    padding: [8, 8, 0, 0],
    cursor: { y: false, points: { size: 6 } },
    legend: { show: false },
    scales: { y: { range: (_, low, high) => [Math.min(0, low ?? 0), (high || 1) * 1.08] } },
    axes: [{ ...axis, size: 28, space: 84, values: (_, ticks) => times(ticks) }, { ...axis, size: 62, values: (_, ticks) => ticks.map(format) }],
    series: [{}, ...drawn],
  };
}

/**
 * `xs`: Unix seconds. `series`: [{label, ys}], null where nothing was measured. `format`: of a value.
 * What is under the pointer, else the newest, stands in the legend.
 */
export function Chart({ title, xs, series, format, dots = false }) {
  const box = useRef(null);
  const plot = useRef(null);
  const look = useLook(box);
  const [at, setAt] = useState(null);
  const labels = series.map(({ label }) => label).join('|');
  const data = [xs, ...series.map(({ ys }) => ys)];
  const newest = useRef(data);
  newest.current = data;

  useEffect(() => {
    let gone = false;
    if (look.width < 40 || !series.length) return undefined;
    import('../vendor/uPlot.js').then(({ default: uPlot }) => {
      if (gone) return;
      const given = options(look.width, series, format, dots);
      given.hooks = { setCursor: [(u) => setAt(u.cursor.idx ?? null)] };
      plot.current = new uPlot(given, newest.current, box.current);
    });
    return () => {
      gone = true;
      plot.current?.destroy();
      plot.current = null;
    };
  }, [labels, look.width, look.dark]);
  useEffect(() => plot.current?.setData(data), [xs]);

  const shown = at === null || at >= xs.length ? xs.length - 1 : at;
  const valueOf = ({ ys }) => (shown >= 0 && ys[shown] !== null && ys[shown] !== undefined ? format(ys[shown]) : '–');
  const told = series.map((one) => `${one.label} ${valueOf(one)}`).join(', ');
  return html`<figure class="sheet stack figure">
    <figcaption><h2>${title}</h2></figcaption>
    <div class="chart" role="img" aria-label=${`${title}: ${told}`} ref=${box}></div>
    <ul class="legend" aria-hidden="true">
      ${series.map((one, n) => html`<li><i class=${`s${(n % 6) + 1}`}></i>${one.label} <span class="number">${valueOf(one)}</span></li>`)}
    </ul>
  </figure>`;
}
