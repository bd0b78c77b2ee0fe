// The page: it keeps what the server sends, and shows it.

import { $, text } from './dom.js';
import { ago, clock, count, order } from './words.js';
import { WorldMap } from './map.js';
import { TimeLine } from './time.js';
import * as panels from './panels.js';

const STALE = 15000; // ms without a message
const RETRY_MIN = 1000;
const RETRY_MAX = 30000;

const state = { seq: 0, sections: null, heard: 0, offset: 0, time: 0 };
const on = new Set(order);
const map = new WorldMap();
const line = new TimeLine();

// apply takes in a message; false: one before it is missing.
function apply(m) {
  if (m.type === 'snapshot') state.sections = Object.create(null);
  else if (!state.sections || m.seq !== state.seq + 1) return false;
  state.seq = m.seq;
  for (const [section, values] of Object.entries(m.sections)) {
    const to = (state.sections[section] ||= Object.create(null)); // keys may be words such as __proto__
    for (const [key, value] of Object.entries(values)) {
      if (value === null) delete to[key];
      else to[key] = value;
    }
  }
  state.heard = performance.now();
  state.time = Date.parse(m.time);
  state.offset = state.time - Date.now();
  return true;
}

const stuck = () => $('stuck').getAttribute('aria-pressed') === 'true';

const now = () => Date.now() + state.offset; // by the server's clock

function show() {
  const s = state.sections;
  if (!s) return;
  text($('note'), s.meta.note);
  $('note').hidden = !s.meta.note;
  text($('few'), s.meta.few_attempts);
  panels.figures(s);
  showMap();
  line.show(s.timeline, s.meta.pane_ms, state.time);
  if ($('panes').open) line.table($('panes-table').tHead, $('panes-table').tBodies[0]);
  panels.matrix(s);
  const [from, to] = s.meta.window;
  text($('pairs-sub'), `${clock(from)} to ${clock(Math.min(to, state.time), true)}`);
  panels.why(s);
  panels.experiments(s);
  panels.attempts(s, now(), stuck());
  panels.ledger(s);
  if (!performance.getEntriesByName('first-picture').length) {
    requestAnimationFrame(() => performance.mark('first-picture'));
  }
}

function showMap() {
  const s = state.sections;
  map.show(s.places, on);
  const shown = map.places.reduce((sum, p) => sum + p.n, 0);
  const all = order.reduce((sum, c) => sum + (on.has(c) ? s.detectors.all[s.meta.classes.indexOf(c)] || 0 : 0), 0);
  text($('where-sub'), `${count(shown)} of ${count(all)} ${on.size < order.length ? 'chosen ' : ''}detectors are on the map`);
  if ($('places').open) panels.placeTable(map, s.detectors.elsewhere, on);
  panels.classList(s, on, choose);
}

// choose shows one class alone, or adds or takes away one where some are shown.
function choose(c) {
  if (on.size === order.length) on.clear();
  if (on.has(c)) on.delete(c);
  else on.add(c);
  if (!on.size) order.forEach((o) => on.add(o));
  showMap();
}

// The connection.

let socket = null;
let retry = RETRY_MIN;
let again = 0; // timer

function connect() {
  clearTimeout(again);
  again = 0;
  const url = new URL('ws', location.href);
  url.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
  const ws = new WebSocket(url);
  socket = ws;
  ws.addEventListener('message', (e) => {
    if (ws !== socket) return;
    let ok = false;
    try {
      ok = apply(JSON.parse(e.data));
    } catch (err) {
      console.warn('a message that cannot be read', err);
    }
    if (!ok) {
      ws.close();
      return;
    }
    retry = RETRY_MIN;
    show();
    status();
  });
  ws.addEventListener('close', () => {
    if (ws !== socket) return;
    socket = null;
    later();
    status();
  });
}

// later connects after a while, longer each time, and not with everybody else.
function later() {
  if (again) return;
  again = setTimeout(connect, retry * (0.5 + Math.random()));
  retry = Math.min(2 * retry, RETRY_MAX);
}

function status() {
  const silent = performance.now() - state.heard;
  const limit = Math.max(STALE, 3 * (state.sections?.meta.interval_ms || 0));
  const stale = state.sections !== null && silent > limit;
  if (stale && socket && socket.readyState === WebSocket.OPEN) {
    // It looks open, and is not: no use in waiting until that is noticed.
    socket.close();
    socket = null;
    later();
  }
  const live = state.sections !== null && socket !== null && !stale;
  $('live').dataset.state = live ? 'live' : stale ? 'stale' : 'wait';
  text($('live-text'), live ? `live, as of ${clock(state.time, true)}` : state.sections ? `as of ${clock(state.time, true)}` : 'connecting');
  document.body.classList.toggle('old', stale);
  $('stale').hidden = !stale;
  if (stale) text($('stale'), `Nothing was heard for ${ago(silent).replace(' ago', '')}. What is shown is from ${clock(state.time, true)}; the page is trying to connect again.`);
}

// The look.

const themes = { system: 'light', light: 'dark', dark: 'system' };

function theme(name) {
  if (name === 'system') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  text($('theme'), `Theme: ${name}`);
  try {
    localStorage.setItem('theme', name);
  } catch {
    // It is not kept then.
  }
  redraw();
}

function redraw() {
  if (state.sections) show();
  else map.draw();
}

function start() {
  let chosen = 'system';
  try {
    chosen = localStorage.getItem('theme') || chosen;
  } catch {
    // Nothing is kept.
  }
  panels.legendMarks();
  theme(Object.hasOwn(themes, chosen) ? chosen : 'system');
  $('theme').addEventListener('click', () => theme(themes[document.documentElement.dataset.theme || 'system']));
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
  $('all').addEventListener('click', () => {
    order.forEach((c) => on.add(c));
    showMap();
  });
  $('stuck').addEventListener('click', () => {
    $('stuck').setAttribute('aria-pressed', String(!stuck()));
    redraw();
  });
  $('places').addEventListener('toggle', () => state.sections && showMap());
  $('panes').addEventListener('toggle', redraw);
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden && again) connect();
  });
  addEventListener('online', () => again && connect());
  setInterval(status, 1000);
  connect();
}

start();
