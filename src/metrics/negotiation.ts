import type { ExpositionFormat } from './exposition.ts';

/** What a client accepts one format with: how much it wants it, and how exactly it names it. */
interface Preference {
  readonly quality: number;
  readonly precision: number;
}

const nothing: Preference = { quality: 0, precision: 0 };

const offers: readonly { readonly format: ExpositionFormat; readonly type: string; readonly version: string }[] = [
  { format: 'prometheus', type: 'text/plain', version: '0.0.4' },
  { format: 'openmetrics', type: 'application/openmetrics-text', version: '1.0.0' },
];

/**
 * The format for a value of `Accept`, by RFC 9110 §12.5.1. Where both are wanted as much, the one that is named more exactly;
 * then, and where neither can be accepted, Prometheus text, because everything that reads metrics reads it.
 */
export function formatFor(accept: string | undefined): ExpositionFormat {
  const ranges = (accept ?? '').split(',').map(readRange);
  let best: { format: ExpositionFormat; wanted: Preference } = { format: 'prometheus', wanted: nothing };
  for (const { format, type, version } of offers) {
    const wanted = preferenceFor(type, version, ranges);
    if (isMore(wanted, best.wanted)) best = { format, wanted };
  }
  return best.format;
}

function isMore(one: Preference, other: Preference): boolean {
  return (
    one.quality > other.quality || (one.quality === other.quality && one.quality > 0 && one.precision > other.precision)
  );
}

interface Range {
  readonly type: string;
  readonly version: string | undefined;
  readonly quality: number;
}

/** A weight that is malformed counts as none at all. */
function readRange(text: string): Range {
  const [type = '', ...rest] = text.split(';').map((part) => part.trim().toLowerCase());
  const parameters = new Map(
    rest.map((part) => [part.split('=', 1)[0], part.slice(part.indexOf('=') + 1).replaceAll('"', '')]),
  );
  const weight = parameters.get('q') ?? '1';
  return {
    type,
    version: parameters.get('version'),
    quality: /^(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)$/.test(weight) ? Number(weight) : 0,
  };
}

/** The range that is the most exact decides (RFC 9110), also when it wants nothing. */
function preferenceFor(type: string, version: string, ranges: readonly Range[]): Preference {
  let decides = nothing;
  for (const range of ranges) {
    const precision = precisionOf(range, type, version);
    if (precision > decides.precision) decides = { quality: range.quality, precision };
  }
  return decides;
}

function precisionOf(range: Range, type: string, version: string): number {
  if (range.type === type) return range.version === version ? 4 : range.version === undefined ? 3 : 0;
  if (range.type === `${type.split('/', 1)[0]}/*`) return 2;
  return range.type === '*/*' ? 1 : 0;
}
