// The time line: what became of attempts, pane by pane, stacked.

import { $, fit, h, mark, tip } from './dom.js';
import { ink } from './colour.js';
import { clock, count, percent } from './words.js';

const kinds = ['direct', 'relayed', 'failed'];
const names = ['Direct', 'Relayed', 'Failed'];

// hatch is a pattern, so that kinds are told apart without colour: none for direct, lines for
// relayed, crossed lines for failed.
function hatch(g, kind) {
  const colour = ink(kind);
  if (kind === 'direct') return colour;
  const tile = document.createElement('canvas');
  tile.width = tile.height = 6;
  const t = tile.getContext('2d');
  t.fillStyle = colour;
  t.fillRect(0, 0, 6, 6);
  t.strokeStyle = ink('panel');
  t.globalAlpha = 0.55;
  t.lineWidth = 1.1;
  t.beginPath();
  for (const d of [-6, 0, 6]) {
    t.moveTo(d, 6);
    t.lineTo(d + 6, 0);
    if (kind === 'failed') {
      t.moveTo(d, 0);
      t.lineTo(d + 6, 6);
    }
  }
  t.stroke();
  return g.createPattern(tile, 'repeat');
}

// nice is the least round number that is not below n.
function nice(n) {
  const p = 10 ** Math.floor(Math.log10(Math.max(1, n)));
  return [1, 2, 4, 5, 10].map((m) => m * p).find((m) => m >= n) || 1;
}

export class TimeLine {
  constructor() {
    this.panes = [];
    this.chosen = -1;
    this.canvas = $('time');
    this.width = 30000;
    const c = this.canvas;
    c.addEventListener('pointermove', (e) => this.point(e));
    c.addEventListener('pointerdown', (e) => this.point(e));
    for (const gone of ['pointerleave', 'blur']) c.addEventListener(gone, () => this.choose(-1));
    c.addEventListener('keydown', (e) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
      if (e.key === 'Escape') this.choose(-1);
      else if (step) this.choose(Math.max(0, Math.min(119, (this.chosen < 0 ? 120 : this.chosen) + step)));
      else return;
      e.preventDefault();
    });
    new ResizeObserver(() => this.draw()).observe(c);
    this.key();
  }

  key() {
    $('time-key').replaceChildren(...kinds.map((k, i) => h('span', null, mark(k), names[i])));
  }

  // show takes the panes by when they began, their length and the present, in milliseconds.
  show(panes, width, now) {
    this.width = width;
    this.n = Math.max(1, Math.round(3600000 / width));
    this.end = Math.floor(now / width) * width; // when the present pane began
    this.panes = panes || {};
    this.draw();
    const sum = [0, 0, 0];
    for (const counts of Object.values(this.panes)) counts.forEach((c, i) => (sum[i] += c));
    const all = sum[0] + sum[1] + sum[2];
    this.canvas.setAttribute('aria-label', `Attempts over the last hour: ${count(all)}; direct ${percent(sum[0], all)}, relayed ${percent(sum[1], all)}, failed ${percent(sum[2], all)}. The table after it has each pane.`);
    if (this.chosen >= 0) this.choose(this.chosen);
    return { sum, all };
  }

  at(i) {
    const began = this.end - (this.n - 1 - i) * this.width;
    return { began, counts: this.panes[began] || [0, 0, 0] };
  }

  draw() {
    const on = fit(this.canvas);
    if (!on || !this.n) return;
    const { g, width, height } = on;
    const box = { left: 34, top: 8, right: width - 4, bottom: height - 20 };
    const step = (box.right - box.left) / this.n;
    this.box = { ...box, step };
    let most = 1;
    for (let i = 0; i < this.n; i++) most = Math.max(most, this.at(i).counts.reduce((a, b) => a + b, 0));
    const top = nice(most);
    const y = (v) => box.bottom - ((box.bottom - box.top) * v) / top;
    g.font = '11px system-ui, sans-serif';
    g.fillStyle = ink('soft');
    g.strokeStyle = ink('line');
    g.lineWidth = 1;
    g.textAlign = 'right';
    g.textBaseline = 'middle';
    for (const v of top >= 2 ? [0, top / 2, top] : [0, top]) {
      g.beginPath();
      g.moveTo(box.left, Math.round(y(v)) + 0.5);
      g.lineTo(box.right, Math.round(y(v)) + 0.5);
      g.stroke();
      g.fillText(count(v), box.left - 6, y(v));
    }
    g.textAlign = 'center';
    g.textBaseline = 'alphabetic';
    for (let i = 0; i < this.n; i++) {
      const { began } = this.at(i);
      if (began % (width < 500 ? 1200000 : 600000) < this.width) {
        const x = box.left + step * i;
        if (x > box.left + 12 && x < box.right - 14) g.fillText(clock(began), x, height - 5);
      }
    }
    kinds.forEach((kind, k) => {
      g.fillStyle = hatch(g, kind);
      for (let i = 0; i < this.n; i++) {
        const { counts } = this.at(i);
        if (!counts[k]) continue;
        const below = counts.slice(0, k).reduce((a, b) => a + b, 0);
        const x = box.left + step * i;
        g.fillRect(x + 0.5, y(below + counts[k]), Math.max(1, step - 1), Math.max(1, y(below) - y(below + counts[k])));
      }
    });
    if (this.chosen >= 0) {
      g.strokeStyle = ink('ink');
      g.strokeRect(box.left + step * this.chosen, box.top - 3, step, box.bottom - box.top + 3);
    }
  }

  point(e) {
    if (!this.box) return;
    const i = Math.floor((e.clientX - this.canvas.getBoundingClientRect().left - this.box.left) / this.box.step);
    this.choose(i >= 0 && i < this.n ? i : -1);
  }

  choose(i) {
    const changed = i !== this.chosen;
    this.chosen = Math.min(i, this.n - 1);
    if (changed) this.draw();
    if (i < 0) {
      $('time-tip').hidden = true;
      return;
    }
    const { began, counts } = this.at(this.chosen);
    const all = counts.reduce((a, b) => a + b, 0);
    tip($('time-box'), $('time-tip'), this.box.left + this.box.step * (this.chosen + 0.5), 60, [
      h('b', null, `${clock(began, true)}, ${this.width / 1000} s`),
      ...kinds.map((k, j) => h('span', null, mark(k), names[j], h('em', null, `${count(counts[j])} · ${percent(counts[j], all)}`))),
    ]);
  }

  // table writes the panes that have attempts, the latest first.
  table(head, body) {
    if (!head.firstChild) head.append(h('tr', null, ...['Began', ...names, 'All'].map((t) => h('th', { scope: 'col' }, t))));
    const rows = [];
    for (let i = this.n - 1; i >= 0; i--) {
      const { began, counts } = this.at(i);
      const all = counts.reduce((a, b) => a + b, 0);
      if (all) rows.push(h('tr', null, h('td', null, clock(began, true)), ...counts.map((c) => h('td', null, `${count(c)} (${percent(c, all)})`)), h('td', null, count(all))));
    }
    body.replaceChildren(...rows);
    if (!rows.length) body.append(h('tr', null, h('td', { colspan: 5 }, 'No attempts in the last hour.')));
  }
}
