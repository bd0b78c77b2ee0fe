// The map: where detectors are, as a density with dots in it.

import { lines, coast, rings } from './world.js';
import { $, fit, h, mark, text, tip } from './dom.js';
import { dark, ink, scale } from './colour.js';
import { classes, className, count, order, placeName } from './words.js';

const NORTH = 83; // degrees that the map ends at
const SOUTH = -58;
const CELLS = 2; // of the density, for a degree
const RADIUS = 12; // of the kernel, in cells
const W = 360 * CELLS;
const H = (NORTH - SOUTH) * CELLS;

// kernel is how much a detector counts around it: Epanechnikov's squared, 1 in the middle.
const kernel = [];
for (let y = -RADIUS; y <= RADIUS; y++) {
  for (let x = -RADIUS; x <= RADIUS; x++) {
    const d = (x * x + y * y) / (RADIUS * RADIUS);
    if (d < 1) kernel.push([x, y, (1 - d) ** 2]);
  }
}

const column = (lon) => (lon + 180) * CELLS;
const line = (lat) => (NORTH - Math.max(SOUTH + 0.5, Math.min(NORTH - 0.5, lat))) * CELLS;

// density adds up the kernels of places.
export function density(places) {
  const field = new Float32Array(W * H);
  let peak = 0;
  for (const p of places) {
    const cx = Math.round(column(p.at[1]));
    const cy = Math.round(line(p.at[0]));
    for (const [x, y, weight] of kernel) {
      const row = cy + y;
      if (row < 0 || row >= H) continue;
      const i = row * W + ((cx + x + W) % W);
      field[i] += weight * p.n;
      if (field[i] > peak) peak = field[i];
    }
  }
  return { field, peak };
}

// outlines are paths in degrees from the upper left. What crosses the antimeridian goes on
// beyond the map, and all is there three times, so that it comes in at the other side.
function outlines() {
  const points = lines.map((l) => {
    const all = [];
    let x = 1800;
    let y = 10 * NORTH;
    for (let i = 0; i < l.length; i += 2) {
      x += l[i];
      y -= l[i + 1];
      all.push([x / 10, y / 10]);
    }
    return all;
  });
  const draw = (path, parts) => {
    let last = null;
    for (const part of parts) {
      for (const [lon, y] of part) {
        const x = last === null ? lon : lon + 360 * Math.round((last - lon) / 360);
        if (last === null) path.moveTo(x, y);
        else path.lineTo(x, y);
        last = x;
      }
    }
  };
  const thrice = (path) => {
    const all = new Path2D();
    for (const shift of [-360, 0, 360]) all.addPath(path, new DOMMatrix([1, 0, 0, 1, shift, 0]));
    return all;
  };
  const land = new Path2D();
  for (const ring of rings) {
    draw(land, ring.map((n) => (n < 0 ? points[~n].toReversed() : points[n])));
    land.closePath();
  }
  const shore = new Path2D();
  const border = new Path2D();
  points.forEach((part, i) => draw(i < coast ? shore : border, [part]));
  return { land: thrice(land), shore: thrice(shore), border: thrice(border) };
}

const heat = document.createElement('canvas');
heat.width = W;
heat.height = H;
const paths = outlines();

export class WorldMap {
  constructor() {
    this.places = [];
    this.chosen = -1;
    this.canvas = $('map');
    const c = this.canvas;
    c.addEventListener('pointermove', (e) => this.point(e));
    c.addEventListener('pointerdown', (e) => this.point(e));
    c.addEventListener('pointerleave', () => this.choose(-1));
    c.addEventListener('blur', () => this.choose(-1));
    c.addEventListener('keydown', (e) => this.key(e));
    new ResizeObserver(() => this.draw()).observe(c);
  }

  // show takes the places, [key, [[lat, lon], counts]], and which classes are on.
  show(places, on) {
    const all = Object.entries(places || {}).map(([key, [at, counts]]) => ({
      key, at, counts, n: counts.reduce((sum, n, i) => sum + (on.has(classes[i]) ? n : 0), 0),
    }));
    const was = this.places[this.chosen]?.key;
    this.places = all.filter((p) => p.n > 0).sort((a, b) => b.n - a.n || (a.key < b.key ? -1 : 1));
    this.chosen = was === undefined ? -1 : this.places.findIndex((p) => p.key === was);
    this.on = on;
    this.paint();
    this.draw();
    const names = this.places.slice(0, 3).map((p) => `${placeName(p.key, p.at)} ${count(p.n)}`);
    this.canvas.setAttribute('aria-label', `World map of detectors: ${count(this.places.length)} places${names.length ? `, most in ${names.join(', ')}` : ''}. The table after the map has them all.`);
    if (this.chosen >= 0) this.choose(this.chosen);
    else $('tip').hidden = true;
  }

