import type { ApplicationScrapeFailure } from '../../outcomes.ts';

/** Why what an application wrote cannot stand beside our own families. */
export interface ExpositionFault {
  readonly result: Extract<ApplicationScrapeFailure, 'invalid' | 'reserved'>;
  /** Completes "… says on line 7: …"; nothing of the application is in it. */
  readonly why: string;
}

/** Reads a page as it comes, in pieces that may be cut anywhere. */
export interface ExpositionCheck {
  take(piece: Uint8Array): ExpositionFault | undefined;
  /** After the last piece, which may lack the line feed at its end. */
  end(): ExpositionFault | undefined;
}

/** UTF-16 units of one line; what has more is not held until its end. */
export const maxLineLength = 64 * 1024;

/**
 * What every family of a sidecar begins with, and what Prometheus itself writes of a target and of alerts: those of an
 * application would be taken for ours, or stand in the place of its.
 */
export const reservedFamily =
  /^(?:remora_|istio_tcp_|(?:up|ALERTS|ALERTS_FOR_STATE|scrape_(?:duration_seconds|timeout_seconds|samples_scraped|samples_post_metric_relabeling|series_added|sample_limit|body_size_bytes))$)/;

type Words = string | undefined;

/** Types whose families have samples of several names, and a label that is a number. */
type Composed = 'histogram' | 'summary';

const numberLabel = { histogram: 'le', summary: 'quantile' } as const;

/**
 * Holds a page against the text format 0.0.4 of Prometheus as the strictest of its readers takes it: what is valid here, a
 * Prometheus accepts behind any other valid page. One family may stand in several places, as those readers allow.
 */
export function createExpositionCheck(): ExpositionCheck {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  const described = { HELP: new Set<string>(), TYPE: new Set<string>() };
  const composed = new Map<string, Composed>();
  const sampled = new Set<string>();
  let rest = '';
  let line = 0;

  const wrongName = (name: string): ExpositionFault | undefined =>
    reservedFamily.test(name)
      ? { result: 'reserved', why: `line ${line}: a family with a name of the sidecar's or of Prometheus itself` }
      : undefined;
  const wrong = (words: Words): ExpositionFault | undefined =>
    words === undefined ? undefined : { result: 'invalid', why: `line ${line}: ${words}` };

  const description = (kind: 'HELP' | 'TYPE', text: string): ExpositionFault | undefined => {
    const [, name, of] = (kind === 'HELP' ? help : type).exec(text) ?? [];
    if (name === undefined) return wrong(kind === 'HELP' ? helpWords : typeWords);
    if (described[kind].has(name)) return wrong(`a second ${kind} line of one family`);
    if (kind === 'TYPE' && sampled.has(name)) return wrong('a TYPE line behind the samples of its family');
    if (composedOf(name) !== undefined && !composed.has(name))
      return wrong(`a ${kind} line of a part of a histogram or summary`);
    described[kind].add(name);
    if (of === 'histogram' || of === 'summary') composed.set(name, of);
    return wrongName(name);
  };

  /** The type of the family whose sample this may be, by that name or as a part of it; undefined for one of plain numbers. */
  const composedOf = (name: string): Composed | undefined => {
    const [, of = '', part] = /^(.*)_(count|sum|bucket)$/.exec(name) ?? [];
    const whole = composed.get(of);
    return composed.get(name) ?? (part === 'bucket' && whole === 'summary' ? undefined : whole);
  };

  const check = (text: string): ExpositionFault | undefined => {
    line += 1;
    if (text.length > maxLineLength) return wrong(`more than ${maxLineLength} characters`);
    if (text.includes('\0')) return wrong('the character U+0000');
    if (text.startsWith('#')) {
      const kind = descriptionKind.exec(text)?.[1];
      return kind === 'HELP' || kind === 'TYPE' ? description(kind, text) : undefined;
    }
    if (blank.test(text)) return undefined;
    const name = metricName.exec(text)?.[0];
    if (name === undefined) return wrong('neither a comment nor a sample');
    sampled.add(name);
    return wrongName(name) ?? wrong(sampleWords(text, name.length, composedOf(name)));
  };

  const decode = (piece: Uint8Array, stream: boolean): ExpositionFault | undefined => {
    try {
      rest += decoder.decode(piece, { stream });
      return undefined;
    } catch {
      line += 1;
      return wrong('bytes that are no UTF-8 here or later');
    }
  };

  return {
    take(piece) {
      const broken = decode(piece, true);
      let from = 0;
      for (let end = rest.indexOf('\n'); end !== -1; end = rest.indexOf('\n', from)) {
        const fault = check(rest.slice(from, end));
        if (fault !== undefined) return fault;
        from = end + 1;
      }
      rest = rest.slice(from);
      return broken ?? (rest.length > maxLineLength ? check(rest) : undefined);
    },
    end() {
      return decode(new Uint8Array(), false) ?? (rest === '' ? undefined : check(rest));
    },
  };
}

