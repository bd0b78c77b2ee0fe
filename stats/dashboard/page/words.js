// The page's words and numbers.

export const classes = ['unknown', 'open', 'firewall', 'full-cone', 'restricted', 'port-restricted', 'symmetric', 'blocked'];

// order is from the easiest to get through to the hardest.
export const order = ['open', 'full-cone', 'restricted', 'port-restricted', 'firewall', 'symmetric', 'blocked', 'unknown'];

const classWords = {
  unknown: ['Unknown', 'not measured, or not yet'],
  open: ['Open', 'no NAT, no filter'],
  firewall: ['Firewall', 'no NAT; only answers come in'],
  'full-cone': ['Full cone', 'one port for all; anyone may answer'],
  restricted: ['Restricted', 'one port for all; known addresses may answer'],
  'port-restricted': ['Port-restricted', 'one port for all; known ports may answer'],
  symmetric: ['Symmetric', 'another port for each destination'],
  blocked: ['UDP blocked', 'no UDP gets out'],
};

export const className = (c) => (classWords[c] || [String(c)])[0];
export const classSays = (c) => (classWords[c] || ['', ''])[1];

const reasons = {
  both_symmetric: 'both NATs give each destination another port, and neither can be foretold',
  remote_symmetric: 'the other NAT gives each destination another port',
  local_symmetric: 'the own NAT gives each destination another port',
  infeasible_both_symmetric: 'no way by theory: both NATs change ports, one of them at random',
  local_udp_blocked: 'UDP does not get out here',
  remote_udp_blocked: 'UDP does not get out at the other end',
  both_udp_blocked: 'UDP does not get out at either end',
  no_hairpin: 'both are behind one NAT that does not turn packets back',
  infeasible_local_udp_blocked: 'no way by theory: UDP does not get out here',
  infeasible_remote_udp_blocked: 'no way by theory: UDP does not get out at the other end',
  infeasible_both_udp_blocked: 'no way by theory: UDP does not get out at either end',
  unanswered: 'checks were sent, and no answer came back',
  unconfirmed: 'the other side never confirmed',
  no_pairs: 'there was no pair of addresses to try',
  no_stun: 'no STUN server answered',
  nat_unknown: 'it is not known what the NATs do',
  direct_narrow: 'a direct path came up that is too narrow to use',
  direct_in_doubt: 'a direct path came up that does not hold',
  relay_better: 'a direct path came up, and the relay is better',
  no_address: 'no address of our own was found',
  host_only: 'only addresses of the own network were found',
  no_path: 'no path came up, not even a relayed one',
  no_answer: 'the other side did not answer the offer',
  peer_offline: 'the other side was not there',
  peer_closed: 'the other side hung up',
  peer_restarted: 'the other side started anew',
  not_allowed: 'the other side does not take calls of ours',
  refused: 'the other side refused',
  closed: 'it was given up here',
  lost: 'the path was lost',
  made_room: 'it had to make room for others',
  nonsense: 'what the other side sent made no sense',
  error: 'something failed here',
  other: 'other reasons',
};

// reason is one in words; of those that we do not know, their own.
export const reason = (word) => (Object.hasOwn(reasons, word) ? reasons[word] : String(word).replaceAll(/[_-]/g, ' '));

const pairs = {
  host: 'own address', srflx: 'address seen by STUN', prflx: 'address seen by the peer', mapped: 'port mapped by the router',
  predicted: 'predicted port', birthday: 'many ports tried', relay: 'relay',
};

// lanes are the ways through; "" where the kind of the pair and the protocol say it.
const lanes = {
  plain: '', one_packet: 'one packet let in', mapped: '', predicted: '', crossing: 'on both sides', birthday: '',
  blocks: 'on both sides', tcp_dial: 'dialled by one side', tcp_simultaneous_open: 'dialled by both sides', tcp_predicted: '',
};

// way is how an attempt got through.
export function way(a) {
  const parts = [Object.hasOwn(pairs, a.pair) ? pairs[a.pair] : a.pair];
  if (a.lane) parts.push(Object.hasOwn(lanes, a.lane) ? lanes[a.lane] : String(a.lane).replaceAll('_', ' '));
  if (a.protocol && (a.protocol !== 'udp' || a.pair === 'relay')) parts.push(`by ${String(a.protocol).toUpperCase()}`);
  if (a.ip === 6) parts.push('IPv6');
  return parts.filter(Boolean).join(', ');
}

export const outcomes = { direct: 'Direct', relayed: 'Relayed', failed: 'Failed', unreached: 'Not reached', cancelled: 'Given up' };

export const count = (n) => Math.round(n).toLocaleString('en').replaceAll(',', '\u202f');

export const percent = (k, n) => (n ? `${((100 * k) / n).toFixed((100 * k) / n >= 99.95 || k === 0 ? 0 : 1)} %` : '–');

// span is an interval, in per cent.
export function span(r) {
  const digits = r.high < 0.015 || r.low > 0.985 ? 1 : 0;
  const text = (v) => (100 * v).toFixed(v > 0 && v < 1 ? digits : 0);
  return `${text(r.low)}–${text(r.high)} %`;
}

export function duration(ms) {
  if (ms === null || ms === undefined) return '–';
  if (ms < 9.95) return `${ms.toFixed(1)} ms`;
  if (ms < 999.5) return `${ms.toFixed(0)} ms`;
  if (ms < 99500) return `${(ms / 1000).toFixed(ms < 9995 ? 2 : 1)} s`;
  return `${Math.round(ms / 60000)} min`;
}

export function ago(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 100) return `${s} s ago`;
  return s < 5400 ? `${Math.round(s / 60)} min ago` : `${Math.round(s / 3600)} h ago`;
}

export const clock = (ms, seconds) =>
  new Date(ms).toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit', second: seconds ? '2-digit' : undefined });

let names = null;

// placeName is of a country, or of a cell by its middle.
export function placeName(key, [lat, lon]) {
  if (/^[A-Z]{2}$/.test(key)) {
    try {
      names ||= new Intl.DisplayNames(['en'], { type: 'region' });
      return names.of(key);
    } catch {
      return key;
    }
  }
  return `${Math.abs(lat)}° ${lat < 0 ? 'S' : 'N'}, ${Math.abs(lon)}° ${lon < 0 ? 'W' : 'E'}`;
}
