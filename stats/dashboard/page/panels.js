// The panels with words and numbers.

import { $, h, keyed, mark, text } from './dom.js';
import { ink } from './colour.js';
import { ago, classes, className, classSays, count, duration, order, outcomes, percent, placeName, reason, span, way } from './words.js';

const none = { n: 0, direct: { k: 0, n: 0, low: 0, high: 1 } };

// figures are the five numbers at the head.
export function figures(s) {
  const all = (s.detectors?.all || []).reduce((a, b) => a + b, 0);
  text($('n-detectors'), count(all));
  const places = Object.keys(s.places || {}).length;
  text($('n-detectors-sub'), `in ${count(places)} ${places === 1 ? 'place' : 'places'}`);
  const o = s.outcomes?.all || none;
  for (const kind of ['direct', 'relayed', 'failed']) {
    const r = o[kind] || none.direct;
    const e = $(`r-${kind}`);
    text(e, percent(r.k, r.n));
    e.classList.toggle('few', r.n < s.meta.few_attempts);
    text($(`r-${kind}-sub`), r.n ? `${span(r)} · ${count(r.k)} of ${count(r.n)}` : 'no attempts yet');
  }
  text($('n-latency'), o.p50_ms === null || o.p50_ms === undefined ? '–' : duration(o.p50_ms));
  text($('n-latency-sub'), o.n ? `half of all · 95 %: ${o.p95_ms === null ? 'never' : duration(o.p95_ms)}` : 'no attempts yet');
}

export function legendMarks() {
  for (const kind of ['direct', 'relayed', 'failed']) document.querySelector(`[data-kind="${kind}"] > .label`).prepend(mark(kind));
}

// classList is the classes with their detectors; pressed ones are on the map.
export function classList(s, on, choose) {
  const counts = s.detectors?.all || [];
  const all = counts.reduce((a, b) => a + b, 0);
  const most = Math.max(1, ...counts);
  keyed($('classes'), order, (c) => c, (c) => {
    const b = h('button', { type: 'button' }, mark(c), h('span', { class: 'name' }, className(c)), h('span', { class: 'n' }), h('span', { class: 'share' }), h('span', { class: 'bar' }, h('i')));
    b.title = classSays(c);
    b.addEventListener('click', () => choose(c));
    return h('li', null, b);
  }, (li, c) => {
    const b = li.firstElementChild;
    const n = counts[classes.indexOf(c)] || 0;
    const pressed = on.has(c) && on.size < order.length;
    b.setAttribute('aria-pressed', String(pressed));
    b.classList.toggle('off', !on.has(c));
    text(b.querySelector('.n'), count(n));
    text(b.querySelector('.share'), percent(n, all));
    b.querySelector('i').style.width = `${(100 * n) / most}%`;
  });
  $('all').hidden = on.size === order.length;
}

// placeTable is the twin of the map.
export function placeTable(map, elsewhere, on) {
  const table = $('places-table');
  const shown = order.filter((c) => on.has(c));
  table.tHead.replaceChildren(h('tr', null, ...['Place', 'Detectors', ...shown.map(className)].map((t) => h('th', { scope: 'col' }, t))));
  const row = (name, counts) => h('tr', null, h('th', { scope: 'row' }, name),
    h('td', null, count(shown.reduce((sum, c) => sum + (counts[classes.indexOf(c)] || 0), 0))),
    ...shown.map((c) => h('td', null, count(counts[classes.indexOf(c)] || 0))));
  table.tBodies[0].replaceChildren(...map.places.map((p) => row(placeName(p.key, p.at), p.counts)), row('Elsewhere', elsewhere || []));
}

// matrix is the direct share of each pair of classes.
export function matrix(s) {
  const cells = s.matrix || {};
  const seen = Object.keys(cells).map((k) => k.split('/'));
  const [rows, columns] = [0, 1].map((i) => order.filter((c) => seen.some((pair) => pair[i] === c)));
  const table = $('matrix');
  if (!rows.length) {
    table.tHead.replaceChildren();
    table.tBodies[0].replaceChildren(h('tr', null, h('td', { class: 'none' }, 'No attempts in this window.')));
    return;
  }
  table.tHead.replaceChildren(h('tr', null, h('td'), ...columns.map((c) => h('th', { scope: 'col' }, mark(c), className(c)))));
  const strong = ink('direct');
  keyed(table.tBodies[0], rows, (a) => `${a}|${columns.join()}`, (a) => h('tr', null, h('th', { scope: 'row' }, mark(a), className(a)), ...columns.map(() => h('td'))), (tr, a) => {
    columns.forEach((b, i) => {
      const td = tr.children[i + 1];
      const o = cells[`${a}/${b}`];
      if (!o?.n) {
        td.className = 'none';
        td.replaceChildren('·');
        td.title = `${className(a)} to ${className(b)}: ${o ? 'no eligible attempts' : 'none seen'}`;
        td.style.background = '';
        return;
      }
      const share = o.direct.k / o.n;
      td.className = o.n < s.meta.few_attempts ? 'few' : '';
      td.style.background = `color-mix(in oklab, ${strong} ${Math.round(6 + 44 * share)}%, transparent)`;
      td.title = `${className(a)} to ${className(b)}: direct ${percent(o.direct.k, o.n)} (${span(o.direct)}), relayed ${percent(o.relayed.k, o.n)}, failed ${percent(o.failed.k, o.n)}, of ${o.n}; half have data after ${duration(o.p50_ms)}`;
      td.replaceChildren(h('b', null, `${Math.round(100 * share)} %`), h('small', null, span(o.direct).replace(' %', '')), h('small', null, `n ${count(o.n)}`));
    });
  });
}

