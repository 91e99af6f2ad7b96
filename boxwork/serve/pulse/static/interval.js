// Reads what the server keeps: interval format 1 and histogram format 1 (boxwork/pulse/interval.py, histogram.py).
// Times are milliseconds here: nanoseconds of this century do not fit a number, and slots begin on whole milliseconds.

export const SCALE = 64;                       // buckets an octave
export const INDEX_MAX = 64 * SCALE;           // beyond 2**64 there are no samples
export const STARTED = 1, ENDED = 2, CLOCK_STEP = 4, LATE = 8;
const HEADER = 48, HISTOGRAM = 34, WIDE_SUM = 16, HAS_ZERO = 32, HAS_NEGATIVE = 64;
const MIDDLE = 2 / (1 + 2 ** (1 / SCALE));     // the harmonic middle of a bucket, as a share of its upper bound
const NOTHING = { indices: new Int32Array(0), counts: new Float64Array(0) };

export const upper = (index) => 2 ** (index / SCALE);
export const representative = (index) => upper(index) * MIDDLE;
export const indexOf = (magnitude) => Math.ceil(Math.log2(magnitude) * SCALE);
const number = (view, at) => Number(view.getBigInt64(at, true));

function side(view, at, widths, buckets, first, scale) {
  const wide = widths & 1, kind = (widths >> 1) & 3, size = 1 << kind;
  const indices = new Int32Array(buckets), counts = new Float64Array(buckets);
  let index = first - 1, place = at + buckets * (1 + wide);
  for (let k = 0; k < buckets; k++) {
    index += 1 + (wide ? view.getUint16(at + 2 * k, true) : view.getUint8(at + k));
    indices[k] = index * 2 ** (6 - scale);
    counts[k] = kind === 0 ? view.getUint8(place) : kind === 1 ? view.getUint16(place, true)
      : kind === 2 ? view.getUint32(place, true) : number(view, place);
    place += size;
  }
  return [{ indices, counts }, place];
}

export function decode(view) {
  if (view.getUint8(0) !== 1) throw new Error(`an interval of format ${view.getUint8(0)}: reload this page`);
  const column = {
    flags: view.getUint8(1), epoch: view.getUint32(4, true), width: view.getUint32(8, true),
    clockError: view.getUint32(12, true), start: Number(view.getBigInt64(16, true) / 1000000n),
    covered: number(view, 24) / 1e6, silent: number(view, 32) / 1e6, lost: number(view, 40),
    count: 0, zero: 0, min: 0, max: 0, positive: NOTHING, negative: NOTHING, quantiles: null,
  };
  if (view.byteLength === HEADER) return column;
  const at = HEADER, scale = view.getInt8(at + 1), flags = view.getUint16(at + 2, true);
  const buckets = view.getUint16(at + 4, true), first = view.getInt32(at + 6, true);
  column.min = number(view, at + 18);
  column.max = number(view, at + 26);
  let place = at + HISTOGRAM, below = null;
  if (flags & WIDE_SUM) place += 8;
  if (flags & HAS_ZERO) { column.zero = number(view, place); place += 8; }
  if (flags & HAS_NEGATIVE) {
    below = [view.getUint16(place, true), view.getInt32(place + 2, true), view.getUint16(place + 6, true)];
    place += 8;
  }
  [column.positive, place] = side(view, place, flags & 7, buckets, first, scale);
  if (below) [column.negative] = side(view, place, below[2], below[0], below[1], scale);
  column.count = column.zero + sum(column.positive.counts) + sum(column.negative.counts);
  return column;
}

export function decodeText(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let k = 0; k < text.length; k++) bytes[k] = text.charCodeAt(k);
  return decode(new DataView(bytes.buffer));
}

// The body of /pulse/history: the width, then each interval behind its length.
export function decodeHistory(buffer) {
  const view = new DataView(buffer), columns = [];
  const width = Number(view.getBigUint64(0, true) / 1000000n);
  for (let at = 8; at < buffer.byteLength;) {
    const length = view.getUint32(at, true);
    const column = decode(new DataView(buffer, at + 4, length));
    column.width = width;
    columns.push(column);
    at += 4 + length;
  }
  return { width, columns };
}

const sum = (counts) => { let whole = 0; for (const count of counts) whole += count; return whole; };

function joined(a, b) {
  if (!a.indices.length) return b;
  if (!b.indices.length) return a;
  const indices = [], counts = [];
  for (let i = 0, j = 0; i < a.indices.length || j < b.indices.length;) {
    const left = i < a.indices.length ? a.indices[i] : Infinity, right = j < b.indices.length ? b.indices[j] : Infinity;
    indices.push(Math.min(left, right));
    counts.push((left <= right ? a.counts[i++] : 0) + (right <= left ? b.counts[j++] : 0));
  }
  return { indices: Int32Array.from(indices), counts: Float64Array.from(counts) };
}

// `finer` added to `column`: exact, since buckets only add.
export function absorb(column, finer) {
  const whole = { ...column, quantiles: null };
  whole.covered += finer.covered; whole.silent += finer.silent; whole.lost += finer.lost; whole.flags |= finer.flags;
  if (!finer.count) return whole;
  whole.min = column.count ? Math.min(column.min, finer.min) : finer.min;
  whole.max = column.count ? Math.max(column.max, finer.max) : finer.max;
  whole.count += finer.count; whole.zero += finer.zero;
  whole.positive = joined(column.positive, finer.positive);
  whole.negative = joined(column.negative, finer.negative);
  return whole;
}

// Nearest-rank quantiles, as the server counts them.
export function quantiles(column, shares) {
  if (!column.count) return null;
  const wanted = shares.map((share) => Math.max(1, Math.ceil(share * column.count * (1 - 1e-12))));
  const found = [];
  let rank = 0, next = 0;
  const meet = (value, count) => {
    rank += count;
    while (next < wanted.length && wanted[next] <= rank) {
      found.push(Math.min(column.max, Math.max(column.min, value)));
      next++;
    }
  };
  const { negative, positive } = column;
  for (let k = negative.indices.length - 1; k >= 0 && next < wanted.length; k--) meet(-representative(negative.indices[k]), negative.counts[k]);
  if (column.zero) meet(0, column.zero);
  for (let k = 0; k < positive.indices.length && next < wanted.length; k++) meet(representative(positive.indices[k]), positive.counts[k]);
  while (found.length < wanted.length) found.push(column.max);
  return found;
}

// Four things that are not the same, and three that are well.  No column at all is a gap.
export function stateOf(column) {
  if (!column) return "gap";
  if (column.flags & CLOCK_STEP) return "clock step";
  if (column.lost) return "loss";
  if (!column.count) return column.silent ? "silence" : "late";
  return column.covered < 0.99 * column.width ? "partial" : "seen";
}