const blank = /^[ \t]*$/;
/** Readers differ in whether a blank has to follow the sign, so that one without it must be right as well. */
const descriptionKind = /^#[ \t]*(HELP|TYPE)(?:[ \t]|$)/;
const help = /^#[ \t]*HELP[ \t]+([a-zA-Z_:][a-zA-Z0-9_:]*)(?:[ \t](?:[^\\]|\\[\\n])*)?$/;
/** One blank in front of the type and none behind it: Prometheus takes more for a part of its name. */
const type = /^#[ \t]*TYPE[ \t]+([a-zA-Z_:][a-zA-Z0-9_:]*)[ \t](counter|gauge|histogram|summary|untyped)$/;
const helpWords = 'a HELP line without a name, or with a backslash that is not followed by \\ or n';
const typeWords = 'a TYPE line that is not a name and one of counter, gauge, histogram, summary, untyped';

/** In the first column, because Prometheus takes blanks in front of a name for a part of it. */
const metricName = /^[a-zA-Z_:][a-zA-Z0-9_:]*/;
const openBrace = /[ \t]*\{/y;
const closeBrace = /[ \t]*\}/y;
const label = /[ \t]*([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*"((?:[^"\\]|\\[\\"n])*)"[ \t]*(?:,|(?=\}))/y;
/** Without a blank at the end, which promtool takes for the beginning of a time. */
const valueAndTime = /[ \t]*([^ \t{]+)(?:[ \t]+[0-9]{1,18})?$/y;

/** What is wrong with a sample behind its name, in a family of that type. */
function sampleWords(text: string, nameEnd: number, of: Composed | undefined): Words {
  let at = nameEnd;
  const matchAt = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (match !== null) at = pattern.lastIndex;
    return match;
  };
  if (matchAt(openBrace) !== null) {
    const names = new Set<string>();
    for (let found = matchAt(label); found !== null; found = matchAt(label)) {
      const [, name = '', value = ''] = found;
      // A label of this name would be the name of the metric, and so could be one of ours.
      if (name === '__name__' || names.has(name)) return 'a label that comes twice';
      if (of !== undefined && name === numberLabel[of] && !isNumber(value)) return `a label ${name} that is no number`;
      names.add(name);
    }
    if (matchAt(closeBrace) === null) return 'labels that are not written as {name="value",…}';
  } else if (text[at] !== ' ' && text[at] !== '\t') {
    return 'a name without a value, or with a character that a name cannot have';
  }
  const value = matchAt(valueAndTime)?.[1];
  if (value === undefined) return 'no value, or more behind it than a time in milliseconds';
  return isNumber(value) ? undefined : 'a value that is no number';
}

/** As Go reads a float, without hexadecimal digits: Prometheus refuses what is too large for one. */
function isNumber(text: string): boolean {
  if (/^(?:[+-]?inf(?:inity)?|nan)$/i.test(text)) return true;
  return /^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?$/i.test(text) && Number.isFinite(Number(text));
}
