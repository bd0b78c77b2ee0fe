// Colours: those of the style sheet for canvases, and a scale of our own.

const probe = document.createElement('i');
probe.hidden = true;

// ink is a colour of the style sheet as it is now, by the name of its property.
export function ink(name) {
  if (!probe.isConnected) document.body.append(probe);
  probe.style.color = `var(--${name})`;
  return getComputedStyle(probe).color;
}

export function dark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
}

// rgb is what OKLCH (Björn Ottosson, 2020) gives in sRGB, 0 to 255.
export function rgb(l, c, degrees) {
  const a = c * Math.cos((degrees * Math.PI) / 180);
  const b = c * Math.sin((degrees * Math.PI) / 180);
  const L = (l + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const M = (l - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const S = (l - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    4.0767416621 * L - 3.3077115913 * M + 0.2309699292 * S,
    -1.2684380046 * L + 2.6097574011 * M - 0.3413193965 * S,
    -0.0041960863 * L - 0.7034186147 * M + 1.707614701 * S,
  ].map((x) => {
    const y = Math.min(1, Math.max(0, x));
    return Math.round(255 * (y <= 0.0031308 ? 12.92 * y : 1.055 * y ** (1 / 2.4) - 0.055));
  });
}

// scale is 256 colours that grow evenly in lightness, from violet by teal to yellow, so that
// they are told apart by lightness alone. On a light page they run the other way. The first
// ones fade in.
export function scale(onDark) {
  const all = new Uint8ClampedArray(256 * 4);
  for (let i = 0; i < 256; i++) {
    const t = i / 255;
    const u = onDark ? t : 1 - t;
    const [r, g, b] = rgb(0.3 + 0.62 * u, 0.11 + 0.06 * Math.sin(Math.PI * u) + 0.03 * u, 305 - 205 * u ** 1.15);
    all.set([r, g, b, 255 * Math.min(0.95, t * 2.6)], 4 * i);
  }
  return all;
}
