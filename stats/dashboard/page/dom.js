// What is written into the page goes by text nodes and attributes of ours: nothing that was
// sent is ever read as markup.

export const $ = (id) => document.getElementById(id);

// h makes an element. Children are elements, or texts.
export function h(tag, attrs, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attrs || {})) {
    if (value !== undefined && value !== null && value !== false) e.setAttribute(name, value === true ? '' : value);
  }
  e.append(...children.filter((c) => c !== undefined && c !== null));
  return e;
}

// text writes a text where it is another.
export function text(e, value) {
  const t = String(value);
  if (e.textContent !== t) e.textContent = t;
}

// keyed makes the children of a parent those of a list, in its order, and keeps elements of
// the same key, so that focus and pointer stay where they are.
export function keyed(parent, list, key, make, update) {
  const old = new Map(Array.from(parent.children, (e) => [e.dataset.key, e]));
  let at = parent.firstElementChild;
  for (const item of list) {
    const k = String(key(item));
    let e = old.get(k);
    if (e) old.delete(k);
    else {
      e = make(item);
      e.dataset.key = k;
    }
    update(e, item);
    if (e === at) at = at.nextElementSibling;
    else parent.insertBefore(e, at);
  }
  for (const e of old.values()) e.remove();
}

const SVG = 'http://www.w3.org/2000/svg';

export function svg(tag, attrs, ...children) {
  const e = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attrs || {})) e.setAttribute(name, value);
  e.append(...children);
  return e;
}

// shapes tell classes and outcomes apart without colour: [path, hollow].
const shapes = {
  open: ['M6 1.2a4.8 4.8 0 1 0 .01 0z', true],
  firewall: ['M1.5 1.5h9v9h-9z', true],
  'full-cone': ['M6 1.2a4.8 4.8 0 1 0 .01 0z'],
  restricted: ['M6 1 11 10.5H1z'],
  'port-restricted': ['M1.3 1.3h9.4v9.4H1.3z'],
  symmetric: ['M6 .4 11.6 6 6 11.6.4 6z'],
  blocked: ['M2 2l8 8M10 2l-8 8', true],
  unknown: ['M1.5 6h9', true],
  direct: ['M6 1.2a4.8 4.8 0 1 0 .01 0z'],
  relayed: ['M6 1 11 10.5H1z'],
  failed: ['M2 2l8 8M10 2l-8 8', true],
  unreached: ['M1.5 6h9', true],
  cancelled: ['M6 1.2a4.8 4.8 0 1 0 .01 0z', true],
};

// mark is the shape of a class or an outcome.
export function mark(name) {
  const [d, hollow] = shapes[name] || shapes.unknown;
  const kind = Object.hasOwn(shapes, name) ? name : 'unknown';
  return svg('svg', { viewBox: '0 0 12 12', class: `mark ${kind}${hollow ? ' hollow' : ''}`, 'aria-hidden': 'true' }, svg('path', { d }));
}

// fit gives a canvas as many pixels as it takes up, and returns how to draw on it in CSS
// pixels; null while it has no size.
export function fit(canvas) {
  const { width, height } = canvas.getBoundingClientRect();
  if (!width || !height) return null;
  const ratio = Math.min(window.devicePixelRatio || 1, 3);
  const w = Math.round(width * ratio);
  const hh = Math.round(height * ratio);
  if (canvas.width !== w || canvas.height !== hh) {
    canvas.width = w;
    canvas.height = hh;
  }
  const g = canvas.getContext('2d');
  g.setTransform(ratio, 0, 0, ratio, 0, 0);
  g.clearRect(0, 0, width, height);
  return { g, width, height };
}

// tip shows lines at a point of a box, inside of it.
export function tip(box, e, x, y, children) {
  e.replaceChildren(...children);
  e.hidden = false;
  const w = e.offsetWidth;
  const hh = e.offsetHeight;
  const left = x + 14 + w > box.clientWidth ? x - 14 - w : x + 14;
  e.style.left = `${Math.max(4, Math.min(left, box.clientWidth - w - 4))}px`;
  e.style.top = `${Math.max(4, Math.min(y - hh / 2, box.clientHeight - hh - 4))}px`;
}
