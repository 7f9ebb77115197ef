// The settings that are turned most: spread, exploration, and the weight of each signal.
import { html } from '../../vendor/htm-preact.js';

function Slider({ id, label, hint, value, low, high, step, change }) {
  return html`<div class="slider">
    <label for=${id} title=${hint}>${label}</label>
    <input id=${id} type="range" min=${low} max=${high} step=${step} value=${value} onInput=${(e) => change(Number(e.target.value))} />
    <output for=${id} class="number">${value}</output>
  </div>`;
}

export function Knobs({ scenario, signals, change }) {
  const weights = scenario.weights || {};
  const put = (name, weight) => {
    const { [name]: _, ...others } = weights;
    change({ weights: weight === 0 ? others : { ...others, [name]: weight } });
  };
  return html`<div class="stack">
    <${Slider} id="knob-diversity" label="Diversity" hint="0: relevance alone; 1: spread alone" value=${scenario.diversity ?? 0} low=${0} high=${1} step=${0.05}
      change=${(diversity) => change({ diversity })} />
    <${Slider} id="knob-explore" label="Explore" hint="Share of places for new items" value=${scenario.explore ?? 0} low=${0} high=${1} step=${0.05}
      change=${(explore) => change({ explore })} />
    <details>
      <summary>Weights of the signals</summary>
      <p class="quiet small">
        ${scenario.learned ? 'A version that learned brings its own; these are for versions that learned nothing.' : 'The score is the sum of weight times signal.'}
        ${scenario.weights === null && ' None are given here, so the defaults count: the first that you set replaces them all.'}
      </p>
      ${Object.entries(signals).map(
        ([name, says]) => html`<${Slider} key=${name} id=${`knob-${name}`} label=${name} hint=${says} value=${weights[name] ?? 0} low=${-2} high=${3} step=${0.05}
          change=${(weight) => put(name, weight)} />`,
      )}
    </details>
  </div>`;
}