// why is the reasons for which there was no direct path, or none at all.
export function why(s) {
  const all = Object.entries(s.reasons || {}).map(([key, n]) => {
    const [kind, word] = key.split('/');
    return { key, kind, word, n };
  }).sort((a, b) => b.n - a.n || (a.key < b.key ? -1 : 1)).slice(0, 9);
  const most = Math.max(1, ...all.map((r) => r.n));
  keyed($('reasons'), all, (r) => r.key, (r) => h('li', null, h('span', null, `${r.kind === 'failed' ? 'No path: ' : ''}${reason(r.word)}`), h('span', { class: 'num' }), h('i', { class: `bar ${r.kind === 'failed' ? 'failed' : ''}` })), (li, r) => {
    text(li.children[1], count(r.n));
    li.children[2].style.width = `${Math.max(1, (100 * r.n) / most)}%`;
    li.title = r.word;
  });
  text($('why-sub'), all.length ? 'attempts, this window' : 'nothing to explain');
}

// plot is an interval on a scale, as a line with a point, from low to high of the scale.
function plot(value, low, high, from, to, label, few) {
  const x = (v) => `${(100 * (Math.max(from, Math.min(to, v)) - from)) / (to - from)}%`;
  const at = (e, left, width) => {
    e.style.left = left;
    if (width !== undefined) e.style.width = width;
    return e;
  };
  const span = Math.max(0, Math.min(to, high) - Math.max(from, low)) / (to - from);
  const signed = from < 0;
  const ticks = [from, (from + to) / 2, to].map((v) => h('span', null, signed ? points(v).replace(/\.0$/, '') : `${Math.round(100 * v)} %`));
  return h('div', { class: `plot${few ? ' few' : ''}`, role: 'img', 'aria-label': label },
    h('div', { class: 'axis' }, signed ? at(h('i', { class: 'zero' }), x(0)) : null, at(h('i', { class: 'range' }), x(low), `${100 * span}%`), at(h('i', { class: 'point' }), x(value))),
    h('div', { class: 'ticks' }, ...ticks));
}

const points = (v) => `${v > 0 ? '+' : ''}${(100 * v).toFixed(1)}`;

function verdict(v) {
  const word = String(v.decision || '');
  const box = h('div', { class: 'verdict' },
    h('h3', null, String(v.experiment || 'experiment'), h('span', { class: `badge ${/^[a-z_]+$/.test(word) ? word : ''}` }, word.replaceAll('_', ' '))),
    h('p', { class: 'sub' }, String(v.reason || '')));
  for (const arm of Array.isArray(v.arms) ? v.arms : []) {
    const d = arm.success || {};
    const reach = Math.max(0.05, Math.min(1, Math.max(Math.abs(d.low), Math.abs(d.high)) * 1.1)) || 1;
    const p = d.p_value < 0.001 ? 'p < 0.001' : `p = ${Number(d.p_value).toFixed(3)}`;
    const says = `${points(d.difference)} points (${points(d.low)} to ${points(d.high)}), ${p}`;
    box.append(h('div', { class: 'arm' },
      h('div', { class: 'row' }, h('span', null, `${arm.arm} against ${v.control}`), h('span', null, says)),
      plot(d.difference, d.low, d.high, -reach, reach, says, word === 'not_enough_data'),
      h('p', { class: 'sub' }, `${arm.arm}: ${percent(d.arm?.successes, d.arm?.n)} of ${count(d.arm?.n || 0)} · ${v.control}: ${percent(d.control?.successes, d.control?.n)} of ${count(d.control?.n || 0)}`)));
  }
  return box;
}