  // paint makes the picture of the density.
  paint() {
    const { field, peak } = density(this.places);
    this.peak = peak;
    const colours = scale(dark());
    const g = heat.getContext('2d');
    const image = g.createImageData(W, H);
    const full = Math.log1p(peak);
    for (let i = 0; i < field.length; i++) {
      if (field[i] < 0.02) continue;
      const c = 4 * Math.min(255, Math.round((255 * Math.log1p(field[i])) / full));
      image.data.set(colours.subarray(c, c + 4), 4 * i);
    }
    g.putImageData(image, 0, 0);
    this.legend(colours, peak);
  }

  legend(colours, peak) {
    const c = $('ramp');
    c.width = 256;
    c.height = 1;
    const g = c.getContext('2d');
    const image = g.createImageData(256, 1);
    image.data.set(colours);
    g.putImageData(image, 0, 0);
    text($('ramp-low'), '0');
    text($('ramp-high'), peak ? `${count(peak)} detectors` : 'none');
  }

  draw() {
    const at = fit(this.canvas);
    if (!at) return;
    const { g, width, height } = at;
    const k = width / 360;
    this.k = k;
    g.save();
    g.scale(k, height / (NORTH - SOUTH));
    g.fillStyle = ink('land');
    g.fill(paths.land);
    g.lineWidth = 0.6 / k;
    g.strokeStyle = ink('border');
    g.stroke(paths.border);
    g.restore();
    g.imageSmoothingEnabled = true;
    g.imageSmoothingQuality = 'high';
    g.drawImage(heat, 0, 0, width, height);
    g.save();
    g.scale(k, height / (NORTH - SOUTH));
    g.lineWidth = 0.7 / k;
    g.strokeStyle = ink('coast');
    g.stroke(paths.shore);
    g.restore();
    g.fillStyle = ink('place');
    g.strokeStyle = ink('panel');
    g.lineWidth = 0.8;
    const size = Math.max(1, Math.min(1.7, width / 520));
    for (const p of this.places) {
      const [x, y] = this.where(p);
      g.beginPath();
      g.arc(x, y, size, 0, 7);
      g.globalAlpha = 0.75;
      g.fill();
    }
    g.globalAlpha = 1;
    const p = this.places[this.chosen];
    if (p) {
      const [x, y] = this.where(p);
      g.beginPath();
      g.arc(x, y, 7, 0, 7);
      g.strokeStyle = ink('panel');
      g.lineWidth = 4;
      g.stroke();
      g.strokeStyle = ink('place');
      g.lineWidth = 2;
      g.stroke();
    }
  }

  where(p) {
    return [(column(p.at[1]) / CELLS) * this.k, (line(p.at[0]) / CELLS) * this.k];
  }

  point(e) {
    const box = this.canvas.getBoundingClientRect();
    let best = -1;
    let near = 16 ** 2;
    this.places.forEach((p, i) => {
      const [x, y] = this.where(p);
      const d = (x - e.clientX + box.left) ** 2 + (y - e.clientY + box.top) ** 2;
      if (d < near) [best, near] = [i, d];
    });
    this.choose(best);
  }

  key(e) {
    const n = this.places.length;
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[e.key];
    if (e.key === 'Escape') this.choose(-1);
    else if (step && n) this.choose((Math.max(this.chosen, step < 0 ? 0 : -1) + step + n) % n);
    else if (e.key === 'Home' && n) this.choose(0);
    else if (e.key === 'End' && n) this.choose(n - 1);
    else return;
    e.preventDefault();
  }

  choose(i) {
    const changed = i !== this.chosen;
    this.chosen = i;
    if (changed) this.draw();
    const p = this.places[i];
    if (!p) {
      $('tip').hidden = true;
      return;
    }
    const rows = order
      .map((c) => [c, p.counts[classes.indexOf(c)]])
      .filter(([c, n]) => n && this.on.has(c))
      .map(([c, n]) => h('span', null, mark(c), className(c), h('em', null, count(n))));
    const [x, y] = this.where(p);
    tip($('map-box'), $('tip'), x, y, [h('b', null, `${placeName(p.key, p.at)}: ${count(p.n)}`), ...rows]);
  }
}