// experiments is what is concluded, or, where nothing is, what became of each group.
export function experiments(s) {
  const verdicts = Object.values(s.verdicts || {});
  const groups = Object.entries(s.groups || {}).sort(([a], [b]) => (a < b ? -1 : 1));
  const box = $('ab');
  if (verdicts.length) {
    text($('ab-sub'), 'intervals hold however often one looks');
    box.replaceChildren(...verdicts.map(verdict));
    return;
  }
  if (!groups.length) {
    text($('ab-sub'), '');
    box.replaceChildren(h('p', { class: 'sub' }, 'No session is part of an experiment.'));
    return;
  }
  text($('ab-sub'), 'direct share by group');
  box.replaceChildren(...groups.map(([name, o]) => {
    const says = `${percent(o.direct.k, o.n)} (${span(o.direct)}) of ${count(o.n)}`;
    return h('div', { class: 'arm' }, h('div', { class: 'row' }, h('span', null, name), h('span', null, says)),
      plot(o.n ? o.direct.k / o.n : 0, o.direct.low, o.direct.high, 0, 1, `${name}: direct ${says}`, o.n < s.meta.few_attempts));
  }), h('p', { class: 'sub' }, 'No verdict is given here. Each interval is of one group at one moment: that two of them do not overlap, now, concludes nothing.'));
}

// attempts is the latest, the last first.
export function attempts(s, now, stuck) {
  const rows = Object.entries(s.recent || {}).filter(([, a]) => !stuck || a.outcome !== 'direct').sort(([a], [b]) => b - a).slice(0, 16);
  keyed($('recent').tBodies[0], rows, ([k]) => k, () => h('tr', null, h('td', { class: 'when' }), h('td', { class: 'out' }), h('td', { class: 'who' }), h('td', { class: 'why' }), h('td', { class: 'num' })), (tr, [, a]) => {
    const [when, out, who, how, num] = tr.children;
    text(when, ago(now - a.time));
    const state = JSON.stringify([a.outcome, a.reason, a.upgrade_ms, a.lane]);
    if (tr.dataset.state === state) return;
    tr.dataset.state = state;
    out.replaceChildren(mark(a.outcome), outcomes[a.outcome] || String(a.outcome));
    who.replaceChildren(h('span', null, className(a.local)), ' → ', h('span', null, className(a.remote)));
    if (a.group) who.append(h('span', { class: 'tag' }, ` · ${a.group}`));
    const told = [];
    if (a.outcome === 'direct') told.push(way(a) + (a.upgrade_ms ? `; relayed for the first ${duration(a.upgrade_ms)}` : ''));
    else if (a.outcome === 'relayed') told.push(a.reason ? `${reason(a.reason)}` : 'a direct path may still come', ` (${way(a)})`);
    else told.push(a.reason ? reason(a.reason) : '');
    how.replaceChildren(...told);
    text(num, a.outcome === 'direct' || a.outcome === 'relayed' ? duration(a.ms) : '–');
  });
  text($('recent-sub'), rows.length ? 'of the last hour, without who or where' : stuck ? 'all of them are direct' : 'none yet');
}

const ledgerWords = [
  ['events', 'recorded', 'events counted', 'each is one stage of one session'],
  ['events', 'duplicates', 'duplicates', 'events that came twice; they count once'],
  ['events', 'late', 'late', 'events that came after their time was closed; not counted'],
  ['events', 'invalid', 'invalid', 'events that were refused by the recorder'],
  ['events', 'clamped', 'from the future', 'events whose clock was ahead; they count as of now'],
  ['reports', 'accepted', 'reports taken', ''],
  ['reports', 'refused', 'reports refused', 'not valid, or no room'],
  ['reports', 'bad_events', 'bad events', 'of reports that were taken; not counted'],
  ['reports', 'skewed', 'wrong clocks', 'reports whose clock was off by a minute or more; corrected'],
  ['reports', 'unauthorised', 'without token', 'messages that were refused'],
  ['reports', 'viewers', 'pages open', ''],
];

export function ledger(s) {
  keyed($('ledger'), ledgerWords, ([a, b]) => `${a}.${b}`, ([, , name, title]) => {
    const e = h('div', null, h('dt', null, name), h('dd', null, '–'));
    if (title) e.title = title;
    return e;
  }, (e, [section, key]) => text(e.lastChild, count(s.ledger?.[section]?.[key] || 0)));
  const m = s.meta;
  text($('about'), `Detectors count while they are heard from, every ${Math.round(m.expire_ms / 1000)} s at least. Places are countries or cells of 1°, of ${m.few_detectors} detectors or more; the others are in the totals alone. Shares and times are of attempts of the last ${Math.round((m.window[1] - m.window[0]) / 60000)} minutes whose two sides came to checks and that nobody gave up; intervals are Wilson’s, 95 %. Outlines: Natural Earth, public domain.`);
}
